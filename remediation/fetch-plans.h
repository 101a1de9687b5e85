/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_PLANS_H
#define QMR_FETCH_PLANS_H

#include <jansson.h>
#include <stdint.h>

#include "error.h"
#include "fetch-message.h"
#include "plan-match.h"

#define QMR_FETCH_MATCHES_MAX 99 /* file names begin with two digits */
#define QMR_FETCH_HOLD "hold.json"
#define QMR_FETCH_KEPT_HOLD "hold" /* a role may be named "hold", and its file "hold.json" */

/* Lists of fetch.json, see docs/remediation.md; borrowed. */
struct qmr_fetch_lists {
	json_t *plans, *not_matched, *refused;
	json_t *withdrawn; /* ids */
	json_t *hold; /* {"id", "title"} of a hold, owned by the caller; NULL: there is none */
};

/* Removes the plans of an earlier run (NN-*.json) and its hold from a folder. */
int qmr_fetch_plans_clear(int out_fd, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Parses verified plans, holds them against the subject (whose root is not at hand) and the time, and writes those that match, or may once the
 * root is looked at, as NN-<id>.json, mode 0600, NN counting from 01: in the order of plans, but what supersedes first, and what is required
 * before what requires it. Each plan goes to one of the lists. A plan that does not validate stops no other one. If one is a hold, it alone is
 * written, as hold.json. On failure neither is left in the folder.
 */
int qmr_fetch_plans_write(const struct qmr_fetch_files *plans, const struct qmr_match_subject *subject,
			  int64_t now_unix_s, int out_fd, struct qmr_fetch_lists *lists,
			  struct qmr_error *err) QMR_MUST_CHECK;

/*
 * After a run that was verified: the folder of kept metadata (-1: there is none) gets the hold of the out folder, or loses its own. Warns if
 * it cannot.
 */
void qmr_fetch_hold_keep(int metadata_fd, int out_fd);

/*
 * After a run that was not: a hold that was kept counts on, and is copied into the out folder and lists. Warns if it cannot be; a kept file that is
 * no hold is passed over.
 */
void qmr_fetch_hold_recall(int metadata_fd, int out_fd, struct qmr_fetch_lists *lists);

#endif
