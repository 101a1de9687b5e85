/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remedy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acknowledge.h"
#include "child.h"
#include "cleanup.h"
#include "console.h"
#include "json.h"
#include "ladder.h"
#include "log.h"
#include "root.h"
#include "timeline.h"

/* The rungs as far as they go: a matching signed plan, the undoing of vaccinations, the revert of the culprit to its restore point. ladder.c has the order. */

#define APPLIED QMR_INCIDENT "/applied.json"
#define OUTPUT_MAX (1 << 20)
#define APPLIED_BEFORE QMR_RUN "/applied-before.json"
#define RESUME_MS 120000
#define LOCAL_REVERT "local-revert"
#define UNVACCINATE "undo-vaccinations"
#define HOLD QMR_PLANS "/hold.json"
#define HOLD_BEFORE QMR_RUN "/hold-before.json"

/* What a rung works with. */
struct work {
	struct qmr_recovery *recovery;
	json_t *applied; /* owned; NULL without memory */
	int deadline_ms;
};

static int is_plan(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] >= '0' && entry->d_name[0] <= '9' && strchr(entry->d_name, '-') && length > 5 &&
	       !strcmp(entry->d_name + length - 5, ".json");
}

size_t qmr_plans_list(int dirfd, struct qmr_plan_file ret_plans[QMR_PLANS_MAX])
{
	struct dirent **names = NULL;
	int n = scandirat(dirfd, ".", &names, is_plan, alphasort);
	size_t used = 0;

	for (int i = 0; i < n; i++) {
		struct qmr_plan_file *plan = &ret_plans[used];
		const char *id = strchr(names[i]->d_name, '-') + 1;
		size_t length = strlen(id) - 5;

		if (used < QMR_PLANS_MAX && length > 0 && length < sizeof(plan->id)) {
			snprintf(plan->name, sizeof(plan->name), "%s", names[i]->d_name);
			snprintf(plan->id, sizeof(plan->id), "%.*s", (int)length, id);
			used++;
		}
		free(names[i]);
	}
	free(names);
	return used;
}

/* What earlier runs of this incident applied, from the disk; a new object if there is nothing. */
static json_t *load_applied(const struct qmr_recovery *recovery)
{
	json_t *json;

	if (qmr_root_fetch(recovery, "applied.json", APPLIED_BEFORE, NULL) == 0 &&
	    qmr_json_load(AT_FDCWD, APPLIED_BEFORE, QMR_ROOT_FETCH_BYTES, &json, NULL) == 0) {
		if (json_is_array(json_object_get(json, "applied")))
			return json;
		json_decref(json);
	}
	return json_pack("{s:i, s:[]}", "schema", 1, "applied");
}

static int was_tried(void *user, const char *plan)
{
	const struct work *work = user;
	const json_t *list = json_object_get(work->applied, "applied");

	if (!strcmp(work->recovery->tried, plan))
		return 1;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *before = qmr_json_string(json_array_get(list, i), "plan");

		if (before && !strcmp(before, plan))
			return 1;
	}
	return 0;
}

static int ask(const char *what, int timeout_s)
{
	int64_t end = qmr_timeline_now_ms() + timeout_s * 1000LL, left;
	int key = -1;

	qmr_console_flush();
	qmr_console_print("  %s? Press y for yes, n for no (%d s, then no): ", what, timeout_s);
	while (key != 'y' && key != 'n' && (left = end - qmr_timeline_now_ms()) > 0)
		key = qmr_console_key((int)left);
	qmr_console_print("%s\n", key == 'y' ? "yes" : "no");
	return key == 'y';
}

/*
 * The machine is on probation from the moment the transaction is committed: first the boot state, which decides what a failure
 * of the next boot means, then the record for people.
 */
