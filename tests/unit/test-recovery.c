/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include <cmocka.h>

#include "acknowledge.h"
#include "child.h"
#include "cleanup.h"
#include "end.h"
#include "file.h"
#include "json.h"
#include "ladder.h"
#include "media.h"
#include "remedy.h"
#include "test-run.h"
#include "timeline.h"

static const struct qmr_evidence no_evidence = {.crash_uptime_s = -1}, a_panic = {.panic = 1, .crash_uptime_s = -1};

static struct qmr_state make_state(enum qmr_stage stage, const uint8_t *outcomes, int n)
{
	static const uint8_t root[16] = {1};
	struct qmr_state state;

	qmr_state_init(&state, root);
	state.stage = (uint8_t)stage;
	state.n_attempts = (uint8_t)n;
	for (int i = 0; i < n; i++)
		state.attempts[i].outcome = outcomes[i];
	return state;
}

static void test_sources(void **unused)
{
	static struct qmr_config config;

	qmr_config_defaults(&config);
	assert_false(qmr_config_has_source(&config, "https:"));
	strcpy(config.repository_url[0], "https://h/r");
	strcpy(config.repository_url[1], "media:r");
	config.n_repository_urls = 1;
	assert_true(qmr_config_has_source(&config, "https:"));
	assert_false(qmr_config_has_source(&config, "media:"));
	config.n_repository_urls = 2;
	assert_true(qmr_config_has_source(&config, "media:"));
}

/* The detector's switch: its reason, incident and counts are kept. */
static void test_acknowledge_switch(void **s)
{
	const uint8_t outcomes[] = {QMR_CLEAN_SHUTDOWN, QMR_PANIC, QMR_PANIC};
	struct qmr_state state = make_state(QMR_STAGE_SWITCHING, outcomes, 3);

	state.reason = QMR_REASON_DETECTOR;
	state.switches = 2;
	state.failed_boots = 2;
	state.incident[3] = 7;
	assert_int_equal(qmr_acknowledge(&state, &no_evidence, 120, 1), 0);
	assert_int_equal(state.stage, QMR_STAGE_RECOVERING);
	assert_int_equal(state.reason, QMR_REASON_DETECTOR);
	assert_int_equal(state.switches, 0);
	assert_int_equal(state.recovery_runs, 1);
	assert_int_equal(state.failed_boots, 2);
	assert_int_equal(state.incident[3], 7);
	assert_int_equal(state.attempts[0].outcome, QMR_CLEAN_SHUTDOWN);
}

/* Nobody asked: the firmware's entry or a menu; an incident begins, and a crash that nobody counted yet is. */
static void test_acknowledge_unasked(void **s)
{
	const uint8_t outcomes[] = {QMR_OPEN, QMR_PANIC, QMR_HEALTHY};
	struct qmr_state state = make_state(QMR_STAGE_NONE, outcomes, 3);

	state.rungs = QMR_RUNG_REVERT;
	strcpy(state.remediation, "old");
	assert_int_equal(qmr_acknowledge(&state, &a_panic, 120, 0), 1);
	assert_int_equal(state.reason, QMR_REASON_MENU);
	assert_int_equal(state.attempts[0].outcome, QMR_PANIC);
	assert_int_equal(state.failed_boots, 2);
	assert_int_equal(state.rungs, 0);
	assert_string_equal(state.remediation, "");
	assert_false(qmr_uuid_is_null(state.incident));

	state = make_state(QMR_STAGE_NONE, outcomes, 3);
	assert_int_equal(qmr_acknowledge(&state, &no_evidence, 120, 1), 1);
	assert_int_equal(state.reason, QMR_REASON_BOOT_ORDER);
	assert_int_equal(state.attempts[0].outcome, QMR_UNKNOWN);
	assert_int_equal(state.failed_boots, 1);
}

/* An incident that is open goes on, one that is over does not. */
static void test_acknowledge_incident(void **s)
{
	static const struct {
		enum qmr_stage stage;
		int begins;
	} cases[] = {{QMR_STAGE_NONE, 1},      {QMR_STAGE_SWITCHING, 0}, {QMR_STAGE_RECOVERING, 0}, {QMR_STAGE_PROBATION, 0},
		     {QMR_STAGE_GIVEN_UP, 1},  {QMR_STAGE_FINAL, 1},	 {QMR_STAGE_HEALED, 1}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_state state = make_state(cases[i].stage, (const uint8_t[]){QMR_OPEN}, 1);

		state.incident[0] = 9;
		state.recovery_runs = 1;
		assert_int_equal(qmr_acknowledge(&state, &no_evidence, 120, 0), cases[i].begins);
		assert_int_equal(state.recovery_runs, cases[i].begins ? 1 : 2);
	}
}

