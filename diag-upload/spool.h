/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_SPOOL_H
#define QMR_SPOOL_H

#include <stddef.h>

#include "error.h"
#include "uuid.h"

/* Encrypted bundles that could not be sent yet: SPOOL/<incident uuid>.tar.zst.cms. */

#define QMR_BUNDLE_SUFFIX ".tar.zst.cms"
#define QMR_BUNDLE_NAME (QMR_UUID_TEXT + sizeof(QMR_BUNDLE_SUFFIX))
#define QMR_SPOOL_FILES_MAX 16
#define QMR_SPOOL_BYTES_MAX (128U << 20)

/* "<id>.tar.zst.cms". */
void qmr_bundle_name(const char *id, char ret_name[QMR_BUNDLE_NAME]);

/* Opens the spool folder, made (0700) if it is missing. Returns the descriptor. */
int qmr_spool_open(const char *path, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Keeps a bundle durably in the place of an older one of the same incident. What the limits above leave no room for is
 * removed, oldest first. -EFBIG if the bundle alone is larger than the limit.
 */
int qmr_spool_put(int spool_fd, const char *id, const void *data, size_t size, struct qmr_error *err) QMR_MUST_CHECK;

/* Called for each bundle; may remove it. A negative return ends the walk and is returned. */
typedef int qmr_spool_fn(void *user, int spool_fd, const char *name, struct qmr_error *err);

/* Calls fn for each bundle that is there now, oldest first. Returns what the last call did, or a negative errno. */
int qmr_spool_walk(int spool_fd, qmr_spool_fn *fn, void *user, struct qmr_error *err) QMR_MUST_CHECK;

/* Removes a bundle durably; a missing one is fine. */
int qmr_spool_remove(int spool_fd, const char *name, struct qmr_error *err) QMR_MUST_CHECK;

#endif