static void note_applied(const struct work *work, const char *plan, int rung, const char *output, enum qmr_then_what *ret_then)
{
	struct qmr_recovery *recovery = work->recovery;
	json_t *applied = work->applied;
	cleanup_json json_t *line = NULL;
	struct qmr_error err = {0};
	struct qmr_ending ending = {QMR_STAGE_PROBATION, QMR_END_NONE, rung, plan, recovery->note};

	snprintf(recovery->applied, sizeof(recovery->applied), "%s", plan);
	snprintf(recovery->note, sizeof(recovery->note), "applied '%.63s'; on probation", plan);
	if (qmr_ending_save(recovery, &ending, &err) < 0)
		qmr_warning("%s; the machine is on probation, but will not know it", err.text);
	if (qmr_json_parse("remediation-apply", output, strlen(output), &line, NULL) < 0)
		line = json_object();
	*ret_then = qmr_then_from(qmr_json_string(line, "then"));
	if (!applied || !line || json_object_set_new(line, "run", json_integer(recovery->state.recovery_runs)) < 0 ||
	    json_object_set_new(line, "plan", json_string(plan)) < 0 ||
	    json_array_append(json_object_get(applied, "applied"), line) < 0 ||
	    qmr_json_save(AT_FDCWD, APPLIED, applied, 0600, &err) < 0)
		qmr_warning("recording what was applied: %s; it is applied all the same", err.text);
}

static enum qmr_result run_once(const struct work *work, char *const argv[], const char *plan, int rung,
				enum qmr_then_what *ret_then, struct qmr_error *err)
{
	cleanup_free char *output = NULL;
	int code = qmr_child_run(argv, work->deadline_ms, &output, OUTPUT_MAX, err);

	if (code == QMR_EXIT_OK) {
		note_applied(work, plan, rung, output, ret_then);
		qmr_error_set(err, 0, "'%s' applied", plan);
	} else if (code > 0) {
		qmr_error_set(err, -EIO, "'%s' was not applied (exit %d)", plan, code);
	}
	return qmr_result_from(code);
}

/*
 * If it fails half-way, it is completed or undone before anything else is tried or booted; once completed, a second call says so
 * (remediation-apply(8)).
 */
static enum qmr_result run_apply(const struct work *work, char *const argv[], const char *plan, int rung,
				 enum qmr_then_what *ret_then, struct qmr_error *err)
{
	enum qmr_result result = run_once(work, argv, plan, rung, ret_then, err);
	struct qmr_error why = {0};

	if (result != QMR_RESULT_FAILED && result != QMR_RESULT_LATE)
		return result;
	if (qmr_step_resume(work->recovery, RESUME_MS, &why) == QMR_RESULT_OK)
		return run_once(work, argv, plan, rung, ret_then, err);
	qmr_warning("%s; the next boot completes or undoes what was begun", why.text);
	return result;
}

static enum qmr_result apply_plan(const struct work *work, const struct qmr_plan_file *plan, enum qmr_then_what *ret_then,
				  struct qmr_error *err)
{
	char *esp = (char *)qmr_state_esp(work->recovery);
	char path[sizeof(QMR_PLANS) + 256], question[128];
	char *const argv[] = {QMR_PROGRAM("remediation-apply"), "apply", "--root", QMR_SYSROOT, "--plan", path,
			      "--report", QMR_PLANS "/fetch.json", "--incident", QMR_INCIDENT "/incident.json", esp ? "--esp" : NULL, esp, NULL};

	snprintf(path, sizeof(path), QMR_PLANS "/%s", plan->name);
	snprintf(question, sizeof(question), "Apply the signed plan '%s'", plan->id);
	if (work->recovery->mode == QMR_MODE_ASK && !ask(question, work->recovery->config.menu_timeout_s)) {
		qmr_error_set(err, 0, "'%s': nobody agreed", plan->id);
		return QMR_RESULT_SKIPPED;
	}
	return run_apply(work, argv, plan->id, QMR_RUNG_PLAN, ret_then, err);
}

/* Whatever local_rollback says: a healthy machine was changed, and failed before it had proved healthy. */
static enum qmr_result unvaccinate(const struct work *work, enum qmr_then_what *ret_then, struct qmr_error *err)
{
	const struct qmr_state *state = &work->recovery->state;
	char *esp = (char *)qmr_state_esp(work->recovery);
	char boot[16];
	int has_failed;
	char *const argv[] = {QMR_PROGRAM("remediation-apply"), "unvaccinate", "--root", QMR_SYSROOT, "--incident",
			      QMR_INCIDENT "/incident.json", "--boot", boot, esp ? "--esp" : NULL, esp, NULL};

