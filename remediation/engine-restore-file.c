/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "file.h"
#include "log.h"
#include "restore-point.h"

/* Of no use, which is no reason to stop; an error of the disk is one. */
static int is_damage(int r)
{
	return r == -ENOENT || r == -EBADMSG || r == -EINVAL || r == -EFBIG || r == -ELOOP ||
	       r == -ENOTDIR;
}

/* 1: added, 0: this restore point does not hold the path or is not one. */
static int add_from(const struct qmr_engine_context *context, uint64_t id, const char *path,
		    struct qmr_changes *changes, struct qmr_error *err)
{
	struct qmr_restore_point point;
	const struct qmr_saved_file *file;
	struct qmr_error why = {0};
	int r = qmr_restore_point_load(context->root_fd, id, &point, &why);

	if (r < 0 && !is_damage(r))
		return qmr_error_set(err, r, "%s", why.text);
	if (r < 0) {
		if (r != -ENOENT)
			qmr_warning("reading restore point %llu: %s; an older one is looked at",
				    (unsigned long long)id, why.text);
		return 0;
	}
	file = qmr_restore_point_find(&point, path);
	r = file ? qmr_engine_add_saved(id, file, changes, err) : 0;
	qmr_restore_point_done(&point);
	return r < 0 ? r : file ? 1 : 0;
}

static int plan_restoration(const struct qmr_engine_context *context,
			    const struct qmr_action *action, struct qmr_changes *changes,
			    struct qmr_error *err)
{
	cleanup_close int fd = qmr_file_open_in_root(context->root_fd, QMR_RESTORE_POINTS,
						     O_RDONLY | O_DIRECTORY, 0, err);
	cleanup_free uint64_t *ids = NULL;
	int n;

	if (fd < 0 && fd != -ENOENT)
		return fd;
	n = fd < 0 ? 0 : qmr_numbered_list(fd, &ids, err);
	if (n < 0)
		return n;
	while (n-- > 0) {
		int r = add_from(context, ids[n], action->path, changes, err);

		if (r)
			return r < 0 ? r : 0;
	}
	return qmr_error_set(err, -EBADMSG, "no restore point holds '%s'", action->path);
}

const struct qmr_engine qmr_engine_restore_file = {QMR_ACTION_RESTORE_FILE, "restore-file",
						   plan_restoration};
