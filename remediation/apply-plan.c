/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "apply.h"
#include "cleanup.h"
#include "engine.h"
#include "file.h"
#include "json.h"
#include "plan-match.h"
#include "protect.h"

int qmr_apply_load_plan(int dirfd, const char *path, struct qmr_plan *ret_plan, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	size_t size;
	int r = qmr_file_read(dirfd, path, QMR_PLAN_BYTES_MAX, &data, &size, err);

	if (r == -EFBIG)
		return -EBADMSG;
	if (r == 0)
		r = qmr_plan_parse(path, data, size, ret_plan, err);
	return r == -EINVAL ? -EBADMSG : r;
}

int qmr_apply_check_required(const struct qmr_transactions *transactions, const struct qmr_plan *plan, struct qmr_error *err)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (plan->requires, i, entry) {
		struct qmr_journal journal = {0};
		int r = qmr_transaction_find(transactions, json_string_value(entry), NULL, &journal, err);

		qmr_journal_done(&journal);
		if (r == -ENOENT)
			return qmr_error_set(err, -ENOENT, "plan '%s' requires '%s', which is not applied", plan->id,
					     json_string_value(entry));
		if (r < 0)
			return r;
	}
	return 0;
}

int qmr_apply_check_applicable(int root_fd, const struct qmr_config *policy, const struct qmr_plan *plan, const json_t *incident,
			       int64_t now_unix_s, struct qmr_error *err)
{
	const struct qmr_match_subject subject = {incident, policy, root_fd};
	enum qmr_match match;

	if (plan->is_hold)
		return qmr_error_set(err, -ENOENT, "plan '%s' is a hold, which does nothing", plan->id);
	if (plan->is_withdrawn)
		return qmr_error_set(err, -ENOENT, "plan '%s' was withdrawn", plan->id);
	if (!qmr_plan_is_old_enough(plan, policy, now_unix_s))
		return qmr_error_set(err, -ENOENT, "plan '%s' was not published so long ago as [fleet] minimum_age asks for",
				     plan->id);
	if (!incident)
		return 0;
	match = qmr_plan_match(plan, &subject);
	if (match == QMR_MATCH_UNKNOWN)
		return qmr_error_set(err, -ENOENT, "plan '%s': what its selectors ask for cannot be determined", plan->id);
	return match == QMR_MATCH_YES ? 0 : qmr_error_set(err, -ENOENT, "plan '%s' does not match the incident", plan->id);
}

/* Recovery, which takes a vaccination back, mounts the root alone. */
static int check_same_file_system(int root_fd, const struct qmr_changes *changes, struct qmr_error *err)
{
	struct stat root, st;

	if (fstat(root_fd, &root) < 0)
		return qmr_error_errno(err, -errno, "examining the root");
	for (size_t i = 0; i < changes->n; i++) {
		const char *path = changes->list[i].path;
		char name[256];
		cleanup_close int parent = qmr_file_open_parent_in_root(root_fd, path, 0, name, NULL);

		if (parent < 0 || fstat(parent, &st) < 0) /* what hinders a change is said by who makes it */
			continue;
		if (st.st_dev != root.st_dev)
			return qmr_error_set(err, -EBADMSG, "'%s' lies on another file system than the root: recovery could not take it back", path);
	}
	return 0;
}

int qmr_apply_actions(const struct qmr_transactions *transactions, const struct qmr_config *policy, const struct qmr_plan *plan,
		      const struct qmr_transaction_cause *cause, const char *then, struct qmr_error *err)
{
	const struct qmr_engine_context context = {transactions->root_fd, plan->id};
	struct qmr_changes changes = {0};
	int r = qmr_engines_plan(&context, plan, &changes, err);

	if (r == 0)
		r = qmr_protect_check(transactions->root_fd, policy, plan, &changes, err);
	if (r == 0 && cause->boot)
		r = check_same_file_system(transactions->root_fd, &changes, err);
	if (r == 0)
		r = qmr_apply_run(transactions, &changes, cause, plan->json, then, err);
	if (r == -EALREADY)
		(void)qmr_error_set(err, r, "plan '%s': all that it asks for is so already", plan->id);
	qmr_changes_done(&changes);
	return r;
}

static int apply(int root_fd, const struct qmr_apply_arguments *arguments, const struct qmr_plan *plan, const json_t *incident,
		 struct qmr_error *err)
{
	const struct qmr_transaction_cause cause = {.plan = plan->id, .incident = qmr_json_string(incident, "id"), .wants_change = incident != NULL};
	const char *then = plan->then == QMR_THEN_REBOOT ? NULL : qmr_then_name(plan->then);
	struct qmr_transactions transactions;
	int r = qmr_apply_open(root_fd, 1, &transactions, err);

	if (r < 0)
		return r;
	r = qmr_apply_print_repeated(&transactions, plan->id, cause.incident, then, err);
	if (r == -ENOENT) {
		r = qmr_apply_check_required(&transactions, plan, err);
		if (r == 0)
			r = qmr_apply_actions(&transactions, arguments->policy, plan, &cause, then, err);
		if (r == -EALREADY)
			r = -EBADMSG; /* it matched, and cannot help */
	}
	qmr_transactions_close(&transactions);
	return r;
}

int qmr_apply_plan(int root_fd, const struct qmr_apply_arguments *arguments, struct qmr_error *err)
{
	QMR_CLEANUP(qmr_plan_done) struct qmr_plan plan = {0};
	cleanup_json json_t *incident = NULL;
	cleanup_json json_t *report = NULL;
	int r = qmr_apply_load_plan(AT_FDCWD, arguments->plan, &plan, err);

	if (r == -ENOENT)
		r = -EIO; /* a missing input is a failure, not "nothing to do" */
	if (r == 0 && arguments->incident)
		r = qmr_apply_load_incident(arguments->incident, &incident, err);
	if (r == 0)
		r = qmr_apply_load_report(arguments->report, &report, err);
	if (r == 0)
		r = qmr_apply_check_applicable(root_fd, arguments->policy, &plan, incident, qmr_apply_time(report), err);
	return r < 0 ? r : apply(root_fd, arguments, &plan, incident, err);
}
