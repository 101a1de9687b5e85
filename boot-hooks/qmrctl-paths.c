/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "qmrctl.h"

/* Recovery mounts the root file system alone: what it writes, and what it restores, must lie there.
 */

/* Evidence, undo copies and journals would be where the running system never sees them: no use in
 * going on. */
static int require_state_folder(const struct qmrctl *ctl, struct qmr_error *err)
{
	struct qmr_mount mount;
	int r = qmr_machine_is_on_root(ctl->no_variables, QMRCTL_STATE_FOLDER, &mount, err);

	if (r != 0)
		return r < 0 ? r : 0;
	return qmr_error_set(err, -EOPNOTSUPP,
			     "'" QMRCTL_STATE_FOLDER
			     "' lies on the file system mounted at '%s' (%s, %s), not on the "
			     "root: recovery mounts the root alone, and would keep evidence and "
			     "undo copies where this system never "
			     "sees them. This is not supported, with --force neither",
			     mount.path, mount.type, mount.source);
}

/* The folder that a pattern is looked for in. */
static void cut_pattern(const char *watch, char ret_path[PATH_MAX])
{
	size_t n = strcspn(watch, "*?[\\");

	if (watch[n])
		while (n > 1 && watch[n - 1] != '/')
			n--;
	snprintf(ret_path, PATH_MAX, "%.*s", (int)n, watch);
}

/* Lists the watched paths that are elsewhere; a list that does not fit ends in dots. */
static int find_elsewhere(const struct qmrctl *ctl, char *ret_list, size_t size,
			  struct qmr_error *err)
{
	size_t used = 0;

	ret_list[0] = '\0';
	for (size_t i = 0; i < ctl->config.n_watch; i++) {
		struct qmr_mount mount;
		char path[PATH_MAX], text[PATH_MAX];
		size_t length;
		int r;

		cut_pattern(ctl->config.watch[i], path);
		r = qmr_machine_is_on_root(ctl->no_variables, path, &mount, err);
		if (r < 0)
			return r;
		if (r)
			continue;
		length = (size_t)snprintf(text, sizeof(text), "%s'%s' (at '%s', %s)",
					  used ? ", " : "", ctl->config.watch[i], mount.path,
					  mount.type);
		if (used + length + sizeof(", ...") > size) {
			snprintf(ret_list + used, size - used, "%s...", used ? ", " : "");
			return 0;
		}
		memcpy(ret_list + used, text, length + 1);
		used += length;
	}
	return 0;
}

int qmrctl_step_paths(struct qmrctl *ctl, struct qmr_error *err)
{
	char list[320];
	int r = require_state_folder(ctl, err);

	if (r == 0)
		r = find_elsewhere(ctl, list, sizeof(list), err);
	if (r < 0)
		return r;
	if (list[0] && !ctl->force)
		return qmr_error_set(
			err, -EOPNOTSUPP,
			"[watch] path: %s: another file system than the root, which recovery does "
			"not "
			"mount, so that it cannot restore them; --force goes on without",
			list);
	if (list[0])
		qmrctl_say(ctl, "recovery cannot restore %s: another file system than the root",
			   list);
	else
		qmrctl_say(ctl, "'" QMRCTL_STATE_FOLDER
				"' and what is watched are on the root file system");
	return 0;
}
