/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_REQUEST_H
#define QMR_REQUEST_H

#include <jansson.h>
#include <stddef.h>

#include "error.h"

/* Requests for recovery that came through the repository, docs/requests.md ("Request, schema 1"). */

#define QMR_REQUEST_FILES_MAX 99 /* of a repository that a machine fetches */
#define QMR_REQUEST_BYTES_MAX 65536

enum qmr_request_mode { QMR_REQUEST_RECOVER, QMR_REQUEST_COLLECT_ONLY, QMR_REQUEST_TEST };

struct qmr_request {
	json_t *json; /* owned */
	const char *id, *title; /* borrowed from it */
	const json_t *match;    /* the same; only that it is an object was looked at */
	int mode;               /* enum qmr_request_mode */
	int grace_minutes, defer_minutes, battery_percent;
};

/* Parses and validates all but the selectors; -EINVAL with the field named. name is for messages. Release with _done. */
int qmr_request_parse(const char *name, const char *data, size_t size, struct qmr_request *ret_request,
		      struct qmr_error *err) QMR_MUST_CHECK;

/* Frees what the request owns; a zeroed one is fine. */
void qmr_request_done(struct qmr_request *request);

/* The word used in files and logs. */
const char *qmr_request_mode_name(int mode);

#endif