/* The firmware has nothing else to start: one incident, whose runs are counted. */
static void test_acknowledge_coming_back(void **s)
{
	static const enum qmr_stage stages[] = {QMR_STAGE_NONE, QMR_STAGE_RECOVERING, QMR_STAGE_FINAL, QMR_STAGE_GIVEN_UP};
	const uint8_t outcomes[] = {QMR_OPEN, QMR_PANIC};
	struct qmr_attempt attempt = {.outcome = QMR_OPEN};

	for (size_t i = 0; i < sizeof(stages) / sizeof(*stages); i++)
		for (int is_own = 0; is_own < 2; is_own++) {
			struct qmr_state state = make_state(QMR_STAGE_NONE, outcomes, 2);
			uint8_t first[16];

			assert_int_equal(qmr_acknowledge(&state, &no_evidence, 120, is_own), 1);
			memcpy(first, state.incident, 16);
			state.stage = (uint8_t)stages[i];
			assert_int_equal(qmr_acknowledge(&state, &no_evidence, 120, is_own), 0);
			assert_int_equal(state.recovery_runs, 2);
			assert_memory_equal(state.incident, first, 16);
			/* A boot was started in between, as boot-guard does it. */
			memmove(&state.attempts[1], &state.attempts[0], 2 * sizeof(attempt));
			state.attempts[0] = attempt;
			state.n_attempts = 3;
			state.stage = QMR_STAGE_FINAL;
			assert_int_equal(qmr_acknowledge(&state, &no_evidence, 120, is_own), 1);
			assert_int_equal(state.recovery_runs, 1);
		}
}

/* Who looks into the menu during probation does not end it. */
static void test_probation_goes_on(void **s)
{
	struct qmr_recovery recovery = {.config.recovery_runs = 3, .state_known = 1};
	const uint8_t outcomes[] = {QMR_OPEN};

	recovery.state = make_state(QMR_STAGE_PROBATION, outcomes, 1);
	recovery.state.incident[0] = 1;
	recovery.state.failed_boots = 2;
	recovery.state.recovery_runs = 1;
	assert_int_equal(qmr_acknowledge(&recovery.state, &no_evidence, 120, 0), 0);
	assert_int_equal(qmr_end_decide(&recovery, "why").stage, QMR_STAGE_PROBATION);
	recovery.is_cancelled = 1;
	assert_int_equal(qmr_end_decide(&recovery, "why").stage, QMR_STAGE_PROBATION);
	assert_int_equal(qmr_end_decide(&recovery, "why").final, QMR_END_NONE);
}

static void test_recovery_runs_do_not_wrap(void **s)
{
	struct qmr_state state = make_state(QMR_STAGE_RECOVERING, NULL, 0);

	state.incident[0] = 1;
	state.recovery_runs = UINT8_MAX;
	(void)qmr_acknowledge(&state, &no_evidence, 120, 0);
	assert_int_equal(state.recovery_runs, UINT8_MAX);
}

static void test_mode(void **s)
{
	static const enum qmr_reason reasons[] = {QMR_REASON_NONE, QMR_REASON_DETECTOR, QMR_REASON_REQUESTED,
						  QMR_REASON_MENU, QMR_REASON_BOOT_ORDER};

	for (int mode = QMR_MODE_OFF; mode <= QMR_MODE_AUTOMATIC; mode++)
		for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++) {
			int got = qmr_effective_mode(mode, reasons[i], QMR_STATE_OBSERVED);

			assert_int_equal(qmr_effective_mode(mode, reasons[i], QMR_STATE_COLLECT_ONLY), QMR_MODE_COLLECT);
			assert_int_equal(qmr_effective_mode(mode, reasons[i], QMR_STATE_TEST), QMR_MODE_COLLECT);

			/* Never more than the policy allows, but for a person at the menu, who is asked. */
			if (mode >= QMR_MODE_COLLECT)
				assert_int_equal(got, mode);
			else
				assert_int_equal(got, reasons[i] == QMR_REASON_MENU ? QMR_MODE_ASK : QMR_MODE_COLLECT);
		}
}

