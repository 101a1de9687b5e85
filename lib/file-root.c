/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "cleanup.h"
#include "file.h"

/* The broken system's files are hostile: the kernel resolves every path as if its root were ours (openat2(2)). */

int qmr_file_open_in_root(int root_fd, const char *path, int flags, mode_t mode, struct qmr_error *err)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	/* EAGAIN: a rename elsewhere raced with the walk (openat2(2)); bounded, since a hostile one may go on. */
	for (int tries = 0; tries < 16; tries++) {
		int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

		if (fd >= 0)
			return fd;
		if (errno != EAGAIN && errno != EINTR)
			break;
	}
	return qmr_error_errno(err, -errno, "opening '%s' inside the root", path);
}

static int open_folder(int root_fd, const char *path, int create, struct qmr_error *err)
{
	int fd = qmr_file_open_in_root(root_fd, path, O_RDONLY | O_DIRECTORY, 0, err);
	char name[256];

	if (fd != -ENOENT || !create)
		return fd;
	{
		cleanup_close int parent = qmr_file_open_parent_in_root(root_fd, path, 1, name, err);

		if (parent < 0)
			return parent;
		if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
			return qmr_error_errno(err, -errno, "creating folder '%s'", path);
		if (fsync(parent) < 0)
			return qmr_error_errno(err, -errno, "syncing the folder of '%s'", path);
	}
	return qmr_file_open_in_root(root_fd, path, O_RDONLY | O_DIRECTORY, 0, err);
}

DIR *qmr_file_open_dir_in_root(int root_fd, const char *path)
{
	return qmr_file_take_dir(qmr_file_open_in_root(root_fd, path, O_RDONLY | O_DIRECTORY, 0, NULL));
}

int qmr_file_open_parent_in_root(int root_fd, const char *path, int create, char ret_name[256],
				 struct qmr_error *err)
{
	char parent[4096];
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	size_t length = slash ? (size_t)(slash - path) : 0;

	if (!*name || !strcmp(name, ".") || !strcmp(name, "..") || strlen(name) > 255)
		return qmr_error_set(err, -EINVAL, "'%s' does not name a file", path);
	if (length >= sizeof(parent))
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", path);
	while (length && path[length - 1] == '/')
		length--;
	memcpy(parent, path, length);
	parent[length] = '\0';
	strcpy(ret_name, name);
	return open_folder(root_fd, length ? parent : ".", create, err);
}
