/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply.h"
#include "cleanup.h"
#include "engine.h"
#include "json.h"
#include "log.h"
#include "protect.h"

#define LOCAL_REVERT "local-revert"
#define UNVACCINATE "undo-vaccinations"

static int revert(const struct qmr_transactions *transactions, const struct qmr_apply_arguments *arguments, const json_t *incident,
		  const struct qmr_transaction_cause *cause, struct qmr_error *err)
{
	cleanup_json json_t *record = json_pack("{s:i, s:s, s:O?, s:O?}", "schema", 1, "id", LOCAL_REVERT, "incident",
						json_object_get(incident, "id"), "changes", json_object_get(incident, "changes"));
	struct qmr_changes changes = {0};
	int r = record ? qmr_revert_plan(transactions->root_fd, incident, &changes, err) : qmr_error_set(err, -ENOMEM, "out of memory");

	if (r == 0)
		r = qmr_protect_check(transactions->root_fd, arguments->policy, NULL, &changes, err);
	if (r == 0)
		r = qmr_apply_run(transactions, &changes, cause, record, NULL, err);
	qmr_changes_done(&changes);
	return r;
}

int qmr_apply_revert(int root_fd, const struct qmr_apply_arguments *arguments, struct qmr_error *err)
{
	cleanup_json json_t *incident = NULL;
	struct qmr_transaction_cause cause = {.plan = LOCAL_REVERT};
	struct qmr_transactions transactions;
	int r = qmr_apply_load_incident(arguments->incident, &incident, err);

	if (r == 0)
		r = qmr_apply_open(root_fd, 1, &transactions, err);
	if (r < 0)
		return r;
	cause.incident = qmr_json_string(incident, "id");
	r = qmr_apply_print_repeated(&transactions, LOCAL_REVERT, cause.incident, NULL, err);
	if (r == -ENOENT)
		r = revert(&transactions, arguments, incident, &cause, err);
	qmr_transactions_close(&transactions);
	return r;
}

int qmr_apply_undo_one(const struct qmr_transactions *transactions, uint64_t id, const char *incident, uint32_t boot,
		       struct qmr_journal *ret_journal, struct qmr_error *err)
{
	char own_incident[64] = "", plan[64];
	struct qmr_transaction_cause cause = {.plan = plan, .boot = boot};
	cleanup_json json_t *record = NULL;
	struct qmr_changes changes = {0};
	int r;

	snprintf(plan, sizeof(plan), "undo-%" PRIu64, id);
	record = json_pack("{s:i, s:s, s:I}", "schema", 1, "id", plan, "undo", (json_int_t)id);
	if (!record)
		return qmr_error_set(err, -ENOMEM, "out of memory");
	/* Nobody is asked before a vaccination is taken back: what came since is not ours to replace. */
	r = qmr_transaction_inverse(transactions, id, boot != 0, &changes, own_incident, err);
	cause.incident = incident ? incident : own_incident;
	if (r == 0)
		r = qmr_transaction_run(transactions, &changes, &cause, record, ret_journal, err);
	qmr_changes_done(&changes);
	return r;
}

static int is_undone_already(const struct qmr_journal *journal, int is_undone, void *user, struct qmr_error *err)
{
	return is_undone && journal->id == *(const uint64_t *)user;
}

int qmr_apply_undo(int root_fd, const struct qmr_apply_arguments *arguments, struct qmr_error *err)
{
	QMR_CLEANUP(qmr_journal_done) struct qmr_journal journal = {0};
	cleanup_json json_t *changed = json_array();
	struct qmr_transactions transactions;
	uint64_t id;
	int r = qmr_apply_number(arguments->id, "transaction", &id, err);

	if (r == 0)
		r = qmr_apply_open(root_fd, 1, &transactions, err);
	if (r < 0)
		return r;
	r = qmr_transactions_each(&transactions, is_undone_already, &id, err);
	if (r > 0)
		r = qmr_error_set(err, -ENOENT, "transaction %" PRIu64 " is undone already", id);
	if (r == 0)
		r = qmr_apply_undo_one(&transactions, id, NULL, 0, &journal, err);
	qmr_transactions_close(&transactions);
	if (r == 0)
		r = qmr_apply_add_changed(&journal, changed, err);
	return r < 0 ? r : qmr_apply_print(journal.id, journal.plan, changed, NULL, err);
}