static void test_end(void **s)
{
	static const struct {
		const char *applied;
		int cancelled, failed_boots, reason, policy, runs, unknown;
		enum qmr_stage stage;
		enum qmr_final_condition final;
		const char *note;
	} cases[] = {
		{"p", 0, 2, QMR_REASON_DETECTOR, QMR_FINAL_HALT, 1, 0, QMR_STAGE_PROBATION, QMR_END_NONE, ""},
		{"p", 0, 2, QMR_REASON_BOOT_ORDER, QMR_FINAL_HALT, 3, 1, QMR_STAGE_PROBATION, QMR_END_NONE, ""},
		{"", 1, 2, QMR_REASON_DETECTOR, QMR_FINAL_HALT, 1, 0, QMR_STAGE_FINAL, QMR_END_NORMAL_BOOT,
		 "cancelled at the console"},
		{"", 0, 2, QMR_REASON_DETECTOR, QMR_FINAL_HALT, 1, 0, QMR_STAGE_FINAL, QMR_END_HALT, "why"},
		{"", 0, 2, QMR_REASON_DETECTOR, QMR_FINAL_MENU, 1, 0, QMR_STAGE_FINAL, QMR_END_MENU, "why"},
		{"", 0, 2, QMR_REASON_MENU, QMR_FINAL_BOOT, 1, 0, QMR_STAGE_FINAL, QMR_END_NORMAL_BOOT, "why"},
		/* A healthy machine whose owner asks for recovery is not halted for it. */
		{"", 0, 0, QMR_REASON_REQUESTED, QMR_FINAL_HALT, 1, 0, QMR_STAGE_NONE, QMR_END_NONE,
		 "recovery ran; no failed boot, nothing changed"},
		{"", 0, 0, QMR_REASON_BOOT_ORDER, QMR_FINAL_HALT, 1, 0, QMR_STAGE_FINAL, QMR_END_HALT, "why"},
		/* What would be a loop: the firmware has nothing else to start, or nobody counts. */
		{"", 0, 0, QMR_REASON_BOOT_ORDER, QMR_FINAL_BOOT, 2, 0, QMR_STAGE_FINAL, QMR_END_NORMAL_BOOT, "why"},
		{"", 0, 0, QMR_REASON_BOOT_ORDER, QMR_FINAL_BOOT, 3, 0, QMR_STAGE_FINAL, QMR_END_MENU, "why"},
		{"", 0, 2, QMR_REASON_MENU, QMR_FINAL_BOOT, 1, 1, QMR_STAGE_FINAL, QMR_END_MENU, "why"},
		/* boot-guard counts these. */
		{"", 0, 2, QMR_REASON_DETECTOR, QMR_FINAL_BOOT, 1, 1, QMR_STAGE_FINAL, QMR_END_NORMAL_BOOT, "why"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_recovery recovery = {.config = {.final = cases[i].policy, .recovery_runs = 3},
						.is_cancelled = cases[i].cancelled,
						.state_known = !cases[i].unknown};
		struct qmr_ending ending;

		recovery.state.failed_boots = (uint8_t)cases[i].failed_boots;
		recovery.state.reason = (uint8_t)cases[i].reason;
		recovery.state.recovery_runs = (uint8_t)cases[i].runs;
		strcpy(recovery.applied, cases[i].applied);
		ending = qmr_end_decide(&recovery, "why");
		assert_int_equal(ending.stage, cases[i].stage);
		assert_int_equal(ending.final, cases[i].final);
		assert_string_equal(ending.note, cases[i].note);
	}
}

static void test_results(void **s)
{
	assert_string_equal(qmr_result_name(qmr_result_from(0)), "ok");
	assert_string_equal(qmr_result_name(qmr_result_from(3)), "nothing");
	assert_string_equal(qmr_result_name(qmr_result_from(4)), "refused");
	assert_string_equal(qmr_result_name(qmr_result_from(5)), "network");
	assert_string_equal(qmr_result_name(qmr_result_from(139)), "failed");
	assert_string_equal(qmr_result_name(qmr_result_from(-ENOENT)), "failed");
	assert_string_equal(qmr_result_name(qmr_result_from(-ETIMEDOUT)), "late");
}

static void test_timeline(void **s)
{
	struct qmr_state state = make_state(QMR_STAGE_RECOVERING, NULL, 0);
	struct qmr_timeline timeline = {.started_unix_s = 5};
	cleanup_json json_t *old = NULL;
	struct qmr_timeline_step *step;

	state.reason = QMR_REASON_DETECTOR;
	for (int run = 1; run <= 20; run++) {
		json_t *json;

		state.recovery_runs = (uint8_t)run;
		timeline.n_steps = 0;
		for (int i = 0; i < QMR_TIMELINE_STEPS + 5; i++)
			step = qmr_timeline_begin(&timeline, "collect");
		step->result = QMR_RESULT_LATE;
		strcpy(step->text, "\xff not UTF-8");
		json = qmr_timeline_to_json(&timeline, old, &state, "probation");
		assert_non_null(json);
		json_decref(old);
		old = json;
	}
	/* The newest 16 runs, each with all its steps; text that is none is left out. */
	json_t *runs = json_object_get(old, "runs");
	json_t *last = json_array_get(runs, json_array_size(runs) - 1);
	json_t *steps = json_object_get(last, "steps");

	assert_int_equal(json_array_size(runs), QMR_TIMELINE_RUNS);
	assert_int_equal(json_integer_value(json_object_get(last, "run")), 20);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(runs, 0), "run")), 5);
	assert_string_equal(qmr_json_string(last, "reason"), "detector");
	assert_int_equal(json_array_size(steps), QMR_TIMELINE_STEPS);
	assert_string_equal(qmr_json_string(json_array_get(steps, QMR_TIMELINE_STEPS - 1), "result"), "late");
	assert_string_equal(qmr_json_string(json_array_get(steps, QMR_TIMELINE_STEPS - 1), "text"), "");
}

