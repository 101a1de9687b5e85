/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_RESTORE_POINT_H
#define QMR_RESTORE_POINT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "error.h"

/* Reading of restore points, docs/remediation.md; shared by crash-collect and remediation-apply. */

#define QMR_RESTORE_POINTS "/var/lib/qmr/restore-points"

struct qmr_saved_file {
	char *path;   /* absolute, inside the root */
	char *target; /* of a symbolic link, else NULL */
	uint32_t mode, uid, gid;
	uint64_t size;
	int64_t mtime_ns;
	char sha256[65]; /* empty for a symbolic link */
};

struct qmr_restore_point {
	uint64_t id;
	int64_t taken_unix_s;
	char kernel[64];
	struct qmr_saved_file *files; /* sorted by path */
	size_t n_files;
	json_t *skipped; /* owned; what was left out, objects with path and why; NULL: nothing */
};

/* Loads the newest restore point with a valid manifest; -ENOENT if there is none. Release with _done. */
int qmr_restore_point_load_newest(int root_fd, struct qmr_restore_point *ret_point, struct qmr_error *err) QMR_MUST_CHECK;

/* Loads restore point id. */
int qmr_restore_point_load(int root_fd, uint64_t id, struct qmr_restore_point *ret_point,
			   struct qmr_error *err) QMR_MUST_CHECK;

/* Frees what the point owns; a zeroed one is fine. */
void qmr_restore_point_done(struct qmr_restore_point *point);

/* 1 if the point left path out, because of its size for instance: then it only looks as if it had been added. */
int qmr_restore_point_was_skipped(const struct qmr_restore_point *point, const char *path);

/* Borrowed entry of path, NULL if the point does not hold it. */
const struct qmr_saved_file *qmr_restore_point_find(const struct qmr_restore_point *point, const char *path);

/* Called for each file below the watched paths, in order of path, with an absolute path and an open parent directory.
 * A negative return stops the walk and is returned. */
typedef int qmr_watch_fn(void *user, const char *path, int parent_fd, const char *name, struct qmr_error *err);

/*
 * Walks the watched paths of config inside the root without following links, crossing file systems or entering
 * /var/lib/qmr; regular files and symbolic links only. Missing paths are passed over. A watched path's component may be a
 * glob pattern ("/usr/lib/modules/" + "*" + "/updates").
 */
int qmr_watch_walk(int root_fd, const struct qmr_config *config, qmr_watch_fn *fn, void *user,
		   struct qmr_error *err) QMR_MUST_CHECK;

#endif
