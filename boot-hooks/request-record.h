/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_REQUEST_RECORD_H
#define QMR_REQUEST_RECORD_H

#include <jansson.h>
#include <stdint.h>

#include "boot-state.h"
#include "error.h"
#include "request.h"

/* What came of the owner's requests on this machine: requests.json, docs/requests.md ("What is remembered"). */

#define QMR_REQUEST_RECORD "/var/lib/qmr/requests.json"
#define QMR_REQUEST_TRIES 3

/* A missing file is an empty record; a damaged one is an error: what was done cannot be known. The caller releases *ret_record. */
int qmr_request_record_load(int dirfd, const char *path, json_t **ret_record, struct qmr_error *err) QMR_MUST_CHECK;

/* Durable. */
int qmr_request_record_save(int dirfd, const char *path, const json_t *record, struct qmr_error *err) QMR_MUST_CHECK;

/* What the boot state says of a request that was begun. */
struct qmr_request_now {
	uint32_t boots;        /* of the boot state */
	const char *incident;  /* text of its UUID */
	int is_asked_for;      /* the next start is recovery's */
	int64_t tested_unix_s; /* when an image was tested last, 0: never */
};

/*
 * Brings what was begun earlier to its result. Returns the id of the request whose restart is still due in this boot, borrowed from the record,
 * else NULL; *ret_changed: the record has to be saved.
 */
const char *qmr_request_record_settle(json_t *record, const struct qmr_request_now *now, int *ret_changed);

/* 1 if the request may be begun on this machine: it is not over, and fewer than per_day were begun in the day before now_unix_s. Else 0 and why. */
int qmr_request_record_allows(const json_t *record, const struct qmr_request *request, int per_day, int64_t now_unix_s,
			      struct qmr_error *ret_why);

/* Notes that it is begun, or begun again. The caller saves. */
int qmr_request_record_begin(json_t *record, const struct qmr_request *request, const struct qmr_request_now *now, int64_t now_unix_s,
			     struct qmr_error *err) QMR_MUST_CHECK;

/* Notes that recovery was asked for. */
int qmr_request_record_ask(json_t *record, const char *id, struct qmr_error *err) QMR_MUST_CHECK;

/* Notes that it could not be: it may be tried again. */
int qmr_request_record_fail(json_t *record, const char *id, const char *why, struct qmr_error *err) QMR_MUST_CHECK;

#endif