/* Another schema's runs are not carried on as ours. */
static void test_timeline_other_schema(void **s)
{
	struct qmr_state state = make_state(QMR_STAGE_RECOVERING, NULL, 0);
	struct qmr_timeline timeline = {0};
	cleanup_json json_t *old = json_pack("{s:i, s:[i]}", "schema", 2, "runs", 1);
	cleanup_json json_t *json = qmr_timeline_to_json(&timeline, old, &state, "halt");

	assert_int_equal(json_array_size(json_object_get(json, "runs")), 1);
}

static void test_plans(void **s)
{
	static const char *const names[] = {"01-b.json", "00-a.b-c.json", "fetch.json", "x-y.json", "02-.json", "03-z.txt",
					    "04-", "05-0123456789012345678901234567890123456789012345678901234567890123.json"};
	char folder[] = "/tmp/qmr-plans-XXXXXX";
	struct qmr_plan_file plans[QMR_PLANS_MAX];
	cleanup_close int fd = -1;
	char path[200];

	assert_non_null(mkdtemp(folder));
	fd = open(folder, O_RDONLY | O_DIRECTORY);
	assert_int_equal(qmr_plans_list(fd, plans), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
	}
	assert_int_equal(qmr_plans_list(fd, plans), 2);
	assert_string_equal(plans[0].id, "a.b-c");
	assert_string_equal(plans[0].name, "00-a.b-c.json");
	assert_string_equal(plans[1].id, "b");
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, folder, NULL), 0);
	assert_int_equal(qmr_plans_list(-1, plans), 0);
}

/* A machine as the ladder sees it: what each plan leads to, and what was done. */
struct climb {
	const char *const *tried;    /* in an earlier run; ends with NULL */
	const char *const *outcomes; /* "id=result[,then]"; without one: applied */
	enum qmr_result local;
	char done[128];              /* ids in the order of trying; "local" */
};

static int climb_was_tried(void *user, const char *id)
{
	const struct climb *climb = user;

	for (size_t i = 0; climb->tried[i]; i++)
		if (!strcmp(climb->tried[i], id))
			return 1;
	return 0;
}

static enum qmr_result climb_try(void *user, const struct qmr_plan_file *plan, enum qmr_then_what *ret_then, struct qmr_error *err)
{
	struct climb *climb = user;
	const char *id = plan ? plan->id : "local";
	size_t length = strlen(climb->done);

