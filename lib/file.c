/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "cleanup.h"

int qmr_file_read_fd(int fd, const char *name, size_t max, char **ret_data, size_t *ret_size,
		     struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	size_t used = 0, room = 0;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return qmr_error_errno(err, -errno, "examining '%s'", name);
	if (!S_ISREG(st.st_mode))
		return qmr_error_set(err, -EINVAL, "'%s' is not a regular file", name);
	if (st.st_size > 0 && (uint64_t)st.st_size > max)
		return qmr_error_set(err, -EFBIG, "'%s' is larger than %zu bytes", name, max);

	for (;;) {
		ssize_t n;

		if (used == room) {
			char *grown;

			room = room ? room * 2 : (size_t)st.st_size + 512;
			if (room > max + 1)
				room = max + 1;
			grown = realloc(data, room + 1);
			if (!grown)
				return qmr_error_set(err, -ENOMEM, "reading '%s': out of memory", name);
			data = grown;
		}
		n = read(fd, data + used, room - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return qmr_error_errno(err, -errno, "reading '%s'", name);
		if (n == 0)
			break;
		used += (size_t)n;
		if (used > max)
			return qmr_error_set(err, -EFBIG, "'%s' is larger than %zu bytes", name, max);
	}
	data[used] = '\0';
	*ret_data = data;
	data = NULL;
	*ret_size = used;
	return 0;
}

int qmr_file_read(int dirfd, const char *path, size_t max, char **ret_data, size_t *ret_size,
		  struct qmr_error *err)
{
	/* O_NONBLOCK: a FIFO in the place of a file must not stop us. */
	cleanup_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", path);
	return qmr_file_read_fd(fd, path, max, ret_data, ret_size, err);
}

int qmr_file_write_all(int fd, const char *name, const void *data, size_t size, struct qmr_error *err)
{
	const char *p = data;

	while (size) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return qmr_error_errno(err, n < 0 ? -errno : -EIO, "writing '%s'", name);
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

int qmr_file_sync_dir(int dirfd, const char *path, struct qmr_error *err)
{
	cleanup_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_DIRECTORY);

	if (fd < 0 || fsync(fd) < 0)
		return qmr_error_errno(err, -errno, "syncing folder '%s'", path);
	return 0;
}

static int sync_parent(int dirfd, const char *path, struct qmr_error *err)
{
	char parent[4096];
	const char *slash = strrchr(path, '/');

	if (!slash)
		return qmr_file_sync_dir(dirfd, ".", err);
	snprintf(parent, sizeof(parent), "%.*s", (int)(slash == path ? 1 : slash - path), path);
	return qmr_file_sync_dir(dirfd, parent, err);
}

static int write_new(int dirfd, const char *path, const void *data, size_t size, mode_t mode, int is_synced,
		     struct qmr_error *err)
{
	cleanup_close int fd = -1;
	int r;

	/* A leftover of an earlier cut is ours to remove; it is never opened, it may be a link. */
	if (unlinkat(dirfd, path, 0) < 0 && errno != ENOENT)
		return qmr_error_errno(err, -errno, "removing the old '%s'", path);
	fd = openat(dirfd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return qmr_error_errno(err, -errno, "creating '%s'", path);
	r = qmr_file_write_all(fd, path, data, size, err);
	if (r == 0 && fchmod(fd, mode) < 0 && errno != EPERM) /* vfat has no modes */
		r = qmr_error_errno(err, -errno, "setting the mode of '%s'", path);
	if (r == 0 && is_synced && fsync(fd) < 0)
		r = qmr_error_errno(err, -errno, "syncing '%s'", path);
	return r;
}

static int replace(int dirfd, const char *path, const void *data, size_t size, mode_t mode, int is_synced,
		   struct qmr_error *err)
{
	char temporary[4096];
	int r;

	if (snprintf(temporary, sizeof(temporary), "%s.qmr-new", path) >= (int)sizeof(temporary))
		return qmr_error_set(err, -ENAMETOOLONG, "writing '%s': the path is too long", path);
	r = write_new(dirfd, temporary, data, size, mode, is_synced, err);
	if (r == 0 && renameat(dirfd, temporary, dirfd, path) < 0)
		r = qmr_error_errno(err, -errno, "putting '%s' in place", path);
	if (r < 0) {
		(void)unlinkat(dirfd, temporary, 0); /* the error that matters is reported */
		return r;
	}
	return is_synced ? sync_parent(dirfd, path, err) : 0;
}

int qmr_file_replace(int dirfd, const char *path, const void *data, size_t size, mode_t mode,
		     struct qmr_error *err)
{
	return replace(dirfd, path, data, size, mode, 1, err);
}

int qmr_file_replace_unsynced(int dirfd, const char *path, const void *data, size_t size, mode_t mode,
			      struct qmr_error *err)
{
	return replace(dirfd, path, data, size, mode, 0, err);
}

int qmr_file_poke(const char *path, const char *text, struct qmr_error *err)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", path);
	return qmr_file_write_all(fd, path, text, strlen(text), err);
}

int qmr_file_mkdirs(int dirfd, const char *path, mode_t mode, struct qmr_error *err)
{
	char partial[4096];

	if (snprintf(partial, sizeof(partial), "%s", path) >= (int)sizeof(partial))
		return qmr_error_set(err, -ENAMETOOLONG, "creating folder '%s': the path is too long", path);
	for (char *p = partial + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdirat(dirfd, partial, 0755) < 0 && errno != EEXIST)
			return qmr_error_errno(err, -errno, "creating folder '%s'", partial);
		*p = '/';
	}
	if (mkdirat(dirfd, partial, mode) < 0 && errno != EEXIST)
		return qmr_error_errno(err, -errno, "creating folder '%s'", partial);
	return 0;
}

