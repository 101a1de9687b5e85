/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_REQUEST_FORM_H
#define QMR_REQUEST_FORM_H

#include "request.h"

/*
 * qmr_request_parse(), and the selectors: what a machine takes and what may be published. -EINVAL with the field named. Release with
 * qmr_request_done().
 */
int qmr_request_load(const char *name, const char *data, size_t size, struct qmr_request *ret_request, struct qmr_error *err) QMR_MUST_CHECK;

#endif
