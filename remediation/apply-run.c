/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "apply.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "json.h"
#include "log.h"

#define INCIDENT_BYTES_MAX (16u << 20)
#define REPORT_BYTES_MAX (4u << 20)

int qmr_apply_load_incident(const char *path, json_t **ret_incident, struct qmr_error *err)
{
	int r = qmr_json_load(AT_FDCWD, path, INCIDENT_BYTES_MAX, ret_incident, err);
	const json_t *schema;

	if (r < 0)
		return r == -ENOENT ? -EIO : r;
	schema = json_object_get(*ret_incident, "schema");
	if (json_integer_value(schema) == 1)
		return 0;
	json_decref(*ret_incident);
	*ret_incident = NULL;
	return qmr_error_set(err, -EBADMSG, "'%s': schema: not 1", path);
}

int qmr_apply_load_report(const char *path, json_t **ret_report, struct qmr_error *err)
{
	int r = path ? qmr_json_load(AT_FDCWD, path, REPORT_BYTES_MAX, ret_report, err) : 0;

	return r == -ENOENT ? -EIO : r;
}

int64_t qmr_apply_time(const json_t *report)
{
	const json_t *unix_s = json_object_get(json_object_get(report, "time"), "unix_s");

	return json_is_integer(unix_s) ? json_integer_value(unix_s) : time(NULL);
}

int qmr_apply_number(const char *text, const char *what, uint64_t *ret_number, struct qmr_error *err)
{
	uint64_t number = strtoull(text, NULL, 10);

	if (!number || strspn(text, "0123456789") != strlen(text) || number > INT64_MAX)
		return qmr_error_set(err, -EINVAL, "'%s' is not the number of a %s", text, what);
	*ret_number = number;
	return 0;
}

int qmr_apply_open(int root_fd, int create, struct qmr_transactions *ret_transactions, struct qmr_error *err)
{
	unsigned int completed, undone;
	int r = qmr_transactions_open(root_fd, create, ret_transactions, err);

	if (r < 0)
		return r;
	r = qmr_transactions_resume(ret_transactions, &completed, &undone, err);
	if (r < 0)
		qmr_transactions_close(ret_transactions);
	return r < 0 ? -EIO : 0;
}

int qmr_apply_add_changed(const struct qmr_journal *journal, json_t *list, struct qmr_error *err)
{
	for (size_t i = 0; i < journal->n_files; i++)
		if (json_array_append_new(list, json_string(journal->files[i].path)) < 0)
			return qmr_error_set(err, -ENOMEM, "out of memory");
	return 0;
}

int qmr_apply_print(uint64_t id, const char *plan, json_t *changed, const char *then, struct qmr_error *err)
{
	cleanup_json json_t *line = json_pack("{s:I, s:s, s:O, s:s*}", "transaction", (json_int_t)id, "plan", plan, "changed", changed, "then", then);
	cleanup_free char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;

	if (!text || puts(text) < 0 || fflush(stdout) < 0)
		return qmr_error_set(err, -EIO, "transaction %llu is done, but its result could not be printed", (unsigned long long)id);
	return 0;
}

static int print_journal(const struct qmr_journal *journal, const char *then, struct qmr_error *err)
{
	cleanup_json json_t *changed = json_array();
	int r = qmr_apply_add_changed(journal, changed, err);

	return r < 0 ? r : qmr_apply_print(journal->id, journal->plan, changed, then, err);
}

int qmr_apply_print_repeated(const struct qmr_transactions *transactions, const char *plan, const char *incident, const char *then,
			     struct qmr_error *err)
{
	struct qmr_journal journal = {0};
	int r = incident ? qmr_transaction_find(transactions, plan, incident, &journal, err) : -ENOENT;

	if (r < 0)
		return r;
	qmr_notice("'%s' was applied in this incident before, by transaction %llu; nothing is left to do", plan,
		   (unsigned long long)journal.id);
	r = print_journal(&journal, then, err);
	qmr_journal_done(&journal);
	return r;
}

int qmr_apply_run(const struct qmr_transactions *transactions, const struct qmr_changes *changes, const struct qmr_transaction_cause *cause,
		  const json_t *plan_json, const char *then, struct qmr_error *err)
{
	struct qmr_journal journal = {0};
	int r = qmr_transaction_run(transactions, changes, cause, plan_json, &journal, err);

	if (r == 0)
		r = print_journal(&journal, then, err);
	qmr_journal_done(&journal);
	return r;
}
