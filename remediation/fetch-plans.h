/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_PLANS_H
#define QMR_FETCH_PLANS_H

#include <jansson.h>

#include "error.h"
#include "fetch-message.h"

#define QMR_FETCH_MATCHES_MAX 99 /* file names begin with two digits */

/* Lists of fetch.json, see docs/remediation.md; borrowed. */
struct qmr_fetch_lists {
	json_t *plans, *not_matched, *refused;
};

/* Removes the plans of an earlier run (NN-*.json) from a folder. */
int qmr_fetch_plans_clear(int out_fd, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Parses verified plans, holds them against the incident and writes those that match as
 * NN-<id>.json, mode 0600, NN counting from 01 in the order of plans; appends each plan to one of
 * the lists. A plan that does not validate stops no other one. On failure no plan is left in the
 * folder.
 */
int qmr_fetch_plans_write(const struct qmr_fetch_files *plans, const json_t *incident, int out_fd,
			  const struct qmr_fetch_lists *lists,
			  struct qmr_error *err) QMR_MUST_CHECK;

#endif
