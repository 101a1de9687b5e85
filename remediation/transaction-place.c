/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "transaction.h"

/*
 * Every step may be cut anywhere and is then repeated from its beginning: what a name holds is
 * compared with what the journal says, a name changes by one rename or unlink, and its folder is
 * synced before the next name.
 */

/* One direction through a journal: forward puts new in the place of old, back the other way round.
 */
struct direction {
	const char *folder; /* of the contents */
	const struct qmr_node *from, *to;
};

void qmr_transaction_name(unsigned int n, char ret_name[16])
{
	snprintf(ret_name, 16, "%03u", n);
}

static int open_content(int folder_fd, const char *folder, const struct qmr_journal_file *file,
			struct qmr_error *err)
{
	char name[16], path[32];
	int fd;

	qmr_transaction_name(file->n, name);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = openat(folder_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening the copy '%s' for '%s'", path,
				       file->path);
	return fd;
}

/* On a full disk the copy itself takes its place: that needs no room, and the transaction has no
 * other use for it then. */
static int link_content(int folder_fd, const char *folder, const struct qmr_journal_file *file,
			int parent_fd, const char *temporary, struct qmr_error *err)
{
	char name[16], path[32];

	qmr_transaction_name(file->n, name);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (linkat(folder_fd, path, parent_fd, temporary, 0) < 0)
		return qmr_error_errno(
			err, -ENOSPC,
			"putting '%s' in place: the disk is full, linking failed as well",
			file->path);
	return 0;
}

static int make_file(int folder_fd, const char *folder, const struct qmr_journal_file *file,
		     const struct qmr_node *to, int parent_fd, const char *temporary,
		     struct qmr_error *err)
{
	cleanup_close int fd = open_content(folder_fd, folder, file, err);
	struct qmr_node meta;
	char sha256[65];
	int r;

	if (fd < 0)
		return fd;
	r = qmr_node_stat_fd(fd, file->path, &meta, err);
	if (r < 0)
		return r;
	/* Unprivileged, the copies belong to the caller: what the journal says is what was meant.
	 */
	meta.uid = to->uid;
	meta.gid = to->gid;
	meta.mode = to->mode;
	r = qmr_node_copy_file(fd, parent_fd, temporary, &meta, sha256, err);
	if (r == 0 && strcmp(sha256, to->sha256)) {
		(void)unlinkat(parent_fd, temporary, 0); /* the error that matters is reported */
		return qmr_error_set(err, -EBADMSG, "the copy for '%s' is damaged", file->path);
	}
	if (r == -ENOSPC || r == -EDQUOT)
		r = link_content(folder_fd, folder, file, parent_fd, temporary, err);
	return r;
}

static int make_link(const struct qmr_journal_file *file, const struct qmr_node *to, int parent_fd,
		     const char *temporary, struct qmr_error *err)
{
	if (symlinkat(to->target, parent_fd, temporary) < 0)
		return qmr_error_errno(err, -errno, "creating the link '%s'", file->path);
	if (fchownat(parent_fd, temporary, to->uid, to->gid, AT_SYMLINK_NOFOLLOW) < 0 &&
	    geteuid() == 0)
		return qmr_error_errno(err, -errno, "setting the owner of the link '%s'",
				       file->path);
	return 0;
}

static int replace_name(int folder_fd, const struct direction *way,
			const struct qmr_journal_file *file, int parent_fd, const char *name,
			const char *temporary, struct qmr_error *err)
{
	int r;

	if (way->to->type == QMR_NODE_NONE) {
		if (unlinkat(parent_fd, name, 0) < 0 && errno != ENOENT)
			return qmr_error_errno(err, -errno, "removing '%s'", file->path);
		return 0;
	}
	if (way->to->type == QMR_NODE_SYMLINK)
		r = make_link(file, way->to, parent_fd, temporary, err);
	else
		r = make_file(folder_fd, way->folder, file, way->to, parent_fd, temporary, err);
	if (r == 0 && renameat(parent_fd, temporary, parent_fd, name) < 0)
		r = qmr_error_errno(err, -errno, "putting '%s' in place", file->path);
	if (r < 0)
		(void)unlinkat(parent_fd, temporary, 0); /* the error that matters is reported */
	return r;
}

/*
 * Returns -EUCLEAN, and touches nothing, if the name holds neither of both: somebody changed it
 * since, and that is not ours to overwrite.
 */
static int place_one(int root_fd, int folder_fd, const struct direction *way,
		     const struct qmr_journal *journal, const struct qmr_journal_file *file,
		     struct qmr_error *err)
{
	char name[256], temporary[64];
	cleanup_close int parent = qmr_file_open_parent_in_root(
		root_fd, file->path, way->to->type != QMR_NODE_NONE, name, err);
	struct qmr_node now = {0};
	int r, same, known;

	if (parent == -ENOENT && way->to->type == QMR_NODE_NONE)
		return 0;
	if (parent < 0)
		return err && !err->code ? qmr_error_errno(err, parent,
							   "opening the folder of '%s'", file->path)
					 : parent;
	snprintf(temporary, sizeof(temporary), ".qmr-%llu-%u", (unsigned long long)journal->id,
		 file->n);
	if (unlinkat(parent, temporary, 0) < 0 && errno != ENOENT && errno != EROFS) /* which comes before ENOENT */
		return qmr_error_errno(err, -errno, "removing what a cut left beside '%s'",
				       file->path);
	r = qmr_node_read_at(parent, name, file->path, &now, err);
	if (r == -EBADMSG)
		return qmr_error_set(err, -EUCLEAN, "'%s' is no longer a file", file->path);
	if (r < 0)
		return r;
	same = qmr_node_is_same(&now, way->to);
	known = qmr_node_is_same_content(&now, way->from) ||
		qmr_node_is_same_content(&now, way->to);
	qmr_node_done(&now);
	if (!known)
		return qmr_error_set(err, -EUCLEAN, "'%s' was changed by something else",
				     file->path);
	if (!same)
		r = replace_name(folder_fd, way, file, parent, name, temporary, err);
	/* Also where nothing was left to do: the rename before a cut may not have reached the disk.
	 */
	if (r == 0 && fsync(parent) < 0)
		r = qmr_error_errno(err, -errno, "syncing the folder of '%s'", file->path);
	return r;
}

int qmr_transaction_place(int root_fd, int folder_fd, const struct qmr_journal *journal,
			  struct qmr_error *err)
{
	for (size_t i = 0; i < journal->n_files; i++) {
		const struct qmr_journal_file *file = &journal->files[i];
		struct direction way = {"new", &file->old, &file->new};
		int r = place_one(root_fd, folder_fd, &way, journal, file, err);

		if (r < 0)
			return r;
	}
	return 0;
}

int qmr_transaction_take_back(int root_fd, int folder_fd, const struct qmr_journal *journal,
			      struct qmr_error *err)
{
	struct qmr_error why = {0};
	int failed = 0;

	for (size_t i = journal->n_files; i-- > 0;) {
		const struct qmr_journal_file *file = &journal->files[i];
		struct direction way = {"undo", &file->new, &file->old};
		int r = place_one(root_fd, folder_fd, &way, journal, file, &why);

		if (r == -EUCLEAN) {
			qmr_warning("undoing transaction %llu: %s; it stays as it is",
				    (unsigned long long)journal->id, why.text);
			continue;
		}
		if (r < 0 && !failed) { /* the others are still brought back */
			failed = r;
			if (err)
				*err = why;
		}
	}
	return failed;
}