	snprintf(boot, sizeof(boot), "%" PRIu32, qmr_state_last_good_boot(state));
	/* Boots that ended without evidence are enough: nothing of the machine's own is touched. Somebody who asks for recovery is not. */
	has_failed = state->failed_boots > 0 || state->rungs & QMR_RUNG_SIGNED_ONLY;
	/* Mode ask vaccinates nobody, and nothing is done in it that nobody agreed to. */
	if (work->recovery->mode != QMR_MODE_AUTOMATIC || !has_failed || state->rungs & QMR_RUNG_UNVACCINATE || !strcmp(boot, "0"))
		return QMR_RESULT_NOTHING;
	return run_apply(work, argv, UNVACCINATE, QMR_RUNG_UNVACCINATE, ret_then, err);
}

static enum qmr_result revert(const struct work *work, enum qmr_then_what *ret_then, struct qmr_error *err)
{
	struct qmr_recovery *recovery = work->recovery;
	char *esp = (char *)qmr_state_esp(recovery);
	char *const argv[] = {QMR_PROGRAM("remediation-apply"), "revert", "--root", QMR_SYSROOT, "--incident",
			      QMR_INCIDENT "/incident.json", esp ? "--esp" : NULL, esp, NULL};
	enum qmr_result result;

	if (!recovery->config.local_rollback) {
		qmr_error_set(err, 0, "no signed plan helps, and local_rollback is off");
		return QMR_RESULT_NOTHING;
	}
	if (recovery->state.failed_boots == 0) {
		qmr_error_set(err, 0, "no failed boot was counted: nothing is reverted without a signed plan");
		return QMR_RESULT_NOTHING;
	}
	if (recovery->state.rungs & QMR_RUNG_SIGNED_ONLY) {
		qmr_error_set(err, 0, "boots ended, and little says why: nothing is reverted without a signed plan");
		return QMR_RESULT_NOTHING;
	}
	if (recovery->state.rungs & QMR_RUNG_REVERT) {
		qmr_error_set(err, 0, "the culprit was reverted before, and that did not help");
		return QMR_RESULT_NOTHING;
	}
	if (recovery->mode == QMR_MODE_ASK &&
	    !ask("Revert the culprit to its restore point", recovery->config.menu_timeout_s)) {
		qmr_error_set(err, 0, "nobody agreed to a revert");
		return QMR_RESULT_NOTHING;
	}
	result = run_apply(work, argv, LOCAL_REVERT, QMR_RUNG_REVERT, ret_then, err);
	if (result == QMR_RESULT_NOTHING)
		qmr_error_set(err, 0, "no signed plan, and no culprit that could be reverted");
	return result;
}

static enum qmr_result try_rung(void *user, const struct qmr_plan_file *plan, enum qmr_then_what *ret_then,
				struct qmr_error *err)
{
	const struct work *work = user;
	enum qmr_result result;

	if (plan)
		return apply_plan(work, plan, ret_then, err);
	result = unvaccinate(work, ret_then, err);
	return result == QMR_RESULT_NOTHING || result == QMR_RESULT_REFUSED ? revert(work, ret_then, err) : result;
}

/*
 * The owner stopped the whole fleet: remediation-fetch says so, or, where it could not ask, did so in an earlier run. A disk on which it cannot
 * be told whether there is such a file has none.
 */
static int is_held(const struct qmr_recovery *recovery)
{
	cleanup_json json_t *kept = NULL;

	if (access(HOLD, F_OK) == 0)
		return 1;
	return !recovery->has_asked && recovery->config.n_repository_urls > 0 &&
	       qmr_root_fetch_path(QMR_KEPT_METADATA "/hold", HOLD_BEFORE, NULL) == 0 &&
	       qmr_json_load(AT_FDCWD, HOLD_BEFORE, QMR_ROOT_FETCH_BYTES, &kept, NULL) == 0 &&
	       json_is_true(json_object_get(kept, "hold"));
}

enum qmr_result qmr_step_apply(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	cleanup_close int dir = open(QMR_PLANS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_json json_t *applied = NULL;
	struct work work = {recovery, NULL, deadline_ms};
	struct qmr_ladder ladder = {dir, recovery->has_plans, &work, was_tried, try_rung};
	enum qmr_then_what then;
	enum qmr_result result;

	if (is_held(recovery)) {
		qmr_error_set(err, 0, "the owner holds the fleet: nothing is done on any machine");
		return QMR_RESULT_NOTHING;
	}
	applied = load_applied(recovery);
	work.applied = applied;
	result = qmr_ladder_climb(&ladder, &then, err);
	recovery->is_shutdown_wanted = result == QMR_RESULT_OK && then == QMR_DO_SHUTDOWN;
	return result;
}
