/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "engine.h"

/*
 * "blacklist" stops loading by alias, "install" stops modprobe by name as well (modprobe.d(5)). The
 * boot state's list does the same in the initramfs.
 */
static int plan_block(const struct qmr_engine_context *context, const struct qmr_action *action,
		      struct qmr_changes *changes, struct qmr_error *err)
{
	struct qmr_node node = {.type = QMR_NODE_FILE, .mode = 0644};
	struct qmr_modules one = {0};
	char path[128], data[512];
	int r = qmr_modules_add(&one, action->module, err);

	if (r == 0)
		r = qmr_modules_add(&changes->block, action->module, err);
	if (r < 0)
		return qmr_error_set(err, -EBADMSG, "'%s' cannot be blocked", action->module);
	snprintf(path, sizeof(path), "/etc/modprobe.d/qmr-block-%s.conf", one.names[0]);
	snprintf(data, sizeof(data),
		 "# Blocked by quick machine recovery, remediation '%s'.\n"
		 "blacklist %s\ninstall %s /bin/false\n",
		 context->plan_id, one.names[0], one.names[0]);
	return qmr_changes_add(changes, path, &node, NULL, data, err);
}

const struct qmr_engine qmr_engine_block_module = {QMR_ACTION_BLOCK_MODULE, "block-module",
						   plan_block};
