/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_TRANSACTION_H
#define QMR_TRANSACTION_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "journal.h"
#include "transaction-node.h"

/*
 * Changes to the root that are made completely or not at all, docs/remediation.md ("Transactions").
 * -EBADMSG from these functions means "refused, and nothing was changed".
 */

#define QMR_TRANSACTIONS "/var/lib/qmr/transactions"

/* What one path shall become. */
struct qmr_change {
	char *path;           /* owned */
	struct qmr_node node; /* QMR_NODE_NONE: removed; of a file, sha256 empty if data gives the
				 content */
	char *source; /* owned; path inside the root of the content, verified against node.sha256 */
	char *data;   /* owned; the content where source is NULL */
};

struct qmr_changes {
	struct qmr_change *list; /* owned */
	size_t n, room;
	struct qmr_modules block,
		unblock; /* additions to and removals from the boot state's block list */
};

/* Frees the changes and zeroes them; zeroed ones are fine. */
void qmr_changes_done(struct qmr_changes *changes);

/*
 * Adds a change, or replaces the one of the same path. Takes over nothing: node is copied, source
 * and data (each NULL allowed, data a string) too. -EBADMSG if path may not be changed.
 */
int qmr_changes_add(struct qmr_changes *changes, const char *path, const struct qmr_node *node,
		    const char *source, const char *data, struct qmr_error *err) QMR_MUST_CHECK;

/* The open transactions folder of a root, locked against other runs. */
struct qmr_transactions {
	int root_fd; /* borrowed */
	int fd;      /* owned */
};

/*
 * Opens (with create: makes) and locks the folder; -ENOENT without one, -EBUSY if another program
 * holds the lock. Release with _close.
 */
int qmr_transactions_open(int root_fd, int create, struct qmr_transactions *ret_transactions,
			  struct qmr_error *err) QMR_MUST_CHECK;

/* The same for who changes nothing: any number of these at a time. */
int qmr_transactions_open_to_read(int root_fd, struct qmr_transactions *ret_transactions,
				  struct qmr_error *err) QMR_MUST_CHECK;

/* Closes the folder, which unlocks it; a closed one is fine. */
void qmr_transactions_close(struct qmr_transactions *transactions);

/*
 * Brings the folder in order: first reads every journal (-EBADMSG if one is damaged: nothing is
 * touched), then deletes folders without one and completes or undoes what is prepared. Counts go to
 * *ret_completed and *ret_undone.
 */
int qmr_transactions_resume(const struct qmr_transactions *transactions,
			    unsigned int *ret_completed, unsigned int *ret_undone,
			    struct qmr_error *err) QMR_MUST_CHECK;

/* Why a transaction is made, and by what it is found again. */
struct qmr_transaction_cause {
	const char *plan;     /* id of the plan, "local-revert" or "undo-ID" */
	const char *incident; /* NULL: there is none */
	uint32_t boot;        /* of a vaccination, and of what takes it back: the one it was done in; else 0 */
	int wants_change;     /* nothing is done, not even recorded, where all is so already */
};

/*
 * Makes the changes. plan_json is kept as plan.json. On success *ret_journal is that of the
 * committed transaction (files that already were as wanted are left out). On failure everything is
 * as it was, or, as the message then says, `resume` completes or undoes it. -EALREADY: see wants_change.
 */
int qmr_transaction_run(const struct qmr_transactions *transactions, const struct qmr_changes *changes,
			const struct qmr_transaction_cause *cause, const json_t *plan_json, struct qmr_journal *ret_journal,
			struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Shows a visitor every committed transaction, newest first, with whether a newer one undid it. Its answer other than 0 ends that and is returned.
 */
typedef int qmr_transaction_visit(const struct qmr_journal *journal, int is_undone, void *user, struct qmr_error *err);
int qmr_transactions_each(const struct qmr_transactions *transactions, qmr_transaction_visit *visit, void *user,
			  struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Finds the newest committed transaction of a plan for an incident (NULL: for any) that was not undone: a power cut after the commit must not make the
 * next run do something else. -ENOENT if there is none. The caller frees *ret_journal with qmr_journal_done().
 */
int qmr_transaction_find(const struct qmr_transactions *transactions, const char *plan, const char *incident,
			 struct qmr_journal *ret_journal, struct qmr_error *err) QMR_MUST_CHECK;

/* Notes durably that a later boot was healthy with a vaccination. */
int qmr_transaction_prove(const struct qmr_transactions *transactions, uint64_t id, struct qmr_error *err) QMR_MUST_CHECK;

/* The changes that bring back what was before transaction id; -ENOENT, or -EBADMSG unless it is
 * committed. keeps_changed: but for files that are no longer what it made of them. */
int qmr_transaction_inverse(const struct qmr_transactions *transactions, uint64_t id,
			    int keeps_changed, struct qmr_changes *ret_changes, char ret_incident[64],
			    struct qmr_error *err) QMR_MUST_CHECK;

/* transaction-place.c: puts what a prepared transaction holds in place, and stops at the first that fails. May be repeated. */
int qmr_transaction_place(int root_fd, int folder_fd, const struct qmr_journal *journal,
			  struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Brings back what was before a prepared transaction, the last first. One that fails does not keep the others; the first error is returned. What
 * is neither old nor new stays as it is, with a warning. May be repeated.
 */
int qmr_transaction_take_back(int root_fd, int folder_fd, const struct qmr_journal *journal,
			      struct qmr_error *err) QMR_MUST_CHECK;

/* Brings the boot state's block list from old_block to block; a machine without EFI variables is
 * warned about only. */
void qmr_transaction_set_modules(const struct qmr_modules *from, const struct qmr_modules *to);

/* The boot state's block list; -errno, and a warning, where there is no state that could be read. */
int qmr_transaction_get_modules(struct qmr_modules *ret_modules) QMR_MUST_CHECK;

/* Writes undo/NNN and new/NNN of every change into the folder and fills files of the journal,
 * transaction-prepare.c. */
int qmr_transaction_prepare(int root_fd, int folder_fd, const struct qmr_changes *changes,
			    struct qmr_journal *journal, struct qmr_error *err) QMR_MUST_CHECK;

/* Name of undo/NNN and new/NNN. */
void qmr_transaction_name(unsigned int n, char ret_name[16]);

/* Folders called by a number in an open folder, ascending; returns how many. The caller frees
 * *ret_ids. */
int qmr_numbered_list(int fd, uint64_t **ret_ids, struct qmr_error *err) QMR_MUST_CHECK;

#endif