int qmr_apply_is_vaccination(const struct qmr_journal *journal, int is_undone)
{
	return !is_undone && journal->boot && !qmr_journal_undoes(journal);
}

int qmr_apply_vaccinations_add(struct qmr_vaccinations *list, const struct qmr_journal *journal, struct qmr_error *err)
{
	struct qmr_vaccination *grown = reallocarray(list->items, list->n + 1, sizeof(*grown));

	if (!grown)
		return qmr_error_set(err, -ENOMEM, "looking at transactions: out of memory");
	list->items = grown;
	list->items[list->n++] = (struct qmr_vaccination){journal->id, journal->boot};
	return 0;
}

void qmr_apply_vaccinations_done(struct qmr_vaccinations *list)
{
	free(list->items);
	*list = (struct qmr_vaccinations){0};
}

/* What is looked for among transactions. */
struct search {
	uint64_t first_boot;
	const char *incident;
	struct qmr_vaccinations unproven; /* and not undone, newest first; owned */
	json_t *changed;    /* by transactions that undid some for this incident, borrowed */
	uint64_t undone_by; /* the newest of those, 0: none */
};

static int find_unproven(const struct qmr_journal *journal, int is_undone, void *user, struct qmr_error *err)
{
	struct search *search = user;

	if (!qmr_apply_is_vaccination(journal, is_undone) || journal->is_proven || journal->boot < search->first_boot)
		return 0;
	return qmr_apply_vaccinations_add(&search->unproven, journal, err);
}

static int find_undoing(const struct qmr_journal *journal, int is_undone, void *user, struct qmr_error *err)
{
	struct search *search = user;

	if (is_undone || !journal->boot || !qmr_journal_undoes(journal) || strcmp(journal->incident, search->incident))
		return 0;
	search->undone_by = search->undone_by ? search->undone_by : journal->id;
	return qmr_apply_add_changed(journal, search->changed, err);
}

/*
 * Newest first, each a transaction of its own: a cut between two leaves what the next run goes on with, and one that fails does not keep the
 * others. What was undone for this incident before is printed once more, as with plans.
 */
static int unvaccinate(const struct qmr_transactions *transactions, struct search *search, struct qmr_error *err)
{
	struct qmr_error why = {0};
	int worst = 0, r = qmr_transactions_each(transactions, find_unproven, search, err);

	for (size_t i = 0; r == 0 && i < search->unproven.n; i++) {
		const struct qmr_vaccination *one = &search->unproven.items[i];
		QMR_CLEANUP(qmr_journal_done) struct qmr_journal journal = {0};

		if (qmr_apply_undo_one(transactions, one->id, search->incident, one->boot, &journal, &why) < 0) {
			worst = why.code;
			qmr_warning("%s; the vaccination of transaction %" PRIu64 " stays", why.text, one->id);
		} else {
			qmr_notice("the vaccination of transaction %" PRIu64 " is undone", one->id);
		}
	}
	if (r == 0)
		r = qmr_transactions_each(transactions, find_undoing, search, err);
	if (r < 0)
		return r;
	if (!search->undone_by && worst)
		return qmr_error_set(err, worst == -ENOENT ? -EIO : worst, "no vaccination could be undone: %.300s", why.text);
	if (!search->undone_by)
		return qmr_error_set(err, -ENOENT, "no vaccination was done in boot %" PRIu64 " or later that is not proven", search->first_boot);
	return qmr_apply_print(search->undone_by, UNVACCINATE, search->changed, NULL, err);
}

int qmr_apply_unvaccinate(int root_fd, const struct qmr_apply_arguments *arguments, struct qmr_error *err)
{
	cleanup_json json_t *incident = NULL;
	cleanup_json json_t *changed = json_array();
	struct search search = {.changed = changed};
	struct qmr_transactions transactions;
	int r = qmr_apply_number(arguments->boot, "boot", &search.first_boot, err);

	if (r == 0)
		r = qmr_apply_load_incident(arguments->incident, &incident, err);
	if (r == 0 && !(search.incident = qmr_json_string(incident, "id")))
		r = qmr_error_set(err, -EIO, "'%s': id: missing", arguments->incident);
	if (r == 0)
		r = qmr_apply_open(root_fd, 0, &transactions, err);
	if (r < 0)
		return r;
	r = unvaccinate(&transactions, &search, err);
	qmr_transactions_close(&transactions);
	qmr_apply_vaccinations_done(&search.unproven);
	return r;
}
