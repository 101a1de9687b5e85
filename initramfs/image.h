/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_IMAGE_H
#define QMR_IMAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "newc.h"

/*
 * The list of what the recovery image holds, sorted by path. Paths have no leading '/', are in merged-/usr form
 * ("lib/x" becomes "usr/lib/x") and are unique; missing parent folders are added with mode 0755.
 */

#define QMR_IMAGE_FILE_BYTES_MAX (256U << 20)

struct qmr_image_entry {
	char *path;
	mode_t mode;
	char *source; /* a regular file's path inside the root it is copied from, or NULL */
	char *data;   /* otherwise its content, or a link's target; NULL for the rest */
	size_t data_bytes;
	uint32_t major, minor;
};

struct qmr_image {
	int root_fd; /* borrowed; sources are opened below it */
	struct qmr_image_entry *entries;
	size_t n_entries, room;
	int64_t newest_unix_s; /* when what was read for data last changed; kept by who reads it */
};

/* Frees the list; a zeroed one is fine. */
void qmr_image_done(struct qmr_image *image);

/* Borrowed entry, NULL if the image does not hold path (any form). */
const struct qmr_image_entry *qmr_image_find(const struct qmr_image *image, const char *path);

/*
 * Adds a folder; as with all of these, an entry that is there already stays as it is, strings are copied, and a path that is empty or has a
 * component ".." is -EINVAL. -ENAMETOOLONG, -ENOMEM.
 */
int qmr_image_add_dir(struct qmr_image *image, const char *path, mode_t mode, struct qmr_error *err) QMR_MUST_CHECK;

/* Adds a regular file whose content is copied from source, a path inside the root, when the image is written. */
int qmr_image_add_file(struct qmr_image *image, const char *path, mode_t mode, const char *source,
		       struct qmr_error *err) QMR_MUST_CHECK;

/* Adds a regular file with a copy of data. */
int qmr_image_add_data(struct qmr_image *image, const char *path, mode_t mode, const void *data, size_t size,
		       struct qmr_error *err) QMR_MUST_CHECK;

/* Adds a symbolic link. */
int qmr_image_add_link(struct qmr_image *image, const char *path, const char *target,
		       struct qmr_error *err) QMR_MUST_CHECK;

/* Adds a device node; its type is in mode. */
int qmr_image_add_device(struct qmr_image *image, const char *path, mode_t mode, uint32_t major, uint32_t minor,
			 struct qmr_error *err) QMR_MUST_CHECK;

/* When the newest of all that is in the image last changed: newest_unix_s, or a source's time. */
int64_t qmr_image_newest(const struct qmr_image *image);

/*
 * Writes the list as a newc archive, trailer included; the same list gives the same bytes. A source that changes size
 * while it is copied is an error (-EAGAIN).
 */
int qmr_image_write(const struct qmr_image *image, uint32_t mtime_unix_s, qmr_sink_fn *sink, void *user,
		    struct qmr_error *err) QMR_MUST_CHECK;

#endif
