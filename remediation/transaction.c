/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transaction.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "json.h"
#include "log.h"

static int open_and_lock(int root_fd, int lock, struct qmr_transactions *ret_transactions, struct qmr_error *err)
{
	int fd = qmr_file_open_in_root(root_fd, QMR_TRANSACTIONS, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);

	if (fd < 0)
		return fd;
	if (flock(fd, lock | LOCK_NB) < 0) {
		int r = errno == EWOULDBLOCK ? -EBUSY : -errno;

		close(fd);
		return qmr_error_errno(err, r, "locking '%s'", QMR_TRANSACTIONS);
	}
	ret_transactions->root_fd = root_fd;
	ret_transactions->fd = fd;
	return 0;
}

int qmr_transactions_open_to_read(int root_fd, struct qmr_transactions *ret_transactions, struct qmr_error *err)
{
	return open_and_lock(root_fd, LOCK_SH, ret_transactions, err);
}

int qmr_transactions_open(int root_fd, int create, struct qmr_transactions *ret_transactions,
			  struct qmr_error *err)
{
	char name[256];
	int fd, parent;

	if (create) {
		parent = qmr_file_open_parent_in_root(root_fd, QMR_TRANSACTIONS, 1, name, err);
		if (parent < 0)
			return parent;
		fd = mkdirat(parent, name, 0700) < 0 && errno != EEXIST ? -errno
		     : fsync(parent) < 0                                ? -errno
									: 0;
		close(parent);
		if (fd < 0)
			return qmr_error_errno(err, fd, "creating folder '%s'", QMR_TRANSACTIONS);
	}
	return open_and_lock(root_fd, LOCK_EX, ret_transactions, err);
}

void qmr_transactions_close(struct qmr_transactions *transactions)
{
	if (transactions->fd >= 0)
		close(transactions->fd);
	transactions->fd = -1;
}

static int open_folder(int fd, uint64_t id, struct qmr_error *err)
{
	char name[32];
	int folder;

	snprintf(name, sizeof(name), "%llu", (unsigned long long)id);
	folder = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return folder >= 0 ? folder : qmr_error_errno(err, -errno, "opening transaction %s", name);
}

/* The journal goes first and durably, so that a cut in between leaves nothing that looks like a
 * transaction. */
static int discard(int fd, uint64_t id, struct qmr_error *err)
{
	cleanup_close int folder = open_folder(fd, id, err);
	char name[32];

	if (folder < 0)
		return folder;
	if (unlinkat(folder, "journal.json", 0) < 0 && errno != ENOENT)
		return qmr_error_errno(err, -errno, "removing the journal of transaction %llu",
				       (unsigned long long)id);
	if (fsync(folder) < 0)
		return qmr_error_errno(err, -errno, "syncing transaction %llu",
				       (unsigned long long)id);
	snprintf(name, sizeof(name), "%llu", (unsigned long long)id);
	return qmr_file_remove_tree(fd, name, err);
}

static int set_state(int folder_fd, struct qmr_journal *journal, int state, struct qmr_error *err)
{
	int before = journal->state, r;

	journal->state = state;
	r = qmr_journal_save(folder_fd, journal, err);
	if (r < 0)
		journal->state = before;
	return r;
}

static int undo_prepared(int root_fd, int folder_fd, struct qmr_journal *journal,
			 struct qmr_error *err)
{
	int r = qmr_transaction_take_back(root_fd, folder_fd, journal, err);

	if (r < 0)
		return r;
	qmr_transaction_set_modules(&journal->block, &journal->old_block);
	return set_state(folder_fd, journal, QMR_JOURNAL_UNDONE, err);
}

/* Completes a prepared transaction, or takes it back; err says why it was not completed. */
static int finish(int root_fd, int folder_fd, struct qmr_journal *journal, struct qmr_error *err)
{
	struct qmr_error undo_err = {0};
	int r = qmr_transaction_place(root_fd, folder_fd, journal, err);

	if (r == 0) {
		struct qmr_error why = {0};

		qmr_transaction_set_modules(&journal->old_block, &journal->block);
		r = set_state(folder_fd, journal, QMR_JOURNAL_COMMITTED, &why);
		if (r < 0)
			qmr_error_set(
				err, r,
				"%.400s; everything is in place, 'resume' completes the journal",
				why.text);
		return r;
	}
	if (undo_prepared(root_fd, folder_fd, journal, &undo_err) < 0) {
		char why[256];

		snprintf(why, sizeof(why), "%.255s", err->text);
		return qmr_error_set(err, r,
				     "%s; taking it back failed too: %.160s; 'resume' tries again",
				     why, undo_err.text);
	}
	return r;
}

/* Reads every journal before anything is touched. -ENOENT is no error here: that folder is
 * unfinished. */