	snprintf(climb->done + length, sizeof(climb->done) - length, "%s ", id);
	qmr_error_set(err, 0, "%s", id);
	*ret_then = QMR_DO_REBOOT;
	if (!plan)
		return climb->local;
	for (size_t i = 0; climb->outcomes[i]; i++) {
		const char *outcome = climb->outcomes[i] + strlen(id) + 1;

		if (strncmp(climb->outcomes[i], id, strlen(id)) || climb->outcomes[i][strlen(id)] != '=')
			continue;
		if (!strncmp(outcome, "ok,", 3))
			*ret_then = qmr_then_from(outcome + 3);
		for (int r = QMR_RESULT_OK; r <= QMR_RESULT_SKIPPED; r++)
			if (!strncmp(outcome, qmr_result_name(r), strlen(qmr_result_name(r))))
				return r;
	}
	return QMR_RESULT_OK;
}

/* Plans "a", "b", "c" in this order; b supersedes c. */
static void test_ladder(void **s)
{
	static const struct {
		const char *tried[4], *outcomes[4];
		enum qmr_result local, want;
		enum qmr_then_what then;
		const char *done, *text;
	} cases[] = {
		{{0}, {0}, QMR_RESULT_OK, QMR_RESULT_OK, QMR_DO_REBOOT, "a ", "a"},
		{{0}, {"a=ok,shutdown"}, QMR_RESULT_OK, QMR_RESULT_OK, QMR_DO_SHUTDOWN, "a ", "a"},
		{{0}, {"a=nothing"}, QMR_RESULT_OK, QMR_RESULT_OK, QMR_DO_REBOOT, "a b ", "b"},
		{{0}, {"a=ok,next-rung"}, QMR_RESULT_OK, QMR_RESULT_OK, QMR_DO_REBOOT, "a b ", "b"},
		{{0}, {"a=ok,next-rung", "b=ok,shutdown"}, QMR_RESULT_OK, QMR_RESULT_OK, QMR_DO_SHUTDOWN, "a b ", "b"},
		{{0}, {"a=ok,nonsense"}, QMR_RESULT_OK, QMR_RESULT_OK, QMR_DO_REBOOT, "a ", "a"},
		/* What goes on goes on to the local rungs, and is on probation if they do nothing or fail. */
		{{0}, {"a=ok,next-rung", "b=nothing", "c=nothing"}, QMR_RESULT_OK, QMR_RESULT_OK, QMR_DO_REBOOT, "a b c local ", "local"},
		{{0}, {"a=ok,next-rung", "b=nothing", "c=failed"}, QMR_RESULT_NOTHING, QMR_RESULT_OK, QMR_DO_NEXT_RUNG, "a b c local ", "a"},
		{{0}, {"a=ok,next-rung", "b=refused"}, QMR_RESULT_FAILED, QMR_RESULT_OK, QMR_DO_NEXT_RUNG, "a b local ", "a"},
		/* b does not match: c is tried. It was refused, failed, declined or tried before: c is not. */
		{{0}, {"a=nothing", "b=nothing"}, QMR_RESULT_NOTHING, QMR_RESULT_OK, QMR_DO_REBOOT, "a b c ", "c"},
		{{0}, {"a=nothing", "b=refused"}, QMR_RESULT_NOTHING, QMR_RESULT_NOTHING, QMR_DO_REBOOT, "a b local ", "local"},
		{{0}, {"a=nothing", "b=late"}, QMR_RESULT_NOTHING, QMR_RESULT_NOTHING, QMR_DO_REBOOT, "a b local ", "local"},
		{{0}, {"a=nothing", "b=skipped"}, QMR_RESULT_NOTHING, QMR_RESULT_NOTHING, QMR_DO_REBOOT, "a b local ", "local"},
		{{"b"}, {"a=nothing"}, QMR_RESULT_OK, QMR_RESULT_OK, QMR_DO_REBOOT, "a local ", "local"},
		{{"a", "c"}, {"b=nothing"}, QMR_RESULT_FAILED, QMR_RESULT_FAILED, QMR_DO_REBOOT, "b local ", "local"},
		{{"a", "b", "c"}, {0}, QMR_RESULT_NOTHING, QMR_RESULT_NOTHING, QMR_DO_REBOOT, "local ", "local"},
	};
	static const char *const files[][2] = {
		{"01-a.json", "{\"id\":\"a\"}"}, {"02-b.json", "{\"id\":\"b\",\"supersedes\":[\"x\",\"c\",7]}"}, {"03-c.json", "[]"}};
	char folder[] = "/tmp/qmr-plans-XXXXXX";
	cleanup_close int fd = -1;

	assert_non_null(mkdtemp(folder));
	fd = open(folder, O_RDONLY | O_DIRECTORY);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(qmr_file_replace(fd, files[i][0], files[i][1], strlen(files[i][1]), 0600, NULL), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct climb climb = {cases[i].tried, cases[i].outcomes, cases[i].local, ""};
		struct qmr_ladder ladder = {fd, 1, &climb, climb_was_tried, climb_try};
		enum qmr_then_what then = QMR_DO_REBOOT;
		struct qmr_error err = {0};
		enum qmr_result result = qmr_ladder_climb(&ladder, &then, &err);

		if (result != cases[i].want || then != cases[i].then || strcmp(climb.done, cases[i].done) ||
		    strcmp(err.text, cases[i].text))
			fail_msg("case %zu: %s, then %d, %s, '%s'", i, qmr_result_name(result), then, climb.done, err.text);
		memset(climb.done, 0, sizeof(climb.done));
		ladder.has_plans = 0; /* the fetch was not successful: what lies there is not looked at */
		(void)qmr_ladder_climb(&ladder, &then, &err);
		assert_string_equal(climb.done, "local ");
	}
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, folder, NULL), 0);
}

