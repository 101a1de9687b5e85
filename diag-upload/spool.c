/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"

#define LISTED_MAX 256

struct entry {
	char name[QMR_BUNDLE_NAME];
	struct timespec mtime;
	uint64_t size;
};

void qmr_bundle_name(const char *id, char ret_name[QMR_BUNDLE_NAME])
{
	snprintf(ret_name, QMR_BUNDLE_NAME, "%.36s" QMR_BUNDLE_SUFFIX, id);
}

int qmr_spool_open(const char *path, struct qmr_error *err)
{
	int fd, r = qmr_file_mkdirs(AT_FDCWD, path, 0700, err);

	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? qmr_error_errno(err, -errno, "opening spool '%s'", path) : fd;
}

static int is_bundle_name(const char *name)
{
	char id[QMR_UUID_TEXT];
	uint8_t uuid[16];

	if (strlen(name) != QMR_UUID_TEXT - 1 + strlen(QMR_BUNDLE_SUFFIX) ||
	    strcmp(name + QMR_UUID_TEXT - 1, QMR_BUNDLE_SUFFIX))
		return 0;
	memcpy(id, name, QMR_UUID_TEXT - 1);
	id[QMR_UUID_TEXT - 1] = '\0';
	return qmr_uuid_parse(id, uuid) == 0;
}

static int compare_entries(const void *a_, const void *b_)
{
	const struct entry *a = a_, *b = b_;

	if (a->mtime.tv_sec != b->mtime.tv_sec)
		return a->mtime.tv_sec < b->mtime.tv_sec ? -1 : 1;
	if (a->mtime.tv_nsec != b->mtime.tv_nsec)
		return a->mtime.tv_nsec < b->mtime.tv_nsec ? -1 : 1;
	return strcmp(a->name, b->name);
}

/* Fills list, oldest first; returns how many. Other files are not ours. */
static int list_bundles(int spool_fd, struct entry list[LISTED_MAX], struct qmr_error *err)
{
	cleanup_closedir DIR *dir = qmr_file_open_dir(spool_fd, ".");
	struct dirent *found;
	size_t n = 0;

	if (!dir)
		return qmr_error_errno(err, -errno, "reading the spool");
	while (n < LISTED_MAX && (found = readdir(dir))) {
		struct stat st;

		if (!is_bundle_name(found->d_name) ||
		    fstatat(spool_fd, found->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		memcpy(list[n].name, found->d_name, strlen(found->d_name) + 1);
		list[n].mtime = st.st_mtim;
		list[n++].size = (uint64_t)st.st_size;
	}
	qsort(list, n, sizeof(*list), compare_entries);
	return (int)n;
}

/* Removes the oldest until a bundle of size bytes fits. */
static int make_room(int spool_fd, const char *name, size_t size, struct qmr_error *err)
{
	cleanup_free struct entry *list = calloc(LISTED_MAX, sizeof(*list));
	uint64_t bytes = size;
	int n, files = 1;

	if (!list)
		return qmr_error_set(err, -ENOMEM, "reading the spool: out of memory");
	n = list_bundles(spool_fd, list, err);
	if (n < 0)
		return n;
	for (int i = n - 1; i >= 0; i--) {
		int r;

		if (!strcmp(list[i].name, name))
			continue; /* is replaced */
		bytes += list[i].size;
		if (++files <= QMR_SPOOL_FILES_MAX && bytes <= QMR_SPOOL_BYTES_MAX)
			continue;
		qmr_warning("spool: '%s' is dropped to make room for a newer bundle", list[i].name);
		r = qmr_spool_remove(spool_fd, list[i].name, err);
		if (r < 0)
			return r;
		bytes -= list[i].size;
		files--;
	}
	return 0;
}

int qmr_spool_put(int spool_fd, const char *id, const void *data, size_t size, struct qmr_error *err)
{
	char name[QMR_BUNDLE_NAME];
	int r;

	if (size > QMR_SPOOL_BYTES_MAX)
		return qmr_error_set(err, -EFBIG, "spooling the bundle: it is larger than the whole spool");
	qmr_bundle_name(id, name);
	r = make_room(spool_fd, name, size, err);
	return r < 0 ? r : qmr_file_replace(spool_fd, name, data, size, 0600, err);
}

int qmr_spool_walk(int spool_fd, qmr_spool_fn *fn, void *user, struct qmr_error *err)
{
	cleanup_free struct entry *list = calloc(LISTED_MAX, sizeof(*list));
	int n, r = 0;

	if (!list)
		return qmr_error_set(err, -ENOMEM, "reading the spool: out of memory");
	n = list_bundles(spool_fd, list, err);
	for (int i = 0; r >= 0 && i < n; i++)
		r = fn(user, spool_fd, list[i].name, err);
	return n < 0 ? n : r;
}

int qmr_spool_remove(int spool_fd, const char *name, struct qmr_error *err)
{
	if (unlinkat(spool_fd, name, 0) < 0 && errno != ENOENT)
		return qmr_error_errno(err, -errno, "removing '%s' from the spool", name);
	return fsync(spool_fd) < 0 ? qmr_error_errno(err, -errno, "syncing the spool") : 0;
}