int qmr_file_copy_fd(int in_fd, int out_fd, uint64_t max, const char *name, struct qmr_error *err)
{
	cleanup_free char *buffer = NULL;
	uint64_t total = 0;
	struct stat st;

	if (fstat(in_fd, &st) == 0 && (uint64_t)st.st_size <= max && lseek(in_fd, 0, SEEK_CUR) == 0 &&
	    ioctl(out_fd, FICLONE, in_fd) == 0)
		return 0;
	buffer = malloc(65536);
	if (!buffer)
		return qmr_error_set(err, -ENOMEM, "copying '%s': out of memory", name);
	for (;;) {
		ssize_t n = read(in_fd, buffer, 65536);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return qmr_error_errno(err, -errno, "reading '%s'", name);
		if (n == 0)
			return 0;
		total += (uint64_t)n;
		if (total > max)
			return qmr_error_set(err, -EFBIG, "'%s' is larger than %llu bytes", name,
					     (unsigned long long)max);
		r = qmr_file_write_all(out_fd, name, buffer, (size_t)n, err);
		if (r < 0)
			return r;
	}
}

DIR *qmr_file_take_dir(int fd)
{
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (!dir)
		qmr_cleanup_close(&fd);
	return dir;
}

DIR *qmr_file_open_dir(int dirfd, const char *path)
{
	return qmr_file_take_dir(openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

int qmr_file_remove_some(int dir_fd, const char *path, int (*is_ours)(const char *name), const char *what,
			 struct qmr_error *err)
{
	cleanup_closedir DIR *dir = qmr_file_open_dir(dir_fd, path);
	struct dirent *entry;

	if (!dir)
		return qmr_error_errno(err, -errno, "reading the folder of %s", what);
	while ((entry = readdir(dir)))
		if (is_ours(entry->d_name) && unlinkat(dirfd(dir), entry->d_name, 0) < 0 && errno != ENOENT)
			return qmr_error_errno(err, -errno, "removing %s: '%s'", what, entry->d_name);
	return 0;
}

static int remove_tree_at(int dirfd, const char *name, dev_t device, int depth, struct qmr_error *err);

static int empty_folder(int fd, const char *name, dev_t device, int depth, struct qmr_error *err)
{
	cleanup_closedir DIR *dir = qmr_file_take_dir(fd);
	struct dirent *entry;

	if (!dir)
		return qmr_error_errno(err, -errno, "reading folder '%s'", name);
	while ((entry = readdir(dir))) {
		int r;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		r = remove_tree_at(fd, entry->d_name, device, depth + 1, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int remove_tree_at(int dirfd, const char *name, dev_t device, int depth, struct qmr_error *err)
{
	struct stat st;
	int fd, r;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return qmr_error_errno(err, -errno, "removing '%s'", name);
	fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0) {
		r = qmr_error_errno(err, -errno, "opening folder '%s'", name);
		if (fd >= 0)
			close(fd);
		return r;
	}
	if ((device && st.st_dev != device) || depth > 64) {
		close(fd);
		return qmr_error_set(err, -EXDEV, "removing '%s': another file system or too deep", name);
	}
	r = empty_folder(fd, name, st.st_dev, depth, err);
	if (r == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0)
		r = qmr_error_errno(err, -errno, "removing folder '%s'", name);
	return r;
}

int qmr_file_remove_tree(int dirfd, const char *path, struct qmr_error *err)
{
	return remove_tree_at(dirfd, path, 0, 0, err);
}
