/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "transaction.h"

static void change_done(struct qmr_change *change)
{
	free(change->path);
	free(change->source);
	free(change->data);
	qmr_node_done(&change->node);
}

void qmr_changes_done(struct qmr_changes *changes)
{
	for (size_t i = 0; i < changes->n; i++)
		change_done(&changes->list[i]);
	free(changes->list);
	memset(changes, 0, sizeof(*changes));
}

static int make_change(const char *path, const struct qmr_node *node, const char *source,
		       const char *data, struct qmr_change *ret_change, struct qmr_error *err)
{
	struct qmr_change change = {0};
	int r = qmr_node_copy(node, &change.node, err);

	if (r < 0)
		return r;
	change.path = strdup(path);
	change.source = source ? strdup(source) : NULL;
	change.data = data ? strdup(data) : NULL;
	if (!change.path || (source && !change.source) || (data && !change.data)) {
		change_done(&change);
		return qmr_error_set(err, -ENOMEM, "planning the change of '%s': out of memory",
				     path);
	}
	*ret_change = change;
	return 0;
}

/* Room for one more. */
static int make_room(struct qmr_changes *changes, struct qmr_error *err)
{
	size_t room = changes->room ? changes->room * 2 : 16;
	struct qmr_change *grown;

	if (changes->n == QMR_JOURNAL_FILES_MAX)
		return qmr_error_set(err, -EBADMSG, "more than %d files to change",
				     QMR_JOURNAL_FILES_MAX);
	if (changes->n < changes->room)
		return 0;
	grown = reallocarray(changes->list, room, sizeof(*grown));
	if (!grown)
		return qmr_error_set(err, -ENOMEM, "planning the changes: out of memory");
	changes->list = grown;
	changes->room = room;
	return 0;
}

int qmr_changes_add(struct qmr_changes *changes, const char *path, const struct qmr_node *node,
		    const char *source, const char *data, struct qmr_error *err)
{
	struct qmr_change change;
	int r;

	if (!qmr_journal_path_is_allowed(path))
		return qmr_error_set(err, -EBADMSG, "'%s' is not a path that may be changed", path);
	r = make_room(changes, err);
	if (r == 0)
		r = make_change(path, node, source, data, &change, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < changes->n; i++) {
		if (strcmp(changes->list[i].path, path))
			continue;
		change_done(&changes->list[i]);
		changes->list[i] = change;
		return 0;
	}
	changes->list[changes->n++] = change;
	return 0;
}

static int compare_ids(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int qmr_numbered_list(int fd, uint64_t **ret_ids, struct qmr_error *err)
{
	cleanup_free uint64_t *ids = NULL;
	cleanup_closedir DIR *dir = qmr_file_open_dir(fd, ".");
	struct dirent *entry;
	size_t n = 0, room = 0;

	if (!dir)
		return qmr_error_errno(err, -errno, "reading the folder");
	while ((errno = 0, entry = readdir(dir))) {
		const char *name = entry->d_name;
		size_t length = strlen(name);

		if (length == 0 || length > 18 || name[0] == '0' ||
		    strspn(name, "0123456789") != length)
			continue;
		if (n == room) {
			uint64_t *grown = reallocarray(ids, room += 64, sizeof(*grown));

			if (!grown)
				return qmr_error_set(err, -ENOMEM,
						     "reading the folder: out of memory");
			ids = grown;
		}
		ids[n++] = strtoull(name, NULL, 10);
	}
	if (errno)
		return qmr_error_errno(err, -errno, "reading the folder");
	if (n)
		qsort(ids, n, sizeof(*ids), compare_ids);
	*ret_ids = ids;
	ids = NULL;
	return (int)n;
}

static int add_old(struct qmr_changes *changes, uint64_t id, const struct qmr_journal_file *file,
		   struct qmr_error *err)
{
	char source[128], number[16];

	qmr_transaction_name(file->n, number);
	snprintf(source, sizeof(source), QMR_TRANSACTIONS "/%llu/undo/%s", (unsigned long long)id,
		 number);
	return qmr_changes_add(changes, file->path, &file->old,
			       file->old.type == QMR_NODE_FILE ? source : NULL, NULL, err);
}

/* 1 if the path holds what the transaction put there, 0 if something else, or if that cannot be told. */
static int is_as_left(int root_fd, const struct qmr_journal_file *file)
{
	struct qmr_node now = {0};
	int is_same = qmr_node_read(root_fd, file->path, &now, NULL) == 0 && qmr_node_is_same_content(&now, &file->new);

	qmr_node_done(&now);
	return is_same;
}

static int add_inverse(int root_fd, struct qmr_changes *changes, const struct qmr_journal *journal, int keeps_changed,
		       struct qmr_error *err)
{
	for (size_t i = journal->n_files; i-- > 0;) {
		int r;

		if (keeps_changed && !is_as_left(root_fd, &journal->files[i])) {
			qmr_warning("undoing transaction %llu: '%s' was changed since; it stays as it is",
				    (unsigned long long)journal->id, journal->files[i].path);
			continue;
		}
		r = add_old(changes, journal->id, &journal->files[i], err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < journal->block.n; i++)
		if (!qmr_modules_has(&journal->old_block, journal->block.names[i]) &&
		    qmr_modules_add(&changes->unblock, journal->block.names[i], err) < 0)
			return err ? err->code : -EINVAL;
	for (size_t i = 0; i < journal->old_block.n; i++)
		if (!qmr_modules_has(&journal->block, journal->old_block.names[i]) &&
		    qmr_modules_add(&changes->block, journal->old_block.names[i], err) < 0)
			return err ? err->code : -EINVAL;
	return 0;
}

int qmr_transaction_inverse(const struct qmr_transactions *transactions, uint64_t id,
			    int keeps_changed, struct qmr_changes *ret_changes, char ret_incident[64],
			    struct qmr_error *err)
{
	struct qmr_changes changes = {0};
	struct qmr_journal journal = {0};
	cleanup_close int folder = -1;
	char name[32];
	int r;

	snprintf(name, sizeof(name), "%llu", (unsigned long long)id);
	folder = openat(transactions->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (folder < 0)
		return qmr_error_errno(err, -errno, "opening transaction %s", name);
	r = qmr_journal_load(folder, id, &journal, err);
	if (r < 0)
		return r;
	if (journal.state != QMR_JOURNAL_COMMITTED)
		r = qmr_error_set(err, -EBADMSG, "transaction %s is '%s', there is nothing to undo",
				  name, qmr_journal_state_name(journal.state));
	else
		r = add_inverse(transactions->root_fd, &changes, &journal, keeps_changed, err);
	if (r < 0) {
		qmr_changes_done(&changes);
	} else {
		*ret_changes = changes;
		memcpy(ret_incident, journal.incident, 64);
	}
	qmr_journal_done(&journal);
	return r;
}
