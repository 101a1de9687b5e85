/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_APPLY_H
#define QMR_APPLY_H

#include <jansson.h>

#include "config.h"
#include "error.h"
#include "plan.h"
#include "transaction.h"

/*
 * The commands of remediation-apply(8). What they return becomes the exit code: -ENOENT there was nothing to do, -EBADMSG refused and nothing
 * changed, -EINVAL wrong arguments, all else failed.
 */

struct qmr_apply_arguments {
	const char *root, *plan, *plans, *incident, *report, *id, *boot, *esp, *config; /* NULL: not given */
	const struct qmr_config *policy; /* of a command that asks for it */
};

/* One command: changes the root, but for list; prints a line of JSON for what it did. */
typedef int qmr_apply_command(int root_fd, const struct qmr_apply_arguments *arguments, struct qmr_error *err);

qmr_apply_command qmr_apply_list, qmr_apply_plan, qmr_apply_revert, qmr_apply_undo, qmr_apply_vaccinate, qmr_apply_unvaccinate;

/* Steps of the commands, apply-run.c. */

/* incident.json, schema 1; a missing file is -EIO, not "nothing to do". The caller owns *ret_incident. */
int qmr_apply_load_incident(const char *path, json_t **ret_incident, struct qmr_error *err) QMR_MUST_CHECK;

/* fetch.json of the run that fetched the plans; NULL for none. A missing file is -EIO. The caller owns *ret_report. */
int qmr_apply_load_report(const char *path, json_t **ret_report, struct qmr_error *err) QMR_MUST_CHECK;

/* The time that ages of plans are judged by: that run's (docs/remediation.md, "Time"), without a report the clock's. */
int64_t qmr_apply_time(const json_t *report);

/* A positive decimal number, of which what says what it is; -EINVAL if it is none. */
int qmr_apply_number(const char *text, const char *what, uint64_t *ret_number, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Opens (with create: makes) the folder of transactions and clears up what a cut left, so that a new one starts from a known state. -ENOENT
 * without one. Release with _close.
 */
int qmr_apply_open(int root_fd, int create, struct qmr_transactions *ret_transactions, struct qmr_error *err) QMR_MUST_CHECK;

/* Adds the paths that a transaction changed to a list. */
int qmr_apply_add_changed(const struct qmr_journal *journal, json_t *list, struct qmr_error *err) QMR_MUST_CHECK;

/* The line of JSON. changed is borrowed; then: what follows, NULL where it is the usual. */
int qmr_apply_print(uint64_t id, const char *plan, json_t *changed, const char *then, struct qmr_error *err) QMR_MUST_CHECK;

/* 0 with the result printed if the plan was applied in this incident (NULL: there is none) already, -ENOENT if not. */
int qmr_apply_print_repeated(const struct qmr_transactions *transactions, const char *plan, const char *incident, const char *then,
			     struct qmr_error *err) QMR_MUST_CHECK;

/* Makes the changes as one transaction, and prints it. */
int qmr_apply_run(const struct qmr_transactions *transactions, const struct qmr_changes *changes, const struct qmr_transaction_cause *cause,
		  const json_t *plan_json, const char *then, struct qmr_error *err) QMR_MUST_CHECK;

/* Undoes a transaction by a new one, apply-undo.c. incident NULL: it is that of the transaction; boot: of a vaccination, else 0. */
int qmr_apply_undo_one(const struct qmr_transactions *transactions, uint64_t id, const char *incident, uint32_t boot,
		       struct qmr_journal *ret_journal, struct qmr_error *err) QMR_MUST_CHECK;

/* Vaccinations among transactions, apply-undo.c. */
struct qmr_vaccination {
	uint64_t id; /* of its transaction */
	uint32_t boot;
};
struct qmr_vaccinations {
	struct qmr_vaccination *items; /* owned */
	size_t n;
};
/* 1 if the transaction is a vaccination that nobody undid. */
int qmr_apply_is_vaccination(const struct qmr_journal *journal, int is_undone);
/* -ENOMEM. */
int qmr_apply_vaccinations_add(struct qmr_vaccinations *list, const struct qmr_journal *journal, struct qmr_error *err) QMR_MUST_CHECK;
/* Frees what the list owns; a zeroed one is fine. */
void qmr_apply_vaccinations_done(struct qmr_vaccinations *list);

/* Steps of what applies plans, apply-plan.c. */

/* -EBADMSG for what is no plan. Release with qmr_plan_done(). */
int qmr_apply_load_plan(int dirfd, const char *path, struct qmr_plan *ret_plan, struct qmr_error *err) QMR_MUST_CHECK;

/* -ENOENT: it is not for this machine now. Nothing is looked at that the plan does not ask for. incident NULL: its selectors are not asked. */
int qmr_apply_check_applicable(int root_fd, const struct qmr_config *policy, const struct qmr_plan *plan, const json_t *incident,
			       int64_t now_unix_s, struct qmr_error *err) QMR_MUST_CHECK;

/* -ENOENT unless all plans that it requires were applied here before, in whichever incident, and not undone. */
int qmr_apply_check_required(const struct qmr_transactions *transactions, const struct qmr_plan *plan, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Plans its actions, holds them against the policy's protection, and makes the changes, which are to be known by cause. -EALREADY where cause wants
 * changes and there are none to make.
 */
int qmr_apply_actions(const struct qmr_transactions *transactions, const struct qmr_config *policy, const struct qmr_plan *plan,
		      const struct qmr_transaction_cause *cause, const char *then, struct qmr_error *err) QMR_MUST_CHECK;

#endif
