/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cleanup.h"
#include "file.h"
#include "transaction.h"

/* Copies what the name holds into undo/NNN; the hash in *ret_old is that of the copy. */
static int save_old(int parent_fd, const char *name, const char *path, int undo_fd,
		    const char *number, struct qmr_node *ret_old, struct qmr_error *err)
{
	cleanup_close int fd = -1;
	struct qmr_node old = {0};
	struct stat st;
	int r;

	if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return qmr_node_read_at(parent_fd, name, path, ret_old, err);
	fd = openat(parent_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", path);
	r = qmr_node_stat_fd(fd, path, &old, err);
	if (r == 0)
		r = qmr_node_copy_file(fd, undo_fd, number, &old, old.sha256, err);
	if (r == 0)
		*ret_old = old;
	return r;
}

static int write_data(const struct qmr_change *change, int new_fd, const char *number,
		      struct qmr_node *node, struct qmr_error *err)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	node->size = strlen(change->data);
	node->mtime_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	return qmr_node_write_file(change->data, node->size, new_fd, number, node, node->sha256,
				   err);
}

static int write_new(int root_fd, const struct qmr_change *change, int new_fd, const char *number,
		     struct qmr_node *ret_new, struct qmr_error *err)
{
	cleanup_close int fd = -1;
	struct qmr_node node;
	char sha256[65];
	int r = qmr_node_copy(&change->node, &node, err);

	if (r < 0)
		return r;
	if (node.type == QMR_NODE_FILE && change->source) {
		fd = qmr_file_open_in_root(root_fd, change->source,
					   O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);
		r = fd < 0 ? fd : qmr_node_copy_file(fd, new_fd, number, &node, sha256, err);
		if (r == -ENOENT)
			r = qmr_error_set(err, -EBADMSG, "the saved copy of '%s' is missing",
					  change->path);
		else if (r == 0 && strcmp(sha256, node.sha256))
			r = qmr_error_set(
				err, -EBADMSG,
				"the saved copy of '%s' does not have the hash that was noted",
				change->path);
	} else if (node.type == QMR_NODE_FILE) {
		r = write_data(change, new_fd, number, &node, err);
	}
	if (r < 0)
		qmr_node_done(&node);
	else
		*ret_new = node;
	return r;
}

/* Leaves the file out, and its number free, if it already is as wanted. */
static int prepare_one(int root_fd, const struct qmr_change *change, int undo_fd, int new_fd,
		       struct qmr_journal *journal, struct qmr_error *err)
{
	struct qmr_journal_file *file = &journal->files[journal->n_files];
	char name[256], number[16];
	cleanup_close int parent =
		qmr_file_open_parent_in_root(root_fd, change->path, 0, name, err);
	int r = 0;

	if (parent < 0 && parent != -ENOENT)
		return parent;
	file->n = (unsigned int)journal->n_files + 1;
	qmr_transaction_name(file->n, number);
	file->path = strdup(change->path);
	if (!file->path)
		return qmr_error_set(err, -ENOMEM, "preparing '%s': out of memory", change->path);
	journal->n_files++; /* from here on qmr_journal_done() frees it */
	if (parent >= 0)
		r = save_old(parent, name, change->path, undo_fd, number, &file->old, err);
	if (r == 0)
		r = write_new(root_fd, change, new_fd, number, &file->new, err);
	if (r < 0 || !qmr_node_is_same(&file->old, &file->new))
		return r;
	if ((unlinkat(undo_fd, number, 0) < 0 && errno != ENOENT) ||
	    (unlinkat(new_fd, number, 0) < 0 && errno != ENOENT))
		return qmr_error_errno(err, -errno, "removing the copy '%s'", number);
	journal->n_files--;
	free(file->path);
	qmr_node_done(&file->old);
	qmr_node_done(&file->new);
	memset(file, 0, sizeof(*file));
	return 0;
}

static int make_folder(int folder_fd, const char *name, struct qmr_error *err)
{
	int fd;

	if (mkdirat(folder_fd, name, 0700) < 0)
		return qmr_error_errno(err, -errno, "creating folder '%s'", name);
	fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 ? fd : qmr_error_errno(err, -errno, "opening folder '%s'", name);
}

int qmr_transaction_prepare(int root_fd, int folder_fd, const struct qmr_changes *changes,
			    struct qmr_journal *journal, struct qmr_error *err)
{
	cleanup_close int undo_fd = make_folder(folder_fd, "undo", err);
	cleanup_close int new_fd = undo_fd < 0 ? -1 : make_folder(folder_fd, "new", err);

	if (undo_fd < 0 || new_fd < 0)
		return undo_fd < 0 ? undo_fd : new_fd;
	journal->files = calloc(changes->n ? changes->n : 1, sizeof(*journal->files));
	if (!journal->files)
		return qmr_error_set(err, -ENOMEM, "preparing the changes: out of memory");
	for (size_t i = 0; i < changes->n; i++) {
		int r = prepare_one(root_fd, &changes->list[i], undo_fd, new_fd, journal, err);

		if (r < 0)
			return r;
	}
	if (fsync(undo_fd) < 0 || fsync(new_fd) < 0 || fsync(folder_fd) < 0)
		return qmr_error_errno(err, -errno, "syncing the copies");
	return 0;
}
