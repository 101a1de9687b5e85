/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_LADDER_H
#define QMR_LADDER_H

#include <jansson.h>

#include "recovery.h"
#include "remedy.h"

/* The order in which things are tried; docs/remediation.md, "Who decides, and when". What is tried is the callers' part. */

struct qmr_ladder {
	int plans_fd;               /* folder of the plans; -1: there is none */
	int has_plans;              /* they count */
	void *user;
	/* Whether an earlier run of this incident applied the plan. */
	int (*was_tried)(void *user, const char *id);
	/*
	 * Tries a plan, or with NULL the local rungs. NOTHING: it is not for this machine, or there is nothing to do; SKIPPED: somebody at the
	 * console did not want it. *ret_then: what the plan asks for afterwards, where it was applied.
	 */
	enum qmr_result (*try)(void *user, const struct qmr_plan_file *plan, enum qmr_then_what *ret_then, struct qmr_error *err);
};

/*
 * Tries plans in their order until one was applied that does not ask to go on, then the local rungs. A plan that was tried, is not wanted, or
 * failed takes those with it that it supersedes. OK if anything was applied; *ret_then is what the last that was applied asks for.
 */
enum qmr_result qmr_ladder_climb(const struct qmr_ladder *ladder, enum qmr_then_what *ret_then, struct qmr_error *err);

/* The word of a plan ("then") and of remediation-apply(8); NULL and what is not known mean a restart. */
enum qmr_then_what qmr_then_from(const char *word);

#endif
