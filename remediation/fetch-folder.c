/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"

#define PATH_BYTES 2048

static int digit(char c)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *found = c ? strchr(digits, c) : NULL;

	return found ? (int)((found - digits) % 16) : -1;
}

/* A component that stays below its folder. */
static int is_plain(const char *name, size_t size)
{
	return size > 0 && size < 256 && !(size == 1 && name[0] == '.') &&
	       !(size == 2 && name[0] == '.' && name[1] == '.');
}

int qmr_fetch_folder_place(const char *path, int is_decoded, char *ret, size_t size)
{
	size_t used = 0, start = 0;

	for (;; path++) {
		int high = is_decoded && path[0] == '%' ? digit(path[1]) : -1;
		int low = high >= 0 ? digit(path[2]) : -1;
		int is_code = low > 0 || (low == 0 && high > 0); /* NUL is none */
		char c = is_code ? (char)(high * 16 + low) : *path;

		if (used + 1 >= size)
			return -EINVAL;
		if (c == '/' || !c) {
			if (!is_plain(ret + start, used - start))
				return -EINVAL;
			start = used + 1;
		}
		if (!c)
			break;
		ret[used++] = c;
		if (is_code)
			path += 2;
	}
	ret[used] = '\0';
	return 0;
}

/* Opens each component by itself: no link is followed, and nothing but openat(2) is needed. */
static int open_below(int folder, char *path)
{
	cleanup_close int held = -1;
	char *slash;

	while ((slash = strchr(path, '/'))) {
		int fd;

		*slash = '\0';
		fd = openat(held >= 0 ? held : folder, path,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (held >= 0)
			close(held);
		held = fd;
		path = slash + 1;
	}
	folder = openat(held >= 0 ? held : folder, path,
			O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return folder < 0 ? -errno : folder;
}

static int read_place(int folder, const char *path, int is_decoded, size_t max_bytes,
		      char **ret_data, size_t *ret_size, struct qmr_error *err)
{
	char place[PATH_BYTES];
	cleanup_close int fd = -1;
	int r = qmr_fetch_folder_place(path, is_decoded, place, sizeof(place));

	if (r < 0)
		return qmr_error_set(err, -ENOENT, "'%s' is no path in a folder", path);
	fd = open_below(folder, place);
	r = fd < 0 ? qmr_error_errno(err, fd, "opening '%s'", path)
		   : qmr_file_read_fd(fd, path, max_bytes, ret_data, ret_size, err);
	switch (r) {
	case -ENOTDIR:
	case -ELOOP:
	case -EACCES:
	case -EPERM:
	case -ENXIO: /* a socket */
	case -EINVAL:
	case -ENAMETOOLONG:
		return -ENOENT;
	default:
		return r;
	}
}

int qmr_fetch_folder_fetch(void *user, const char *path, size_t max_bytes, char **ret_data,
			   size_t *ret_size, struct qmr_error *err)
{
	int folder = *(const int *)user;
	int r = read_place(folder, path, 1, max_bytes, ret_data, ret_size, err);

	if (r == -ENOENT && strchr(path, '%'))
		r = read_place(folder, path, 0, max_bytes, ret_data, ret_size, err);
	return r;
}