static int check_all(const struct qmr_transactions *transactions, const uint64_t *ids, int n,
		     struct qmr_error *err)
{
	for (int i = 0; i < n; i++) {
		cleanup_close int folder = open_folder(transactions->fd, ids[i], err);
		struct qmr_journal journal = {0};
		struct qmr_error why = {0};
		int r;

		if (folder < 0)
			return folder;
		r = qmr_journal_load(folder, ids[i], &journal, &why);
		qmr_journal_done(&journal);
		if (r < 0 && r != -ENOENT)
			return qmr_error_set(err, r,
					     "transaction %llu: %s; nothing was touched: move "
					     "%s/%llu away to go on",
					     (unsigned long long)ids[i], why.text, QMR_TRANSACTIONS,
					     (unsigned long long)ids[i]);
	}
	return 0;
}

static int resume_one(const struct qmr_transactions *transactions, uint64_t id,
		      unsigned int *completed, unsigned int *undone, struct qmr_error *err)
{
	cleanup_close int folder = open_folder(transactions->fd, id, err);
	struct qmr_journal journal = {0};
	int r;

	if (folder < 0)
		return folder;
	r = qmr_journal_load(folder, id, &journal, err);
	if (r == -ENOENT) {
		qmr_notice("transaction %llu was cut before it changed anything; it is deleted",
			   (unsigned long long)id);
		return discard(transactions->fd, id, err);
	}
	if (r < 0)
		return r;
	if (journal.state == QMR_JOURNAL_PREPARED) {
		struct qmr_error why = {0};

		r = finish(transactions->root_fd, folder, &journal, &why);
		if (r == 0) {
			qmr_notice("transaction %llu ('%s') is completed", (unsigned long long)id,
				   journal.plan);
			++*completed;
		} else if (journal.state == QMR_JOURNAL_UNDONE) {
			qmr_warning("completing transaction %llu ('%s'): %s; it is undone",
				    (unsigned long long)id, journal.plan, why.text);
			++*undone;
			r = 0;
		} else {
			r = qmr_error_set(err, r, "resuming transaction %llu: %s",
					  (unsigned long long)id, why.text);
		}
	}
	qmr_journal_done(&journal);
	return r;
}

int qmr_transactions_resume(const struct qmr_transactions *transactions,
			    unsigned int *ret_completed, unsigned int *ret_undone,
			    struct qmr_error *err)
{
	cleanup_free uint64_t *ids = NULL;
	unsigned int completed = 0, undone = 0;
	int n = qmr_numbered_list(transactions->fd, &ids, err), r;

	if (n < 0)
		return n;
	r = check_all(transactions, ids, n, err);
	for (int i = 0; r == 0 && i < n; i++)
		r = resume_one(transactions, ids[i], &completed, &undone, err);
	if (r == 0) {
		*ret_completed = completed;
		*ret_undone = undone;
	}
	return r;
}

