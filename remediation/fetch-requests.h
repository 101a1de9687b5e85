/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_REQUESTS_H
#define QMR_FETCH_REQUESTS_H

#include "error.h"
#include "fetch-message.h"
#include "fetch-plans.h"
#include "plan-match.h"

/* Requests for recovery, docs/requests.md. */

#define QMR_FETCH_REQUESTS "requests" /* folder in --out, and of their names in the repository */

/* Removes the requests of an earlier run; a missing folder is fine. */
int qmr_fetch_requests_clear(int out_fd, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Parses verified requests, holds them against the subject, and writes those that match as requests/NN-<id>.json, mode 0600, NN counting from
 * 01, in the order of requests. One that does not validate goes to lists->refused and stops no other one, one that does not match to
 * lists->not_matched. On failure none is left.
 */
int qmr_fetch_requests_write(const struct qmr_fetch_files *requests, const struct qmr_match_subject *subject, int out_fd,
			     const struct qmr_fetch_lists *lists, struct qmr_error *err) QMR_MUST_CHECK;

#endif
