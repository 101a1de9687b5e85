/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PLAN_H
#define QMR_PLAN_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "error.h"

/* Plans, docs/remediation.md ("Plan, schema 1"); their selectors are in plan-match.h. */

#define QMR_PLAN_FILES_MAX 256 /* of a repository that a machine fetches */
#define QMR_PLAN_BYTES_MAX 65536
#define QMR_PLAN_ACTIONS_MAX 64

enum qmr_action_type { QMR_ACTION_REMOVE_FILE, QMR_ACTION_RESTORE_FILE, QMR_ACTION_BLOCK_MODULE };

struct qmr_action {
	int type;           /* enum qmr_action_type */
	const char *path;   /* borrowed from the plan's JSON; NULL for block-module */
	const char *sha256; /* borrowed, NULL if not given */
	const char *module; /* borrowed, NULL unless block-module */
};

enum qmr_then { QMR_THEN_REBOOT, QMR_THEN_SHUTDOWN, QMR_THEN_NEXT_RUNG };

/* All pointers but json are borrowed from it; lists are NULL where they are not given. */
struct qmr_plan {
	json_t *json; /* owned */
	const char *id, *title;
	int has_published;
	int64_t published_unix_s;
	int is_hold;         /* nothing is to be done on any machine; what follows is empty then */
	const json_t *match;
	struct qmr_action actions[QMR_PLAN_ACTIONS_MAX];
	size_t n_actions;
	const json_t *named_modules, *named_packages; /* that it may touch although they are protected */
	const json_t *supersedes, *requires;          /* ids */
	int is_withdrawn;
	int then; /* enum qmr_then */
};

/* Parses and validates a whole plan; -EINVAL with the field named. name is for messages. Release with _done. */
int qmr_plan_parse(const char *name, const char *data, size_t size, struct qmr_plan *ret_plan,
		   struct qmr_error *err) QMR_MUST_CHECK;

/* Frees what the plan owns; a zeroed one is fine. */
void qmr_plan_done(struct qmr_plan *plan);

/*
 * Whether a target, FOLDER/NAME, is fetched before all others: its file name begins with "hold". What stops all others must not be the one plan too
 * many.
 */
int qmr_plan_file_is_urgent(const char *target);

/* The word in a plan. */
const char *qmr_then_name(int then);

/* Whether the plan was published so long ago as the machine's labels ask for ([fleet] minimum_age). */
int qmr_plan_is_old_enough(const struct qmr_plan *plan, const struct qmr_config *config, int64_t now_unix_s);

#endif
