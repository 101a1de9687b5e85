/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"

#define KERNEL_BYTES_MAX (256U << 20)
#define SETUP_MAGIC_OFFSET 0x202

static const char *const folders[] = {"/boot/vmlinuz-", "/usr/lib/modules/"};
static const char *const files[] = {"", "/vmlinuz"};

/* Opens the release's kernel file; ret_path is what it was opened as, or the last place that was tried. */
static int open_kernel(int root_fd, const char *release, char ret_path[PATH_MAX])
{
	int fd = -ENOENT;

	for (size_t i = 0; fd < 0 && i < 2; i++) {
		snprintf(ret_path, PATH_MAX, "%s%s%s", folders[i], release, files[i]);
		fd = qmr_file_open_in_root(root_fd, ret_path, O_RDONLY | O_NONBLOCK, 0, NULL);
	}
	return fd;
}

static int is_release(const char *name)
{
	return name[0] && name[0] != '.' && strlen(name) < QMR_RELEASE_BYTES && !strchr(name, '/');
}

int qmr_kernel_find_newest(int root_fd, char ret_release[QMR_RELEASE_BYTES], struct qmr_error *err)
{
	int fd = qmr_file_open_in_root(root_fd, "/usr/lib/modules", O_RDONLY | O_DIRECTORY, 0, err);
	cleanup_closedir DIR *dir = qmr_file_take_dir(fd);
	char newest[QMR_RELEASE_BYTES] = "", path[PATH_MAX];
	struct dirent *entry;

	if (fd < 0)
		return fd;
	if (!dir)
		return qmr_error_set(err, -ENOMEM, "listing kernels: out of memory");
	while ((entry = readdir(dir))) {
		cleanup_close int kernel = -1;

		if (!is_release(entry->d_name) || strverscmp(entry->d_name, newest) <= 0)
			continue;
		kernel = open_kernel(root_fd, entry->d_name, path);
		if (kernel >= 0)
			strcpy(newest, entry->d_name);
	}
	if (!newest[0])
		return qmr_error_set(err, -ENOENT, "no kernel is installed: '/usr/lib/modules' names no release that "
				     "'/boot' has a vmlinuz of");
	strcpy(ret_release, newest);
	return 0;
}

int qmr_kernel_read(int root_fd, const char *release, char **ret_data, size_t *ret_size, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	cleanup_close int fd = -1;
	char path[PATH_MAX];
	size_t size;
	int r;

	if (!is_release(release))
		return qmr_error_set(err, -EINVAL, "'%s' is no kernel release", release);
	fd = open_kernel(root_fd, release, path);
	if (fd < 0)
		return qmr_error_errno(err, fd, "kernel '%s' is neither '/boot/vmlinuz-%s' nor '%s'", release, release,
				       path);
	r = qmr_file_read_fd(fd, path, KERNEL_BYTES_MAX, &data, &size, err);
	if (r < 0)
		return r;
	if (size < SETUP_MAGIC_OFFSET + 4 || memcmp(data, "MZ", 2) || memcmp(data + SETUP_MAGIC_OFFSET, "HdrS", 4))
		return qmr_error_set(err, -ENOEXEC, "'%s' is no kernel that EFI can start", path);
	*ret_data = data;
	data = NULL;
	*ret_size = size;
	return 0;
}
