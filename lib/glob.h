/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_GLOB_H
#define QMR_GLOB_H

#include "error.h"

/* Called for each path that a pattern leads to; whether the last component is there is not looked at if it is no pattern. A
 * negative return stops and is returned. */
typedef int qmr_glob_fn(void *user, const char *path, struct qmr_error *err);

/*
 * Expands an absolute pattern inside the root (qmr_file_open_in_root()): each of its components may be one of glob(7), which
 * matches no name that begins with a dot. Folders that are not there are passed over. In no order.
 */
int qmr_glob_in_root(int root_fd, const char *pattern, qmr_glob_fn *fn, void *user, struct qmr_error *err) QMR_MUST_CHECK;

#endif
