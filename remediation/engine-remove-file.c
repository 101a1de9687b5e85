/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "engine.h"

static int plan_removal(const struct qmr_engine_context *context, const struct qmr_action *action,
			struct qmr_changes *changes, struct qmr_error *err)
{
	struct qmr_node now, nothing = {0};
	int r = qmr_node_read(context->root_fd, action->path, &now, err);

	if (r < 0)
		return r;
	if (action->sha256 && now.type != QMR_NODE_NONE && strcasecmp(now.sha256, action->sha256))
		r = qmr_error_set(err, -EBADMSG,
				  "'%s' is not the file that the plan means, its SHA-256 is %s",
				  action->path, now.sha256[0] ? now.sha256 : "that of a link");
	qmr_node_done(&now);
	return r < 0 ? r : qmr_changes_add(changes, action->path, &nothing, NULL, NULL, err);
}

const struct qmr_engine qmr_engine_remove_file = {QMR_ACTION_REMOVE_FILE, "remove-file",
						  plan_removal};
