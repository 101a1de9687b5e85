/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"

#define SECRET_BYTES_MAX 65536

int qmr_secret_read(const char *root, const char *path, char **ret_data, size_t *ret_size,
		    struct qmr_error *err)
{
	cleanup_close int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int fd = -1;
	struct stat st;

	if (root_fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", root);
	fd = qmr_file_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, err);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return qmr_error_errno(err, -errno, "examining '%s'", path);
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || st.st_mode & 077)
		return qmr_error_set(err, -EACCES, "'%s' belongs to user %u with mode %04o, and nobody but root may "
				     "open a secret", path, (unsigned int)st.st_uid, st.st_mode & 07777U);
	return qmr_file_read_fd(fd, path, SECRET_BYTES_MAX, ret_data, ret_size, err);
}

void qmr_secret_free(char *data, size_t size)
{
	if (data)
		explicit_bzero(data, size);
	free(data);
}
