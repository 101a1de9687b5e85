/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_JOURNAL_H
#define QMR_JOURNAL_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "transaction-node.h"

/* journal.json of a transaction, docs/remediation.md ("Transactions"). */

#define QMR_JOURNAL_FILES_MAX 1100 /* 1,000 changes of an incident, 64 actions */
#define QMR_JOURNAL_MODULES_MAX 64
#define QMR_JOURNAL_BYTES_MAX (8u << 20)

enum qmr_journal_state { QMR_JOURNAL_PREPARED, QMR_JOURNAL_COMMITTED, QMR_JOURNAL_UNDONE };

struct qmr_journal_file {
	unsigned int n;      /* names undo/NNN and new/NNN, from 1 */
	char *path;          /* owned */
	struct qmr_node old; /* QMR_NODE_NONE: there was nothing */
	struct qmr_node new; /* QMR_NODE_NONE: there shall be nothing */
};

struct qmr_modules {
	char names[QMR_JOURNAL_MODULES_MAX][56]; /* with '_' for '-' */
	size_t n;
};

struct qmr_journal {
	uint64_t id;
	char plan[64];                  /* plan id, "local-revert" or "undo-ID" */
	char incident[64];              /* empty: none */
	uint32_t boot;                  /* of a vaccination, and of what took it back: the one it was done in; else 0 */
	int is_proven;                  /* a vaccination that another boot was healthy with */
	int state;                      /* enum qmr_journal_state */
	struct qmr_journal_file *files; /* owned */
	size_t n_files;
	struct qmr_modules block, old_block; /* the block list after and before */
};

/* Frees what the journal owns; a zeroed one is fine. */
void qmr_journal_done(struct qmr_journal *journal);

/* The caller owns the result; NULL when out of memory. */
json_t *qmr_journal_to_json(const struct qmr_journal *journal);

/*
 * Validates all of a journal: -EBADMSG with the field named. What it accepts can be acted on: paths
 * are absolute, without
 * '.' and '..', numbers and hashes in range.
 */
int qmr_journal_from_json(const json_t *json, struct qmr_journal *ret_journal,
			  struct qmr_error *err) QMR_MUST_CHECK;

/* From journal.json in folder_fd; -ENOENT if it is missing, else -EBADMSG. id is what the folder is
 * called. */
int qmr_journal_load(int folder_fd, uint64_t id, struct qmr_journal *ret_journal,
		     struct qmr_error *err) QMR_MUST_CHECK;

/* Replaces journal.json durably. */
int qmr_journal_save(int folder_fd, const struct qmr_journal *journal,
		     struct qmr_error *err) QMR_MUST_CHECK;

/* The transaction that this one takes back, which its plan says by "undo-ID"; 0: none. */
uint64_t qmr_journal_undoes(const struct qmr_journal *journal);

/* The word in journal.json, "invalid" outside the range. */
const char *qmr_journal_state_name(int state);

/* Whether path may be changed by a transaction: absolute, clean, outside /proc, /sys, /dev, /run
 * and /var/lib/qmr. */
int qmr_journal_path_is_allowed(const char *path);

/* Adds a module; one that is there is fine. '-' becomes '_'. -EINVAL: it is no module's name, or one too many. */
int qmr_modules_add(struct qmr_modules *modules, const char *name,
		    struct qmr_error *err) QMR_MUST_CHECK;

/* Takes a module out; one that is not there is fine. name has '_' for '-', here and below. */
void qmr_modules_remove(struct qmr_modules *modules, const char *name);

/* Whether a module is among them. */
int qmr_modules_has(const struct qmr_modules *modules, const char *name);
/* Whether both hold the same names, in whichever order. */
int qmr_modules_equal(const struct qmr_modules *a, const struct qmr_modules *b);

#endif
