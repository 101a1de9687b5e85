/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "apply.h"
#include "cleanup.h"
#include "json.h"
#include "log.h"

/* Plans on a healthy machine, docs/remediation.md ("Vaccination"). */

#define PLANS_MAX 99 /* that remediation-fetch passes on */

/* One run over a folder of plans. */
struct vaccination {
	int root_fd;
	const struct qmr_config *policy;
	const json_t *facts;
	int64_t now_unix_s;
	uint32_t boot;
	struct qmr_transactions transactions;
	json_t *superseded; /* ids, owned */
	int n_applied, worst; /* worst: negative errno of a plan that could not be applied */
};

static int is_plan_file(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] >= '0' && entry->d_name[0] <= '9' && length > 5 && !strcmp(entry->d_name + length - 5, ".json");
}

static int is_of_plan(const struct qmr_journal *journal, int is_undone, void *user, struct qmr_error *err)
{
	return !strcmp(journal->plan, user);
}

/* -ENOENT if it ever was, by recovery or so: who undid it since wanted that. */
static int check_first_time(const struct vaccination *v, const struct qmr_plan *plan, struct qmr_error *err)
{
	int r = qmr_transactions_each(&v->transactions, is_of_plan, (void *)plan->id, err);

	return r > 0 ? qmr_error_set(err, -ENOENT, "plan '%s' was applied on this machine before", plan->id) : r;
}

/* What a healthy machine does of a plan: nothing is brought back that is older. */
static int keep_actions(struct qmr_plan *plan, struct qmr_error *err)
{
	size_t n = 0;

	for (size_t i = 0; i < plan->n_actions; i++)
		if (plan->actions[i].type != QMR_ACTION_RESTORE_FILE)
			plan->actions[n++] = plan->actions[i];
	if (n < plan->n_actions)
		qmr_info("plan '%s': a healthy machine does %zu of its %zu actions", plan->id, n, plan->n_actions);
	plan->n_actions = n;
	return n ? 0 : qmr_error_set(err, -ENOENT, "plan '%s' has no action for a healthy machine", plan->id);
}

static int vaccinate(struct vaccination *v, struct qmr_plan *plan, struct qmr_error *err)
{
	const struct qmr_transaction_cause cause = {.plan = plan->id, .boot = v->boot, .wants_change = 1};
	int superseded = qmr_json_list_has(v->superseded, plan->id);
	int r = superseded ? 0 : qmr_apply_check_applicable(v->root_fd, v->policy, plan, v->facts, v->now_unix_s, err);

	if (r < 0)
		return r;
	/* It matches, or another one stands for it: those it supersedes are not for this machine, whatever becomes of it. */
	if (plan->supersedes && json_array_extend(v->superseded, (json_t *)plan->supersedes) < 0)
		return qmr_error_set(err, -ENOMEM, "plan '%s': out of memory", plan->id);
	if (superseded)
		return qmr_error_set(err, -ENOENT, "plan '%s' is superseded", plan->id);
	r = check_first_time(v, plan, err);
	if (r == 0)
		r = qmr_apply_check_required(&v->transactions, plan, err);
	if (r == 0)
		r = keep_actions(plan, err);
	if (r == 0)
		r = qmr_apply_actions(&v->transactions, v->policy, plan, &cause, NULL, err);
	return r == -EALREADY ? -ENOENT : r;
}

static void take(struct vaccination *v, int plans_fd, const char *name)
{
	QMR_CLEANUP(qmr_plan_done) struct qmr_plan plan = {0};
	struct qmr_error why = {0};
	int r = qmr_apply_load_plan(plans_fd, name, &plan, &why);

	if (r == 0)
		r = vaccinate(v, &plan, &why);
	if (r == 0) {
		v->n_applied++;
		qmr_notice("plan '%s' was applied to this healthy machine", plan.id);
	} else if (r == -ENOENT) {
		qmr_info("%s", why.text);
	} else {
		qmr_warning("%s; it is not applied", why.text);
		v->worst = r;
	}
}

/* Those that this run has something to do with. */
struct older {
	const json_t *withdrawn_ids;
	uint32_t boot; /* this one */
	struct qmr_vaccinations withdrawn, proven; /* owned */
};

