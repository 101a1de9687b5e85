/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"

static int sync_file(const char *path, struct qmr_error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fsync(fd) < 0)
		return qmr_error_errno(err, -errno, "writing '%s'", path);
	return 0;
}

int qmr_file_replace_on_fat(const char *path, const void *data, size_t size, struct qmr_error *err)
{
	cleanup_close int old_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char folder[PATH_MAX];
	int r;

	if (old_fd < 0 && errno != ENOENT)
		return qmr_error_errno(err, -errno, "opening '%s'", path);
	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
	r = qmr_file_replace(AT_FDCWD, path, data, size, 0644, err);
	if (r == 0)
		r = sync_file(path, err);
	return r == 0 ? qmr_file_sync_dir(AT_FDCWD, folder, err) : r;
}

int qmr_file_rename_on_fat(int dirfd, const char *from, const char *to, struct qmr_error *err)
{
	cleanup_close int file = openat(dirfd, from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (file < 0 || renameat2(dirfd, from, dirfd, to, RENAME_NOREPLACE) < 0)
		return qmr_error_errno(err, -errno, "renaming '%s' to '%s'", from, to);
	if (fsync(file) < 0 || fsync(dirfd) < 0)
		return qmr_error_errno(err, -errno, "syncing '%s'", to);
	return 0;
}