/* A plan may switch the machine off; nothing else does. */
static void test_end_how(void **s)
{
	struct qmr_recovery recovery = {.applied = "p", .is_shutdown_wanted = 1};
	struct qmr_ending ending = qmr_end_decide(&recovery, "why");

	assert_int_equal(ending.stage, QMR_STAGE_PROBATION);
	assert_int_equal(qmr_end_how(&recovery, &ending), (int)RB_POWER_OFF);
	assert_string_equal(qmr_end_name(&recovery, &ending), "shutdown");
	recovery.is_shutdown_wanted = 0;
	assert_int_equal(qmr_end_how(&recovery, &ending), (int)RB_AUTOBOOT);
	assert_string_equal(qmr_end_name(&recovery, &ending), "probation");
	recovery = (struct qmr_recovery){.is_shutdown_wanted = 1};
	assert_int_equal(qmr_end_how(&recovery, &ending), (int)RB_AUTOBOOT);
	ending.final = QMR_END_HALT;
	assert_int_equal(qmr_end_how(&recovery, &ending), (int)RB_HALT_SYSTEM);
	assert_string_equal(qmr_end_name(&recovery, &ending), "halt");
}

static int answer_fine(void *context, void *answer, struct qmr_error *err)
{
	memcpy(answer, context, 5);
	return 3;
}

static int answer_error(void *context, void *answer, struct qmr_error *err)
{
	return qmr_error_set(err, -ENODEV, "no such thing");
}

static int answer_crash(void *context, void *answer, struct qmr_error *err)
{
	(void)signal(SIGSEGV, SIG_DFL); /* a sanitizer would report it and exit */
	(void)raise(SIGSEGV);
	return 0;
}

static int answer_never(void *context, void *answer, struct qmr_error *err)
{
	(void)signal(SIGTERM, SIG_IGN);
	(void)sleep(600);
	return 0;
}

static void test_call(void **s)
{
	struct qmr_error err = {0};
	char answer[8] = "";

	assert_int_equal(qmr_child_call(answer_fine, "abcd", 60000, answer, 5, &err), 3);
	assert_string_equal(answer, "abcd");
	assert_int_equal(qmr_child_call(answer_error, NULL, 60000, answer, 5, &err), -ENODEV);
	assert_string_equal(err.text, "no such thing");
	assert_string_equal(answer, "abcd");
	assert_int_equal(qmr_child_call(answer_crash, NULL, 60000, answer, 5, &err), -EIO);
	assert_int_equal(qmr_child_call(answer_never, NULL, 50, answer, 5, &err), -ETIMEDOUT);
	assert_int_equal(qmr_child_call(answer_fine, "abcd", 60000, answer, 4097, &err), -EINVAL);
}

