/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_SECRET_H
#define QMR_SECRET_H

#include <stddef.h>

#include "error.h"

#define QMR_SECRETS "/etc/qmr/secrets" /* what lies there is never put into an image */

/*
 * Reads a secret of the system at root (a path): a regular file of at most 64 KiB that root, or who
 * asks, owns and nobody else may open, without leaving that root. The caller frees *ret_data, with
 * qmr_secret_free(). -ENOENT: there is none. -EACCES: others could have read or written it.
 */
int qmr_secret_read(const char *root, const char *path, char **ret_data, size_t *ret_size,
		    struct qmr_error *err) QMR_MUST_CHECK;

/* Wipes and frees; NULL is fine. */
void qmr_secret_free(char *data, size_t size);

#endif
