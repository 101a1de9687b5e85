/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine.h"

#include <errno.h>
#include <stdio.h>

static const struct qmr_engine *const engines[] = {
	&qmr_engine_remove_file,
	&qmr_engine_restore_file,
	&qmr_engine_block_module,
};

static const struct qmr_engine *find(int type)
{
	for (size_t i = 0; i < sizeof(engines) / sizeof(*engines); i++)
		if (engines[i]->type == type)
			return engines[i];
	return NULL;
}

int qmr_engines_plan(const struct qmr_engine_context *context, const struct qmr_plan *plan,
		     struct qmr_changes *changes, struct qmr_error *err)
{
	for (size_t i = 0; i < plan->n_actions; i++) {
		const struct qmr_engine *engine = find(plan->actions[i].type);
		struct qmr_error why = {0};
		int r;

		if (!engine)
			return qmr_error_set(err, -EBADMSG, "actions[%zu]: no engine does this", i);
		r = engine->plan(context, &plan->actions[i], changes, &why);
		if (r < 0)
			return qmr_error_set(err, r, "actions[%zu] (%s): %s", i, engine->name,
					     why.text);
	}
	return 0;
}

int qmr_engine_add_saved(uint64_t id, const struct qmr_saved_file *file,
			 struct qmr_changes *changes, struct qmr_error *err)
{
	char source[QMR_PLAN_BYTES_MAX / 8];
	struct qmr_node node;
	int r;

	if (snprintf(source, sizeof(source), QMR_RESTORE_POINTS "/%llu/files%s",
		     (unsigned long long)id, file->path) >= (int)sizeof(source))
		return qmr_error_set(err, -EBADMSG, "'%s' is too long", file->path);
	r = qmr_node_from_saved(file, &node, err);
	if (r < 0)
		return r;
	r = qmr_changes_add(changes, file->path, &node, node.type == QMR_NODE_FILE ? source : NULL,
			    NULL, err);
	qmr_node_done(&node);
	return r;
}