/* What systemd-boot does once every other entry is at +0: it starts recovery, which must not restart for ever. */
static void test_loader_has_nothing_else(void **s)
{
	struct qmr_recovery recovery = {.config.recovery_runs = 3, .state_known = 1};
	struct qmr_ending ending = {0};
	struct qmr_state state = make_state(QMR_STAGE_NONE, NULL, 0);

	for (int i = 0; i < 10 && ending.final != QMR_END_MENU && ending.final != QMR_END_HALT; i++) {
		(void)qmr_acknowledge(&state, &no_evidence, 120, 0);
		recovery.state = state;
		ending = qmr_end_decide(&recovery, "why");
		state.stage = (uint8_t)ending.stage;
		state.final = (uint8_t)ending.final;
	}
	assert_true(ending.final == QMR_END_MENU || ending.final == QMR_END_HALT);
}

/* A healthy server whose owner asked: that the firmware was slow to note it is no reason to halt it. */
static void test_request_that_was_not_noted(void **s)
{
	struct qmr_recovery recovery = {.config.recovery_runs = 3, .state_known = 0};
	struct qmr_ending ending;

	recovery.state.reason = QMR_REASON_REQUESTED;
	ending = qmr_end_decide(&recovery, "why");
	assert_true(ending.final == QMR_END_NONE || ending.final == QMR_END_NORMAL_BOOT);
}

/* Esc in a recovery that nothing had called for leaves the detector at work. */
static void test_cancelled_without_incident(void **s)
{
	struct qmr_recovery recovery = {.config.recovery_runs = 3, .state_known = 1, .is_cancelled = 1};

	recovery.state.reason = QMR_REASON_MENU;
	assert_int_equal(qmr_end_decide(&recovery, "").stage, QMR_STAGE_NONE);
}

/* What was asked of one run is asked of no later one, and nothing but that leaves the state. */
static void test_request(void **s)
{
	static const uint32_t other = QMR_STATE_OBSERVED | QMR_STATE_WATCHDOG_STICKY | 0x80000000;
	static const struct {
		uint32_t flags, request;
		enum qmr_stage stage;
	} cases[] = {
		{0, 0, QMR_STAGE_NONE},
		{0, 0, QMR_STAGE_SWITCHING},
		{QMR_STATE_TEST, QMR_STATE_TEST, QMR_STAGE_NONE},
		{QMR_STATE_TEST, QMR_STATE_TEST, QMR_STAGE_PROBATION},
		{QMR_STATE_TEST, QMR_STATE_TEST, QMR_STAGE_FINAL},
		/* Which image runs is for the firmware to say. */
		{QMR_STATE_TEST | QMR_STATE_SECOND, QMR_STATE_TEST, QMR_STAGE_NONE},
		/* A switch needs recovery. */
		{QMR_STATE_TEST, 0, QMR_STAGE_SWITCHING},
		{QMR_STATE_TEST | QMR_STATE_SECOND, 0, QMR_STAGE_SWITCHING},
		{QMR_STATE_COLLECT_ONLY, QMR_STATE_COLLECT_ONLY, QMR_STAGE_SWITCHING},
		{QMR_STATE_COLLECT_ONLY | QMR_STATE_TEST, QMR_STATE_COLLECT_ONLY, QMR_STAGE_SWITCHING},
		/* The firmware went on to recovery by itself, after the request was given up. */
		{QMR_STATE_COLLECT_ONLY, 0, QMR_STAGE_GIVEN_UP},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_state state = make_state(cases[i].stage, (const uint8_t[]){QMR_OPEN, QMR_PANIC}, 2), before = state;

		state.flags = cases[i].flags | other;
		before.flags = other;
		assert_int_equal(qmr_acknowledge_take_request(&state), cases[i].request);
		assert_memory_equal(&state, &before, sizeof(state));
	}
}

