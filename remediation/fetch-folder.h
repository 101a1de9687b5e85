/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_FOLDER_H
#define QMR_FETCH_FOLDER_H

#include <stddef.h>

#include "error.h"

/*
 * A repository in a folder, which may lie on a stick that somebody brought along. Runs in the
 * sandboxed child.
 */

/*
 * A struct qmr_tuf_fetcher's function; user is the folder's descriptor (int *). path is that of a
 * URL. The file is looked for where a web server would look for it, all that is percent-encoded
 * decoded, and then under the path as it stands. Links are not followed. -ENOENT: there is no such
 * regular file, or it may not be read. -EFBIG. -EIO: the medium failed.
 */
int qmr_fetch_folder_fetch(void *user, const char *path, size_t max_bytes, char **ret_data,
			   size_t *ret_size, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Where path leads below a folder, into ret, of size bytes: decoded but for what is no encoding and
 * "%00", or as it stands. -EINVAL: it leads nowhere below a folder.
 */
int qmr_fetch_folder_place(const char *path, int is_decoded, char *ret, size_t size) QMR_MUST_CHECK;

#endif
