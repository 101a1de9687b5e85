/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_UTC_H
#define QMR_UTC_H

#include <stdint.h>

#include "error.h"

/* YYYY-MM-DDTHH:MM:SSZ, the only form there is. */
void qmr_time_format(int64_t unix_s, char ret[32]);

/* Its reverse; -EINVAL for anything else. */
int qmr_time_parse(const char *text, int64_t *ret_unix_s) QMR_MUST_CHECK;

#endif
