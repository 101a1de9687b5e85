/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_BUNDLE_H
#define QMR_BUNDLE_H

#include <stddef.h>

#include "error.h"
#include "uuid.h"

#define QMR_BUNDLE_TAR_MAX (96U << 20) /* before compression */

/* Reads the id of the incident folder; -EBADMSG if there is no valid incident.json. */
int qmr_bundle_read_id(int incident_fd, char ret_id[QMR_UUID_TEXT], struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Packs an incident folder as ".tar.zst" into memory (malloc, caller frees): a ustar archive (POSIX.1-1988) of the files
 * that the table in bundle.c lets out of the machine, below a folder named id, compressed by libzstd with a checksum.
 * -EFBIG beyond QMR_BUNDLE_TAR_MAX.
 */
int qmr_bundle_pack(int incident_fd, const char *id, char **ret_data, size_t *ret_size,
		    struct qmr_error *err) QMR_MUST_CHECK;

#endif
