/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_ENGINE_H
#define QMR_ENGINE_H

#include "error.h"
#include "plan.h"
#include "transaction.h"

/*
 * An engine turns one action of a plan into changes; it changes nothing itself. One file per
 * engine, one line in the table of engine.c.
 */

struct qmr_engine_context {
	int root_fd;
	const char *plan_id;
};

struct qmr_engine {
	int type;         /* enum qmr_action_type */
	const char *name; /* as in the plan */
	/* -EBADMSG if the root is not as the action demands: the whole plan is refused. */
	int (*plan)(const struct qmr_engine_context *context, const struct qmr_action *action,
		    struct qmr_changes *changes, struct qmr_error *err);
};

extern const struct qmr_engine qmr_engine_remove_file, qmr_engine_restore_file,
	qmr_engine_block_module;

/* Plans all actions of a plan, in their order. */
int qmr_engines_plan(const struct qmr_engine_context *context, const struct qmr_plan *plan,
		     struct qmr_changes *changes, struct qmr_error *err) QMR_MUST_CHECK;

/* Adds what the restore point id holds of a file as a change. */
int qmr_engine_add_saved(uint64_t id, const struct qmr_saved_file *file,
			 struct qmr_changes *changes, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Reverts every change of incident.json that is linked to the culprit, revert.c. -ENOENT if none
 * is; -EBADMSG if the root or the restore point is not what the incident says.
 */
int qmr_revert_plan(int root_fd, const json_t *incident, struct qmr_changes *changes,
		    struct qmr_error *err) QMR_MUST_CHECK;

#endif
