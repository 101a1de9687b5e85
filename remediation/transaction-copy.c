/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "cleanup.h"
#include "file.h"
#include "hash.h"
#include "transaction-node.h"

#define XATTR_BYTES 65536 /* XATTR_LIST_MAX and XATTR_SIZE_MAX of the kernel */

/* Only root can give files away or set all attributes; an unprivileged run is a test or somebody's
 * own tree. */
static int is_tolerated(int code)
{
	return code == ENOTSUP || (code == EPERM && geteuid() != 0);
}

static ssize_t list_xattrs(int fd, char **ret_names)
{
	char *names = malloc(XATTR_BYTES);
	ssize_t n;

	if (!names)
		return -ENOMEM;
	n = flistxattr(fd, names, XATTR_BYTES);
	if (n < 0) {
		n = errno == ENOTSUP ? 0 : -errno;
		if (n < 0) {
			free(names);
			return n;
		}
	}
	*ret_names = names;
	return n;
}

static int copy_xattrs(int in_fd, int out_fd, const char *name, struct qmr_error *err)
{
	cleanup_free char *names = NULL;
	cleanup_free char *value = malloc(XATTR_BYTES);
	ssize_t n = list_xattrs(in_fd, &names);

	if (!value || n < 0)
		return qmr_error_errno(err, value ? (int)n : -ENOMEM,
				       "reading the attributes of '%s'", name);
	for (const char *p = names; p < names + n; p += strlen(p) + 1) {
		ssize_t size = fgetxattr(in_fd, p, value, XATTR_BYTES);

		if (size < 0 && (errno == ENODATA || is_tolerated(errno)))
			continue;
		if (size < 0)
			return qmr_error_errno(err, -errno, "reading the attribute '%s' of '%s'", p,
					       name);
		if (fsetxattr(out_fd, p, value, (size_t)size, 0) < 0 && !is_tolerated(errno))
			return qmr_error_errno(err, -errno, "setting the attribute '%s' of '%s'", p,
					       name);
	}
	return 0;
}

/* Every attribute of a, with the same value in b. */
static int includes_xattrs(int a, int b)
{
	cleanup_free char *names = NULL;
	cleanup_free char *values = malloc(2 * XATTR_BYTES);
	ssize_t n = list_xattrs(a, &names);

	if (!values || n < 0)
		return 0;
	for (const char *p = names; p < names + n; p += strlen(p) + 1) {
		ssize_t x = fgetxattr(a, p, values, XATTR_BYTES);
		ssize_t y = fgetxattr(b, p, values + XATTR_BYTES, XATTR_BYTES);

		if (x < 0 || x != y || memcmp(values, values + XATTR_BYTES, (size_t)x))
			return 0;
	}
	return 1;
}

int qmr_node_has_same_xattrs(int a, int b)
{
	return includes_xattrs(a, b) && includes_xattrs(b, a);
}

/* In this order: changing the owner clears set-user-id bits and file capabilities, an ACL sets the
 * group bits. */
static int set_metadata(int fd, int xattrs_fd, const char *name, const struct qmr_node *meta,
			struct qmr_error *err)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_NOW}};
	int64_t seconds = meta->mtime_ns / 1000000000, rest = meta->mtime_ns % 1000000000;
	int r;

	if (fchown(fd, meta->uid, meta->gid) < 0 && !is_tolerated(errno))
		return qmr_error_errno(err, -errno, "setting the owner of '%s'", name);
	if (xattrs_fd >= 0) {
		r = copy_xattrs(xattrs_fd, fd, name, err);
		if (r < 0)
			return r;
	}
	if (fchmod(fd, meta->mode & 07777) < 0)
		return qmr_error_errno(err, -errno, "setting the mode of '%s'", name);
	times[1].tv_sec = (time_t)(rest < 0 ? seconds - 1 : seconds);
	times[1].tv_nsec = (long)(rest < 0 ? rest + 1000000000 : rest);
	if (futimens(fd, times) < 0)
		return qmr_error_errno(err, -errno, "setting the time of '%s'", name);
	return 0;
}

static int make_file(int in_fd, const void *data, size_t size, int out_dir, const char *name,
		     const struct qmr_node *meta, char ret_sha256[65], struct qmr_error *err)
{
	cleanup_close int fd =
		openat(out_dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return qmr_error_errno(err, -errno, "creating '%s'", name);
	if (in_fd < 0)
		r = qmr_file_write_all(fd, name, data, size, err);
	else if (lseek(in_fd, 0, SEEK_SET) < 0)
		r = qmr_error_errno(err, -errno, "reading what goes into '%s'", name);
	else
		r = qmr_file_copy_fd(in_fd, fd, UINT64_MAX, name, err);
	if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = qmr_error_errno(err, -errno, "reading '%s' back", name);
	if (r == 0)
		r = qmr_sha256_fd(fd, name, ret_sha256, NULL, err);
	if (r == 0)
		r = set_metadata(fd, in_fd, name, meta, err);
	if (r == 0 && fsync(fd) < 0)
		r = qmr_error_errno(err, -errno, "syncing '%s'", name);
	return r;
}

static int make_or_remove(int in_fd, const void *data, size_t size, int out_dir, const char *name,
			  const struct qmr_node *meta, char ret_sha256[65], struct qmr_error *err)
{
	char sha256[65];
	int r = make_file(in_fd, data, size, out_dir, name, meta, sha256, err);

	if (r == 0)
		memcpy(ret_sha256, sha256, sizeof(sha256));
	else if (r != -EEXIST)
		(void)unlinkat(out_dir, name, 0); /* the error that matters is reported */
	return r;
}

int qmr_node_copy_file(int in_fd, int out_dir, const char *name, const struct qmr_node *meta,
		       char ret_sha256[65], struct qmr_error *err)
{
	return make_or_remove(in_fd, NULL, 0, out_dir, name, meta, ret_sha256, err);
}

int qmr_node_write_file(const void *data, size_t size, int out_dir, const char *name,
			const struct qmr_node *meta, char ret_sha256[65], struct qmr_error *err)
{
	return make_or_remove(-1, data, size, out_dir, name, meta, ret_sha256, err);
}