static int set_lists(const struct qmr_changes *changes, struct qmr_journal *journal,
		     struct qmr_error *err)
{
	if (!changes->block.n && !changes->unblock.n)
		return 0; /* the list is left alone, and so is the boot state */
	if (qmr_transaction_get_modules(&journal->old_block) < 0)
		return 0; /* the lists stay empty: nothing of it is to be done or undone */
	journal->block = journal->old_block;
	for (size_t i = 0; i < changes->unblock.n; i++)
		qmr_modules_remove(&journal->block, changes->unblock.names[i]);
	for (size_t i = 0; i < changes->block.n; i++) {
		int r = qmr_modules_add(&journal->block, changes->block.names[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int prepare(const struct qmr_transactions *transactions, int folder_fd,
		   const struct qmr_changes *changes, const json_t *plan_json,
		   struct qmr_journal *journal, struct qmr_error *err)
{
	int r = qmr_json_save(folder_fd, "plan.json", plan_json, 0600, err);

	if (r == 0)
		r = set_lists(changes, journal, err);
	if (r == 0)
		r = qmr_transaction_prepare(transactions->root_fd, folder_fd, changes, journal,
					    err);
	if (r == 0 && fsync(transactions->fd) < 0)
		r = qmr_error_errno(err, -errno, "syncing '%s'", QMR_TRANSACTIONS);
	return r;
}

static int new_folder(const struct qmr_transactions *transactions, uint64_t *ret_id,
		      struct qmr_error *err)
{
	cleanup_free uint64_t *ids = NULL;
	int n = qmr_numbered_list(transactions->fd, &ids, err);
	uint64_t id = n > 0 ? ids[n - 1] + 1 : 1;
	char name[32];
	int folder;

	if (n < 0)
		return n;
	snprintf(name, sizeof(name), "%llu", (unsigned long long)id);
	if (mkdirat(transactions->fd, name, 0700) < 0)
		return qmr_error_errno(err, -errno, "creating transaction %s", name);
	folder = open_folder(transactions->fd, id, err);
	if (folder >= 0)
		*ret_id = id;
	return folder;
}

static int has_no_effect(const struct qmr_journal *journal)
{
	return journal->n_files == 0 && qmr_modules_equal(&journal->block, &journal->old_block);
}

static int write_first(const struct qmr_transactions *transactions, int folder_fd, const struct qmr_changes *changes, const json_t *plan_json,
		       int wants_change, struct qmr_journal *journal, struct qmr_error *err)
{
	int r = prepare(transactions, folder_fd, changes, plan_json, journal, err);

	if (r == 0 && wants_change && has_no_effect(journal))
		return qmr_error_set(err, -EALREADY, "there is nothing to change");
	if (r == 0)
		r = qmr_journal_save(folder_fd, journal, err);
	return r == -ENOENT || r == -EINVAL ? -EIO : r;
}

int qmr_transaction_run(const struct qmr_transactions *transactions, const struct qmr_changes *changes,
			const struct qmr_transaction_cause *cause, const json_t *plan_json, struct qmr_journal *ret_journal,
			struct qmr_error *err)
{
	struct qmr_journal journal = {.state = QMR_JOURNAL_PREPARED, .boot = cause->boot};
	cleanup_close int folder = new_folder(transactions, &journal.id, err);
	int r;

	if (folder < 0)
		return folder;
	snprintf(journal.plan, sizeof(journal.plan), "%s", cause->plan);
	snprintf(journal.incident, sizeof(journal.incident), "%s", cause->incident ? cause->incident : "");
	r = write_first(transactions, folder, changes, plan_json, cause->wants_change, &journal, err);
	if (r < 0) {
		struct qmr_error why = {0};

		if (discard(transactions->fd, journal.id, &why) < 0)
			qmr_warning("cleaning up: %s; the next run does it", why.text);
		qmr_journal_done(&journal);
		return r;
	}
	r = finish(transactions->root_fd, folder, &journal, err);
	if (r < 0 && journal.state == QMR_JOURNAL_UNDONE) {
		struct qmr_error why = {0};

		/* All is as it was. Tried again and again, what is left of it would fill the disk. */
		if (discard(transactions->fd, journal.id, &why) < 0)
			qmr_warning("cleaning up: %s", why.text);
	}
	if (r < 0)
		r = -EIO; /* beyond preparing there is no "refused" and no "nothing to do" */
	if (r == 0)
		*ret_journal = journal;
	else
		qmr_journal_done(&journal);
	return r;
}

static int was_taken_back(const uint64_t *undone, size_t n, uint64_t id)
{
	for (size_t i = 0; i < n; i++)
		if (undone[i] == id)
			return 1;
	return 0;
}

int qmr_transactions_each(const struct qmr_transactions *transactions, qmr_transaction_visit *visit, void *user, struct qmr_error *err)
{
	cleanup_free uint64_t *ids = NULL;
	int n = qmr_numbered_list(transactions->fd, &ids, err), r = n < 0 ? n : 0;
	cleanup_free uint64_t *undone = calloc(n > 0 ? (size_t)n : 1, sizeof(*undone)); /* what newer ones took back */
	size_t n_undone = 0;

	if (!undone)
		return qmr_error_set(err, -ENOMEM, "looking at transactions: out of memory");
	for (int i = n - 1; i >= 0 && r == 0; i--) {
		cleanup_close int folder = open_folder(transactions->fd, ids[i], err);
		QMR_CLEANUP(qmr_journal_done) struct qmr_journal journal = {0};
		int is_undone = was_taken_back(undone, n_undone, ids[i]);
		uint64_t id;

		r = folder < 0 ? folder : qmr_journal_load(folder, ids[i], &journal, err);
		if (r == -ENOENT) /* cut before it changed anything */
			r = 0;
		if (r < 0 || journal.state != QMR_JOURNAL_COMMITTED)
			continue;
		id = qmr_journal_undoes(&journal);
		if (!is_undone && id)
			undone[n_undone++] = id;
		r = visit(&journal, is_undone, user, err);
	}
	return r;
}

int qmr_transaction_prove(const struct qmr_transactions *transactions, uint64_t id, struct qmr_error *err)
{
	cleanup_close int folder = open_folder(transactions->fd, id, err);
	QMR_CLEANUP(qmr_journal_done) struct qmr_journal journal = {0};
	int r = folder < 0 ? folder : qmr_journal_load(folder, id, &journal, err);

	if (r < 0)
		return r;
	journal.is_proven = 1;
	return qmr_journal_save(folder, &journal, err);
}

struct wanted {
	const char *plan, *incident;
	uint64_t id; /* of what was found */
};

static int is_wanted(const struct qmr_journal *journal, int is_undone, void *user, struct qmr_error *err)
{
	struct wanted *wanted = user;

	if (is_undone || strcmp(journal->plan, wanted->plan) || (wanted->incident && strcmp(journal->incident, wanted->incident)))
		return 0;
	wanted->id = journal->id;
	return 1;
}

int qmr_transaction_find(const struct qmr_transactions *transactions, const char *plan, const char *incident,
			 struct qmr_journal *ret_journal, struct qmr_error *err)
{
	struct wanted wanted = {plan, incident, 0};
	int r = qmr_transactions_each(transactions, is_wanted, &wanted, err);
	cleanup_close int folder = r > 0 ? open_folder(transactions->fd, wanted.id, err) : -1;

	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return folder < 0 ? folder : qmr_journal_load(folder, wanted.id, ret_journal, err);
}
