/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "newc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define HEADER_BYTES 110
#define PATH_BYTES_MAX 4096 /* with NUL; the kernel's N_ALIGN(PATH_MAX) skips longer names */
#define TRAILER "TRAILER!!!"

static int put(struct qmr_newc *newc, const void *data, size_t size, struct qmr_error *err)
{
	int r = newc->sink(newc->user, data, size, err);

	if (r == 0)
		newc->written_bytes += size;
	return r;
}

static int pad(struct qmr_newc *newc, unsigned int to, struct qmr_error *err)
{
	static const char zero[512];
	size_t rest = newc->written_bytes % to;

	return rest ? put(newc, zero, to - rest, err) : 0;
}

void qmr_newc_begin(struct qmr_newc *newc, qmr_sink_fn *sink, void *user, uint32_t mtime_unix_s)
{
	*newc = (struct qmr_newc){.sink = sink, .user = user, .mtime_unix_s = mtime_unix_s};
}

static int put_header(struct qmr_newc *newc, const struct qmr_newc_entry *entry, uint32_t inode, uint32_t mtime,
		      struct qmr_error *err)
{
	char header[HEADER_BYTES + 1];
	size_t path_bytes = strlen(entry->path) + 1;
	int r;

	snprintf(header, sizeof(header), "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", inode,
		 (unsigned int)entry->mode, 0U, 0U, S_ISDIR(entry->mode) ? 2U : 1U, mtime, entry->size_bytes, 0U, 0U,
		 entry->major, entry->minor, (unsigned int)path_bytes, 0U);
	r = put(newc, header, HEADER_BYTES, err);
	if (r == 0)
		r = put(newc, entry->path, path_bytes, err);
	return r == 0 ? pad(newc, 4, err) : r;
}

static int require_complete(const struct qmr_newc *newc, struct qmr_error *err)
{
	return newc->left_bytes ? qmr_error_set(err, -EINVAL, "an archive entry lacks %u bytes", newc->left_bytes) : 0;
}

int qmr_newc_add(struct qmr_newc *newc, const struct qmr_newc_entry *entry, struct qmr_error *err)
{
	int r = require_complete(newc, err);

	if (r < 0)
		return r;
	if (!entry->path[0] || entry->path[0] == '/' || strlen(entry->path) >= PATH_BYTES_MAX)
		return qmr_error_set(err, -EINVAL, "'%s' cannot be a path in an archive", entry->path);
	newc->inode++;
	newc->left_bytes = entry->size_bytes;
	return put_header(newc, entry, newc->inode, newc->mtime_unix_s, err);
}

int qmr_newc_data(struct qmr_newc *newc, const void *data, size_t size, struct qmr_error *err)
{
	int r;

	if (size > newc->left_bytes)
		return qmr_error_set(err, -EINVAL, "an archive entry has more bytes than announced");
	r = put(newc, data, size, err);
	if (r < 0)
		return r;
	newc->left_bytes -= (uint32_t)size;
	return newc->left_bytes ? 0 : pad(newc, 4, err);
}

int qmr_newc_end(struct qmr_newc *newc, struct qmr_error *err)
{
	const struct qmr_newc_entry trailer = {.path = TRAILER};
	int r = require_complete(newc, err);

	if (r == 0)
		r = put_header(newc, &trailer, 0, 0, err);
	return r == 0 ? pad(newc, 512, err) : r;
}
