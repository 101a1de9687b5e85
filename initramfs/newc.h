/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_NEWC_H
#define QMR_NEWC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

/* The cpio "newc" archive that the kernel unpacks (Documentation/driver-api/early-userspace/buffer-format.rst). */

/* Takes the archive's bytes in order. */
typedef int qmr_sink_fn(void *user, const void *data, size_t size, struct qmr_error *err);

struct qmr_newc {
	qmr_sink_fn *sink;
	void *user;
	uint64_t written_bytes; /* so far, for padding */
	uint32_t inode;         /* of the last entry; each has its own, so nothing is taken for a hard link */
	uint32_t mtime_unix_s;  /* of every entry */
	uint32_t left_bytes;    /* of the current entry's content */
};

struct qmr_newc_entry {
	const char *path; /* without a leading '/' */
	mode_t mode;      /* with the type; owner is always root */
	uint32_t size_bytes;
	uint32_t major, minor; /* of a device node */
};

/* Begins an archive that goes to sink. */
void qmr_newc_begin(struct qmr_newc *newc, qmr_sink_fn *sink, void *user, uint32_t mtime_unix_s);

/*
 * Begins an entry. Its content follows with qmr_newc_data(): exactly size_bytes, for a symbolic link the target.
 * -EINVAL for a path that is empty, absolute or 4096 bytes long, or while the last entry's content is incomplete.
 */
int qmr_newc_add(struct qmr_newc *newc, const struct qmr_newc_entry *entry, struct qmr_error *err) QMR_MUST_CHECK;

/* A part of the content; -EINVAL beyond the size that was announced. */
int qmr_newc_data(struct qmr_newc *newc, const void *data, size_t size, struct qmr_error *err) QMR_MUST_CHECK;

/* Writes the trailer and pads to 512 bytes. -EINVAL while an entry's content is incomplete. */
int qmr_newc_end(struct qmr_newc *newc, struct qmr_error *err) QMR_MUST_CHECK;

#endif
