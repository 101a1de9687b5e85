/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PLAN_H
#define QMR_PLAN_H

#include <jansson.h>
#include <stddef.h>

#include "error.h"

/* Plans, docs/remediation.md ("Plan, schema 1"). */

#define QMR_PLAN_BYTES_MAX 65536
#define QMR_PLAN_ACTIONS_MAX 64

enum qmr_action_type { QMR_ACTION_REMOVE_FILE, QMR_ACTION_RESTORE_FILE, QMR_ACTION_BLOCK_MODULE };

struct qmr_action {
	int type;           /* enum qmr_action_type */
	const char *path;   /* borrowed from the plan's JSON; NULL for block-module */
	const char *sha256; /* borrowed, NULL if not given */
	const char *module; /* borrowed, NULL unless block-module */
};

struct qmr_plan {
	json_t *json; /* owned */
	const char *id, *title;
	const json_t *match;
	struct qmr_action actions[QMR_PLAN_ACTIONS_MAX];
	size_t n_actions;
};

enum qmr_match { QMR_MATCH_NO, QMR_MATCH_YES, QMR_MATCH_UNKNOWN };

/* Parses and validates a whole plan; -EINVAL with the field named. name is for messages. Release with _done. */
int qmr_plan_parse(const char *name, const char *data, size_t size, struct qmr_plan *ret_plan,
		   struct qmr_error *err) QMR_MUST_CHECK;

/* Frees what the plan owns; a zeroed one is fine. */
void qmr_plan_done(struct qmr_plan *plan);

/* Evaluates the plan's selectors against incident.json, three-valued. */
enum qmr_match qmr_plan_match(const struct qmr_plan *plan, const json_t *incident);

#endif
