/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remedy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acknowledge.h"
#include "child.h"
#include "cleanup.h"
#include "console.h"
#include "json.h"
#include "log.h"
#include "root.h"
#include "timeline.h"

/* The ladder as far as it goes: a matching signed plan, then the revert of the culprit to its restore point. */

#define APPLIED QMR_INCIDENT "/applied.json"
#define OUTPUT_MAX (1 << 20)
#define APPLIED_BEFORE QMR_RUN "/applied-before.json"
#define RESUME_MS 120000
#define LOCAL_REVERT "local-revert"

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

static int was_tried(const struct qmr_recovery *recovery, const json_t *applied, const char *plan)
{
	const json_t *list = json_object_get(applied, "applied");

	if (!strcmp(recovery->tried, plan))
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
static void note_applied(struct qmr_recovery *recovery, json_t *applied, const char *plan, int rung, const char *output)
{
	cleanup_json json_t *line = NULL;
	struct qmr_error err = {0};
	struct qmr_ending ending = {QMR_STAGE_PROBATION, QMR_END_NONE, rung, plan, recovery->note};

	snprintf(recovery->applied, sizeof(recovery->applied), "%s", plan);
	snprintf(recovery->note, sizeof(recovery->note), "applied '%.63s'; on probation", plan);
	if (qmr_ending_save(recovery, &ending, &err) < 0)
		qmr_warning("%s; the machine is on probation, but will not know it", err.text);
	if (qmr_json_parse("remediation-apply", output, strlen(output), &line, NULL) < 0)
		line = json_object();
	if (!applied || !line || json_object_set_new(line, "run", json_integer(recovery->state.recovery_runs)) < 0 ||
	    json_object_set_new(line, "plan", json_string(plan)) < 0 ||
	    json_array_append(json_object_get(applied, "applied"), line) < 0 ||
	    qmr_json_save(AT_FDCWD, APPLIED, applied, 0600, &err) < 0)
		qmr_warning("recording what was applied: %s; it is applied all the same", err.text);
}

static enum qmr_result run_once(struct qmr_recovery *recovery, char *const argv[], const char *plan, int rung,
				json_t *applied, int deadline_ms, struct qmr_error *err)
{
	cleanup_free char *output = NULL;
	int code = qmr_child_run(argv, deadline_ms, &output, OUTPUT_MAX, err);

	if (code == QMR_EXIT_OK) {
		note_applied(recovery, applied, plan, rung, output);
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
static enum qmr_result run_apply(struct qmr_recovery *recovery, char *const argv[], const char *plan, int rung,
				 json_t *applied, int deadline_ms, struct qmr_error *err)
{
	enum qmr_result result = run_once(recovery, argv, plan, rung, applied, deadline_ms, err);
	struct qmr_error why = {0};

	if (result != QMR_RESULT_FAILED && result != QMR_RESULT_LATE)
		return result;
	if (qmr_step_resume(recovery, RESUME_MS, &why) == QMR_RESULT_OK)
		return run_once(recovery, argv, plan, rung, applied, deadline_ms, err);
	qmr_warning("%s; the next boot completes or undoes what was begun", why.text);
	return result;
}

static enum qmr_result apply_plans(struct qmr_recovery *recovery, json_t *applied, int deadline_ms, struct qmr_error *err)
{
	cleanup_close int dir = open(QMR_PLANS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_free struct qmr_plan_file *plans = calloc(QMR_PLANS_MAX, sizeof(*plans));
	size_t n = dir >= 0 && plans && recovery->has_plans ? qmr_plans_list(dir, plans) : 0;
	enum qmr_result result = QMR_RESULT_NOTHING;
	char *esp = (char *)qmr_state_esp(recovery);

	qmr_error_set(err, 0, "no signed plan to try");
	for (size_t i = 0; i < n && result != QMR_RESULT_OK; i++) {
		char path[sizeof(QMR_PLANS) + 256], question[128];
		char *const argv[] = {QMR_PROGRAM("remediation-apply"), "apply", "--root", QMR_SYSROOT, "--plan", path,
				      "--incident", QMR_INCIDENT "/incident.json", esp ? "--esp" : NULL, esp, NULL};

		if (was_tried(recovery, applied, plans[i].id)) {
			qmr_info("plan '%s' was applied before in this incident and did not help", plans[i].id);
			continue;
		}
		snprintf(path, sizeof(path), QMR_PLANS "/%s", plans[i].name);
		snprintf(question, sizeof(question), "Apply the signed plan '%s'", plans[i].id);
		if (recovery->mode == QMR_MODE_ASK && !ask(question, recovery->config.menu_timeout_s)) {
			qmr_error_set(err, 0, "'%s': nobody agreed", plans[i].id);
			continue;
		}
		result = run_apply(recovery, argv, plans[i].id, QMR_RUNG_PLAN, applied, deadline_ms, err);
	}
	return result;
}

static enum qmr_result revert(struct qmr_recovery *recovery, json_t *applied, int deadline_ms, struct qmr_error *err)
{
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
	result = run_apply(recovery, argv, LOCAL_REVERT, QMR_RUNG_REVERT, applied, deadline_ms, err);
	if (result == QMR_RESULT_NOTHING)
		qmr_error_set(err, 0, "no signed plan, and no culprit that could be reverted");
	return result;
}

enum qmr_result qmr_step_apply(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	cleanup_json json_t *applied = load_applied(recovery);
	enum qmr_result result = apply_plans(recovery, applied, deadline_ms, err);

	return result == QMR_RESULT_OK ? result : revert(recovery, applied, deadline_ms, err);
}
