/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transaction-node.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "hash.h"

#define TARGET_BYTES 4096

void qmr_node_done(struct qmr_node *node)
{
	free(node->target);
	memset(node, 0, sizeof(*node));
}

int qmr_node_copy(const struct qmr_node *node, struct qmr_node *ret_node, struct qmr_error *err)
{
	struct qmr_node copy = *node;

	if (node->target) {
		copy.target = strdup(node->target);
		if (!copy.target)
			return qmr_error_set(err, -ENOMEM, "out of memory");
	}
	*ret_node = copy;
	return 0;
}

int qmr_node_from_saved(const struct qmr_saved_file *file, struct qmr_node *ret_node,
			struct qmr_error *err)
{
	struct qmr_node node = {
		.type = file->target ? QMR_NODE_SYMLINK : QMR_NODE_FILE,
		.target = file->target,
		.mode = file->mode,
		.uid = file->uid,
		.gid = file->gid,
		.size = file->size,
		.mtime_ns = file->mtime_ns,
	};

	memcpy(node.sha256, file->sha256, sizeof(node.sha256));
	return qmr_node_copy(&node, ret_node, err);
}

static void from_stat(const struct stat *st, struct qmr_node *node)
{
	node->mode = st->st_mode & 07777;
	node->uid = st->st_uid;
	node->gid = st->st_gid;
	node->size = (uint64_t)st->st_size;
	node->mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

int qmr_node_stat_fd(int fd, const char *path, struct qmr_node *ret_node, struct qmr_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return qmr_error_errno(err, -errno, "examining '%s'", path);
	if (!S_ISREG(st.st_mode))
		return qmr_error_set(err, -EBADMSG, "'%s' is not a regular file", path);
	memset(ret_node, 0, sizeof(*ret_node));
	ret_node->type = QMR_NODE_FILE;
	from_stat(&st, ret_node);
	return 0;
}

static int read_link(int parent_fd, const char *name, const char *path, struct qmr_node *node,
		     struct qmr_error *err)
{
	char target[TARGET_BYTES];
	ssize_t n = readlinkat(parent_fd, name, target, sizeof(target) - 1);

	if (n < 0)
		return qmr_error_errno(err, -errno, "reading the link '%s'", path);
	target[n] = '\0';
	node->type = QMR_NODE_SYMLINK;
	node->target = strdup(target);
	return node->target
		       ? 0
		       : qmr_error_set(err, -ENOMEM, "reading the link '%s': out of memory", path);
}

int qmr_node_read_at(int parent_fd, const char *name, const char *path, struct qmr_node *ret_node,
		     struct qmr_error *err)
{
	struct qmr_node node = {0};
	cleanup_close int fd = -1;
	struct stat st;
	int r;

	if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return qmr_error_errno(err, -errno, "examining '%s'", path);
		*ret_node = node;
		return 0;
	}
	if (S_ISLNK(st.st_mode)) {
		from_stat(&st, &node);
		r = read_link(parent_fd, name, path, &node, err);
		if (r == 0)
			*ret_node = node;
		return r;
	}
	if (!S_ISREG(st.st_mode))
		return qmr_error_set(err, -EBADMSG, "'%s' is neither a file nor a symbolic link",
				     path);
	fd = openat(parent_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", path);
	r = qmr_node_stat_fd(fd, path, &node, err);
	if (r == 0)
		r = qmr_sha256_fd(fd, path, node.sha256, &node.size, err);
	if (r == 0)
		*ret_node = node;
	return r;
}

int qmr_node_read(int root_fd, const char *path, struct qmr_node *ret_node, struct qmr_error *err)
{
	char name[256];
	cleanup_close int parent = qmr_file_open_parent_in_root(root_fd, path, 0, name, err);

	if (parent == -ENOENT) {
		memset(ret_node, 0, sizeof(*ret_node));
		return 0;
	}
	return parent < 0 ? parent : qmr_node_read_at(parent, name, path, ret_node, err);
}

int qmr_node_is_same_content(const struct qmr_node *a, const struct qmr_node *b)
{
	if (a->type != b->type)
		return 0;
	if (a->type == QMR_NODE_FILE)
		return !strcmp(a->sha256, b->sha256);
	return a->type == QMR_NODE_NONE || !strcmp(a->target, b->target);
}

int qmr_node_is_same(const struct qmr_node *a, const struct qmr_node *b)
{
	if (!qmr_node_is_same_content(a, b))
		return 0;
	if (a->type == QMR_NODE_NONE)
		return 1;
	if (a->type == QMR_NODE_FILE && a->mode != b->mode)
		return 0;
	return geteuid() != 0 || (a->uid == b->uid && a->gid == b->gid);
}