/* Nothing was to be repaired: the system goes on where it was, whatever the policy's final condition, even by BootOrder. */
static void test_end_of_requests(void **s)
{
	static const enum qmr_final policies[] = {QMR_FINAL_BOOT, QMR_FINAL_HALT, QMR_FINAL_MENU};

	for (int test = 0; test < 2; test++)
		for (size_t i = 0; i < 3 * 2 * 2; i++) {
			struct qmr_recovery recovery = {.config = {.final = policies[i % 3], .recovery_runs = 3}, .is_test = test,
							.is_cancelled = (int)(i / 3 % 2), .state_known = 1};
			int probation = (int)(i / 6);
			struct qmr_ending ending;

			recovery.state = make_state(test ? QMR_STAGE_GIVEN_UP : QMR_STAGE_RECOVERING, (const uint8_t[]){QMR_PANIC}, 1);
			recovery.state.failed_boots = 2;
			recovery.state.recovery_runs = 5;
			recovery.state.reason = QMR_REASON_REQUESTED;
			recovery.state.flags = test ? QMR_STATE_TEST : QMR_STATE_COLLECT_ONLY;
			recovery.state.attempts[0].flags = probation ? QMR_ATTEMPT_PROBATION : 0;
			ending = qmr_end_decide(&recovery, "why");
			assert_int_equal(ending.final, QMR_END_NONE);
			assert_int_equal(ending.stage, test ? QMR_STAGE_GIVEN_UP : probation ? QMR_STAGE_PROBATION : QMR_STAGE_NONE);
			recovery.state.attempts[0].phase = QMR_PHASE_HEALTHY; /* it was over by then */
			if (!test)
				assert_int_equal(qmr_end_decide(&recovery, "why").stage, QMR_STAGE_NONE);
		}
}

/* The first step that failed is what the test says; one that was left out is none. */
static void test_judge(void **s)
{
	struct qmr_recovery recovery = {.is_test = 1, .state_known = 1};
	struct qmr_timeline timeline = {0};
	char failed[64];

	strcpy(recovery.config.esp_uuid, "A-B");
	strcpy(recovery.devices.esp, "/dev/vda1");
	qmr_timeline_begin(&timeline, "devices");
	qmr_timeline_begin(&timeline, "collect")->result = QMR_RESULT_SKIPPED;
	qmr_timeline_begin(&timeline, "check-root")->result = QMR_RESULT_NOTHING;
	qmr_test_judge(&recovery, &timeline, failed, sizeof(failed));
	assert_string_equal(failed, "");
	recovery.devices.esp[0] = '\0';
	qmr_test_judge(&recovery, &timeline, failed, sizeof(failed));
	assert_string_equal(failed, "devices: the EFI system partition was not found");
	recovery.is_cancelled = 1;
	qmr_test_judge(&recovery, &timeline, failed, sizeof(failed));
	assert_string_equal(failed, "announce: cancelled at the console");
	for (int r = QMR_RESULT_FAILED; r <= QMR_RESULT_LATE; r++) {
		timeline.n_steps = 3;
		qmr_timeline_begin(&timeline, "network")->result = (enum qmr_result)r;
		strcpy(qmr_timeline_begin(&timeline, "other")->text, "later");
		qmr_test_judge(&recovery, &timeline, failed, sizeof(failed));
		assert_memory_equal(failed, "network: ", 9);
		assert_string_equal(failed + 9, qmr_result_name((enum qmr_result)r));
	}
	strcpy(timeline.steps[3].text, "no address within 30 s");
	qmr_test_judge(&recovery, &timeline, failed, sizeof(failed));
	assert_string_equal(failed, "network: no address within 30 s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_acknowledge_switch), cmocka_unit_test(test_acknowledge_unasked),
		cmocka_unit_test(test_acknowledge_incident),
		cmocka_unit_test(test_acknowledge_coming_back), cmocka_unit_test(test_recovery_runs_do_not_wrap),
		cmocka_unit_test(test_loader_has_nothing_else), cmocka_unit_test(test_probation_goes_on),
		cmocka_unit_test(test_request_that_was_not_noted), cmocka_unit_test(test_cancelled_without_incident),
		cmocka_unit_test(test_mode), cmocka_unit_test(test_end), cmocka_unit_test(test_results),
		cmocka_unit_test(test_sources), cmocka_unit_test(test_timeline), cmocka_unit_test(test_timeline_other_schema),
		cmocka_unit_test(test_plans), cmocka_unit_test(test_ladder), cmocka_unit_test(test_end_how), cmocka_unit_test(test_call),
		cmocka_unit_test(test_request), cmocka_unit_test(test_end_of_requests), cmocka_unit_test(test_judge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
