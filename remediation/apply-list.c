/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "apply.h"
#include "cleanup.h"
#include "json.h"

/* What was done to this system, newest first: docs/remediation.md, "Transactions". */

static const char *word_for(const struct qmr_journal_file *file)
{
	return file->old.type == QMR_NODE_NONE ? "added" : file->new.type == QMR_NODE_NONE ? "removed" : "replaced";
}

static int add_files(const struct qmr_journal *journal, json_t *list)
{
	for (size_t i = 0; i < journal->n_files; i++)
		if (json_array_append_new(list, json_pack("{s:s, s:s}", "path", journal->files[i].path, "was", word_for(&journal->files[i]))) < 0)
			return -ENOMEM;
	return 0;
}

static json_t *number_or_nothing(uint64_t number)
{
	return number ? json_integer((json_int_t)number) : NULL;
}

static int add(const struct qmr_journal *journal, int is_undone, void *user, struct qmr_error *err)
{
	cleanup_json json_t *files = json_array();
	json_t *list = user;

	if (add_files(journal, files) < 0 ||
	    json_array_append_new(list, json_pack("{s:I, s:s, s:s*, s:o*, s:o*, s:o*, s:b, s:O}", "id", (json_int_t)journal->id, "plan", journal->plan,
						  "incident", journal->incident[0] ? journal->incident : NULL, "boot",
						  number_or_nothing(journal->boot), "proven", journal->is_proven ? json_true() : NULL, "undoes",
						  number_or_nothing(qmr_journal_undoes(journal)), "undone", is_undone, "files", files)) < 0)
		return qmr_error_set(err, -ENOMEM, "transaction %llu: out of memory", (unsigned long long)journal->id);
	return 0;
}

int qmr_apply_list(int root_fd, const struct qmr_apply_arguments *arguments, struct qmr_error *err)
{
	cleanup_json json_t *list = json_array();
	cleanup_json json_t *all = json_pack("{s:i, s:O}", "schema", 1, "transactions", list);
	struct qmr_transactions transactions;
	int r = qmr_transactions_open_to_read(root_fd, &transactions, err);

	if (r < 0 && r != -ENOENT) /* nothing was ever applied */
		return r;
	if (r == 0) {
		r = qmr_transactions_each(&transactions, add, list, err);
		qmr_transactions_close(&transactions);
		if (r < 0)
			return -EIO;
	}
	if (!all || json_dumpf(all, stdout, JSON_COMPACT) < 0 || putchar('\n') == EOF || fflush(stdout) == EOF)
		return qmr_error_set(err, -EIO, "writing JSON to standard output failed");
	return 0;
}