static int sort(const struct qmr_journal *journal, int is_undone, void *user, struct qmr_error *err)
{
	struct older *older = user;

	if (!qmr_apply_is_vaccination(journal, is_undone))
		return 0;
	if (qmr_json_list_has(older->withdrawn_ids, journal->plan))
		return qmr_apply_vaccinations_add(&older->withdrawn, journal, err);
	return journal->is_proven || journal->boot == older->boot ? 0 : qmr_apply_vaccinations_add(&older->proven, journal, err);
}

static int take_back(struct vaccination *v, const struct qmr_vaccination *one, struct qmr_error *err)
{
	QMR_CLEANUP(qmr_journal_done) struct qmr_journal journal = {0};
	cleanup_json json_t *changed = json_array();
	int r = qmr_apply_undo_one(&v->transactions, one->id, NULL, one->boot, &journal, err);

	if (r == 0)
		r = qmr_apply_add_changed(&journal, changed, err);
	if (r == 0)
		r = qmr_apply_print(journal.id, journal.plan, changed, NULL, err);
	if (r < 0)
		return r;
	qmr_notice("its owner withdrew a plan: the vaccination of transaction %" PRIu64 " is undone", one->id);
	v->n_applied++;
	return 0;
}

/* This boot is a healthy one. What fails here stops nothing else, and is tried again by the next run. */
static int look_back(struct vaccination *v, const json_t *withdrawn_ids, struct qmr_error *err)
{
	struct older older = {.withdrawn_ids = withdrawn_ids, .boot = v->boot};
	int r = qmr_transactions_each(&v->transactions, sort, &older, err);
	struct qmr_error why = {0};

	for (size_t i = 0; r == 0 && i < older.withdrawn.n; i++)
		if (take_back(v, &older.withdrawn.items[i], &why) < 0) {
			qmr_warning("%s; the vaccination of transaction %" PRIu64 " stays", why.text, older.withdrawn.items[i].id);
			v->worst = why.code;
		}
	for (size_t i = 0; r == 0 && i < older.proven.n; i++)
		if (qmr_transaction_prove(&v->transactions, older.proven.items[i].id, &why) < 0)
			qmr_warning("%s; it is not noted that the vaccination is proven", why.text);
	qmr_apply_vaccinations_done(&older.withdrawn);
	qmr_apply_vaccinations_done(&older.proven);
	return r;
}

static int take_all(struct vaccination *v, const char *folder, struct qmr_error *err)
{
	cleanup_close int plans_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent **names = NULL;
	int n = plans_fd < 0 ? -1 : scandirat(plans_fd, ".", &names, is_plan_file, alphasort);

	if (n < 0)
		return qmr_error_errno(err, -errno == -ENOENT ? -EIO : -errno, "reading folder '%s'", folder);
	for (int i = 0; i < n; i++) {
		if (i < PLANS_MAX)
			take(v, plans_fd, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	if (v->n_applied)
		return 0;
	return qmr_error_set(err, v->worst ? v->worst : -ENOENT, "no plan was applied to this healthy machine, and none taken back");
}

int qmr_apply_vaccinate(int root_fd, const struct qmr_apply_arguments *arguments, struct qmr_error *err)
{
	cleanup_json json_t *facts = NULL;
	cleanup_json json_t *report = NULL;
	cleanup_json json_t *superseded = json_array();
	struct vaccination v = {.root_fd = root_fd, .policy = arguments->policy, .superseded = superseded};
	uint64_t boot;
	int r = qmr_apply_number(arguments->boot, "boot", &boot, err);

	if (r == 0 && boot > UINT32_MAX)
		r = qmr_error_set(err, -EINVAL, "'%s' is not the number of a boot", arguments->boot);
	if (r == 0)
		r = qmr_apply_load_incident(arguments->incident, &facts, err);
	if (r == 0)
		r = qmr_apply_load_report(arguments->report, &report, err);
	if (r == 0)
		r = qmr_apply_open(root_fd, 1, &v.transactions, err);
	if (r < 0)
		return r;
	v.facts = facts;
	v.boot = (uint32_t)boot;
	v.now_unix_s = qmr_apply_time(report);
	r = look_back(&v, json_object_get(report, "withdrawn"), err);
	if (r == 0)
		r = take_all(&v, arguments->plans, err);
	qmr_transactions_close(&v.transactions);
	return r;
}
