/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Row by row what docs/detector.md promises; written from the document, not from the code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "boot-history.h"
#include "watchdog.h"

enum { OFF = QMR_MODE_OFF, OBS = QMR_MODE_OBSERVE, COL = QMR_MODE_COLLECT, ASK = QMR_MODE_ASK, AUT = QMR_MODE_AUTOMATIC };
enum { S_NONE = QMR_STAGE_NONE, SWI = QMR_STAGE_SWITCHING, REC = QMR_STAGE_RECOVERING, PRO = QMR_STAGE_PROBATION,
       GIV = QMR_STAGE_GIVEN_UP, FIN = QMR_STAGE_FINAL, HEA = QMR_STAGE_HEALED };
enum { ALL = QMR_RUNGS_ALL, SIGNED = QMR_RUNGS_SIGNED };

/* Each row of the document's tables; the policy is failures, crashes_after_healthy, unknowns, recovery_runs. */
static const struct row {
	const char *name, *history;
	int mode, policy[4];
	uint8_t stage, switches, runs;
	int recover, stage_then, rungs;
	struct qmr_run run;
} table[] = {
#define DEFAULTS {2, 2, 4, 3}
	{"nothing known", "", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {0, 0, 0}},
	/* What counts */
	{"a good boot ends the run", "pphp", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"a crash behind the window is a good boot", "pHp", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"a crash of unknown time is a good boot", "ptp", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"a reset after healthy is a good boot", "prp", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"a crash within the window counts", "hc", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {0, 1, 0}},
	{"its last second too", "hC", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {0, 1, 0}},
	{"panic", "hp", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"panic seen by kdump", "hk", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"panic at the passphrase prompt", "hW", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"hang seen by the watchdog", "hw", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"hang by the deadline", "hd", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"initramfs shell", "hs", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"emergency target", "he", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"failed check", "hq", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"unknown", "hu", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {0, 0, 1}},
	{"unknown while waiting for somebody", "hzzzzzz", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {0, 0, 0}},
	{"clean shutdown neither counts", "hnnnnnn", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {0, 0, 0}},
	{"nor resets", "hpnznp", AUT, DEFAULTS, S_NONE, 0, 0, 1, S_NONE, ALL, {2, 0, 0}},
	{"somebody was there: does not count", "haADaAD", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {0, 0, 0}},
	{"nor does it reset", "hpaADp", AUT, DEFAULTS, S_NONE, 0, 0, 1, S_NONE, ALL, {2, 0, 0}},
	{"somebody was there, then it crashed", "hx", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"somebody was there, and it became healthy", "pBp", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 0, 0}},
	{"before the remediation", "pp|n", AUT, DEFAULTS, PRO, 0, 1, 0, PRO, ALL, {0, 0, 0}},
	{"before the remediation, no longer on probation", "pp|n", AUT, DEFAULTS, HEA, 0, 1, 1, HEA, ALL, {2, 0, 0}},
	/* Thresholds */
	{"probation, a failure", "pp|p", AUT, DEFAULTS, PRO, 0, 1, 1, PRO, ALL, {1, 0, 0}},
	{"probation, a crash", "pp|c", AUT, DEFAULTS, PRO, 0, 1, 1, PRO, ALL, {0, 1, 0}},
	{"probation, an unknown", "pp|u", AUT, DEFAULTS, PRO, 0, 1, 0, PRO, ALL, {0, 0, 1}},
	{"probation, four unknowns", "pp|uuuu", AUT, DEFAULTS, PRO, 0, 1, 1, PRO, SIGNED, {0, 0, 4}},
	{"probation, healthy", "pp|h", AUT, DEFAULTS, PRO, 0, 1, 0, PRO, ALL, {0, 0, 0}},
	{"two failures", "hed", AUT, DEFAULTS, S_NONE, 0, 0, 1, S_NONE, ALL, {2, 0, 0}},
	{"one failure where one is enough", "hs", AUT, {1, 2, 4, 3}, S_NONE, 0, 0, 1, S_NONE, ALL, {1, 0, 0}},
	{"nine failures of ten", "hppppppppp", AUT, {10, 2, 0, 3}, S_NONE, 0, 0, 0, S_NONE, ALL, {9, 0, 0}},
	{"two crashes", "hcC", AUT, DEFAULTS, S_NONE, 0, 0, 1, S_NONE, ALL, {0, 2, 0}},
	{"two crashes, switched off", "hcC", AUT, {2, 0, 4, 3}, S_NONE, 0, 0, 0, S_NONE, ALL, {0, 2, 0}},
	{"two crashes with a higher number of failures", "hcc", AUT, {5, 2, 0, 3}, S_NONE, 0, 0, 1, S_NONE, ALL, {0, 2, 0}},
	{"a failure and a crash", "hpc", AUT, DEFAULTS, S_NONE, 0, 0, 1, S_NONE, ALL, {1, 1, 0}},
	{"both: two of the larger three", "hpc", AUT, {3, 2, 0, 3}, S_NONE, 0, 0, 0, S_NONE, ALL, {1, 1, 0}},
	{"both: three of the larger three", "hpcp", AUT, {3, 2, 0, 3}, S_NONE, 0, 0, 1, S_NONE, ALL, {2, 1, 0}},
	{"both: the other is larger", "hpcc", AUT, {2, 3, 0, 3}, S_NONE, 0, 0, 1, S_NONE, ALL, {1, 2, 0}},
	{"three unknowns", "huuu", AUT, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {0, 0, 3}},
	{"four unknowns", "huUuU", AUT, DEFAULTS, S_NONE, 0, 0, 1, S_NONE, SIGNED, {0, 0, 4}},
	{"four unknowns, switched off", "huUuU", AUT, {2, 2, 0, 3}, S_NONE, 0, 0, 0, S_NONE, ALL, {0, 0, 4}},
	{"three unknowns and a failure", "huupu", AUT, DEFAULTS, S_NONE, 0, 0, 1, S_NONE, SIGNED, {1, 0, 3}},
	{"three unknowns and a crash", "hucuu", AUT, DEFAULTS, S_NONE, 0, 0, 1, S_NONE, SIGNED, {0, 1, 3}},
	{"many unknowns and enough failures", "huuuupup", AUT, DEFAULTS, S_NONE, 0, 0, 1, S_NONE, ALL, {2, 0, 5}},
	/* Decision */
	{"off", "hpppp", OFF, DEFAULTS, S_NONE, 0, 0, 0, S_NONE, ALL, {4, 0, 0}},
	{"off while switching", "hpp", OFF, DEFAULTS, SWI, 1, 0, 0, SWI, ALL, {2, 0, 0}},
	{"off on probation", "pp|p", OFF, DEFAULTS, PRO, 0, 1, 0, PRO, ALL, {1, 0, 0}},
	{"given up", "hpppp", AUT, DEFAULTS, GIV, 2, 0, 0, GIV, ALL, {4, 0, 0}},
	{"final", "hpppp", AUT, DEFAULTS, FIN, 0, 3, 0, FIN, ALL, {4, 0, 0}},
	{"switching, one switch", "hpp", AUT, DEFAULTS, SWI, 1, 0, 1, SWI, ALL, {2, 0, 0}},
	{"switching, two switches", "hpp", AUT, DEFAULTS, SWI, 2, 0, 0, GIV, ALL, {2, 0, 0}},
	{"recovering, no row", "hpn", AUT, DEFAULTS, REC, 0, 1, 0, REC, ALL, {1, 0, 0}},
	{"recovering, a row", "hpp", AUT, DEFAULTS, REC, 0, 2, 1, REC, ALL, {2, 0, 0}},
	{"recovering, a row, used up", "hpp", AUT, DEFAULTS, REC, 0, 3, 0, GIV, ALL, {2, 0, 0}},
	{"recovering, no row, used up", "hp", AUT, DEFAULTS, REC, 0, 3, 0, REC, ALL, {1, 0, 0}},
	{"probation, used up", "pp|p", AUT, DEFAULTS, PRO, 0, 3, 0, GIV, ALL, {1, 0, 0}},
	{"probation, more runs", "pp|p", AUT, {2, 2, 4, 5}, PRO, 0, 3, 1, PRO, ALL, {1, 0, 0}},
	{"healed: a new incident has all its runs", "pp|hpp", AUT, DEFAULTS, HEA, 0, 3, 1, HEA, ALL, {2, 0, 0}},
	{"observe", "hpp", OBS, DEFAULTS, S_NONE, 0, 0, 1, S_NONE, ALL, {2, 0, 0}},
	{"collect", "hpp", COL, DEFAULTS, S_NONE, 0, 0, 1, S_NONE, ALL, {2, 0, 0}},
	{"ask", "hpp", ASK, DEFAULTS, S_NONE, 0, 0, 1, S_NONE, ALL, {2, 0, 0}},
};

static void each_row_of_the_document(void **unused)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		const struct row *row = &table[i];
		struct qmr_verdict is, should = {row->recover, row->stage_then, (enum qmr_rung_limit)row->rungs, row->run, ""};
		struct qmr_config config;
		struct qmr_state state;

		set_policy(&config, row->mode, row->policy);
		begin(&state);
		play(&state, row->history, config.crash_window_s);
		state.stage = row->stage;
		state.switches = row->switches;
		state.recovery_runs = row->runs;
		is = qmr_assess(&state, &config);
		check_verdict(row->name, &is, &should);
		assert_int_equal(qmr_state_failures(&state), row->run.failures + row->run.crashes);
	}
}

static void defaults_are_the_documents(void **unused)
{
	struct qmr_config config;

	qmr_config_defaults(&config);
	assert_int_equal(config.mode, QMR_MODE_OBSERVE);
	assert_int_equal(config.failures, 2);
	assert_int_equal(config.crashes_after_healthy, 2);
	assert_int_equal(config.unknowns, 4);
	assert_int_equal(config.recovery_runs, 3);
	assert_int_equal(config.crash_window_s, WINDOW_S);
	assert_int_equal(QMR_SWITCHES_MAX, 2);
}

static void an_open_boot_neither_counts_nor_resets(void **unused)
{
	const struct qmr_attempt open = {.number = 9};
	struct qmr_config config;
	struct qmr_state state;

	qmr_config_defaults(&config);
	begin(&state);
	play(&state, "hpp", WINDOW_S);
	qmr_assess_add_attempt(&state, &open);
	assert_int_equal(qmr_state_run(&state).failures, 2);
	assert_int_equal(qmr_state_run(&state).unknowns, 0);
	assert_int_equal(qmr_assess(&state, &config).recover, 1);
}

/* Boots are numbered from 1; 16 of them are remembered. */
static void the_last_good_boot(void **unused)
{
	static const struct {
		const char *history;
		uint32_t number;
	} cases[] = {{"", 0}, {"p", 1}, {"ppp", 1}, {"h", 1}, {"hpp", 1}, {"phpu", 2}, {"hcc", 1}, {"hHp", 2}, {"hxB", 3}, {"hnz", 1},
		     {"hpppppppppppppppp", 2}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_state state;

		begin(&state);
		play(&state, cases[i].history, WINDOW_S);
		if (qmr_state_last_good_boot(&state) != cases[i].number)
			fail_msg("%s: %u, should be %u", cases[i].history, qmr_state_last_good_boot(&state), cases[i].number);
	}
}

/* The newest attempt and what was found; what it becomes. Crash record before watchdog before what was recorded before unknown. */
static const struct closing {
	const char *name;
	uint8_t outcome, phase, flags, evidence;
	int panic, watchdog;
	uint8_t outcome_then, flags_then, evidence_then;
} closings[] = {
	{"open", QMR_OPEN, 1, 0, 0, 0, 0, QMR_UNKNOWN, 0, 0},
	{"open, watchdog", QMR_OPEN, 1, 0, 0, 0, 1, QMR_HANG, 0, QMR_BY_WATCHDOG},
	{"open, record", QMR_OPEN, 1, 0, 0, 1, 0, QMR_PANIC, 0, QMR_BY_CRASH_RECORD},
	{"open, both", QMR_OPEN, 1, 0, 0, 1, 1, QMR_PANIC, 0, QMR_BY_CRASH_RECORD},
	{"waiting", QMR_OPEN, 2, 0, 0, 0, 0, QMR_UNKNOWN, 0, 0},
	{"emergency", QMR_EMERGENCY, 1, 0, QMR_BY_EMERGENCY_TARGET, 0, 0, QMR_EMERGENCY, 0, QMR_BY_EMERGENCY_TARGET},
	{"emergency, record", QMR_EMERGENCY, 0, 0, QMR_BY_INITRAMFS_SHELL, 1, 0, QMR_PANIC, 0, QMR_BY_CRASH_RECORD},
	{"failed check", QMR_EMERGENCY, 1, 0, QMR_BY_REQUIRED_CHECK, 0, 0, QMR_EMERGENCY, 0, QMR_BY_REQUIRED_CHECK},
	{"deadline", QMR_HANG, 1, 0, QMR_BY_DEADLINE, 0, 0, QMR_HANG, 0, QMR_BY_DEADLINE},
	{"deadline, record", QMR_HANG, 1, 0, QMR_BY_DEADLINE, 1, 0, QMR_PANIC, 0, QMR_BY_CRASH_RECORD},
	{"clean", QMR_CLEAN_SHUTDOWN, 4, 0, 0, 0, 0, QMR_CLEAN_SHUTDOWN, 0, 0},
	{"clean, record", QMR_CLEAN_SHUTDOWN, 4, 0, 0, 1, 0, QMR_PANIC, 0, QMR_BY_CRASH_RECORD},
	{"clean, reset reason of nobody knows when", QMR_CLEAN_SHUTDOWN, 4, 0, 0, 0, 1, QMR_CLEAN_SHUTDOWN, 0, 0},
	{"recorded by kdump's kernel", QMR_PANIC, 1, 0, QMR_BY_CRASH_RECORD, 0, 0, QMR_PANIC, 0, QMR_BY_CRASH_RECORD},
	{"attended", QMR_EMERGENCY, 1, QMR_ATTEMPT_ATTENDED, 4, 0, 0, QMR_EMERGENCY, QMR_ATTEMPT_ATTENDED, 4},
	{"attended, cut", QMR_OPEN, 1, QMR_ATTEMPT_ATTENDED, 0, 0, 0, QMR_UNKNOWN, QMR_ATTEMPT_ATTENDED, 0},
	{"attended, record", QMR_EMERGENCY, 1, QMR_ATTEMPT_ATTENDED, 4, 1, 0, QMR_PANIC, 0, QMR_BY_CRASH_RECORD},
	{"probation stays marked", QMR_OPEN, 1, QMR_ATTEMPT_PROBATION, 0, 1, 0, QMR_PANIC, QMR_ATTEMPT_PROBATION, QMR_BY_CRASH_RECORD},
	{"healthy", QMR_HEALTHY, 3, 0, 0, 0, 0, QMR_HEALTHY, 0, 0},
};

static void the_strongest_evidence_wins(void **unused)
{
	for (size_t i = 0; i < sizeof(closings) / sizeof(*closings); i++) {
		const struct closing *c = &closings[i];
		const struct qmr_attempt first = {.number = 1, .outcome = QMR_PANIC, .flags = QMR_ATTEMPT_OBSERVED};
		const struct qmr_attempt attempt = {.number = 2, .outcome = c->outcome, .phase = c->phase, .flags = c->flags,
						    .evidence = c->evidence, .uptime_s = 30};
		const struct qmr_evidence found = {c->panic, 31}, nothing = {0, -1};
		struct qmr_state state, once;

		begin(&state);
		qmr_assess_add_attempt(&state, &first);
		qmr_assess_add_attempt(&state, &attempt);
		(void)qmr_watchdog_judge(&state, 0, c->watchdog);
		qmr_state_close_last(&state, &found, WINDOW_S);
		if (state.attempts[0].outcome != c->outcome_then || state.attempts[0].flags != c->flags_then ||
		    state.attempts[0].evidence != c->evidence_then)
			fail_msg("%s: %s flags %#x by %s", c->name, qmr_outcome_name(state.attempts[0].outcome),
				 state.attempts[0].flags, qmr_evidence_name(state.attempts[0].evidence));
		assert_memory_equal(&state.attempts[1], &first, sizeof(first));
		once = state;
		qmr_state_close_last(&state, &nothing, WINDOW_S);
		assert_memory_equal(&once, &state, sizeof(state));
	}
}

static void an_empty_history_is_closed_too(void **unused)
{
	const struct qmr_evidence found = {1, 5};
	struct qmr_state state, empty;

	begin(&empty);
	state = empty;
	qmr_state_close_last(&state, &found, WINDOW_S);
	assert_memory_equal(&state, &empty, sizeof(state));
}

static void crash_window_has_edges(void **unused)
{
	static const struct {
		uint32_t healthy_at;
		int64_t crash_at;
		int window, counted;
	} edges[] = {
		{40, 40, WINDOW_S, 1}, {40, 41, WINDOW_S, 1}, {40, 40 + WINDOW_S, WINDOW_S, 1}, {40, 41 + WINDOW_S, WINDOW_S, 0},
		{40, 41, 1, 1}, {40, 42, 1, 0}, {40, 3640, 3600, 1}, {40, 3641, 3600, 0},
		{40, -1, WINDOW_S, 0}, /* the record does not say */
		{40, 39, WINDOW_S, 0}, /* nor does one of before */
		{40, INT64_MAX, 3600, 0}, {UINT32_MAX, UINT32_MAX, 1, 1}, {UINT32_MAX, (int64_t)UINT32_MAX + 2, 1, 0},
	};

	for (size_t i = 0; i < sizeof(edges) / sizeof(*edges); i++) {
		const struct qmr_attempt attempt = {.number = 1, .outcome = QMR_HEALTHY, .phase = QMR_PHASE_HEALTHY,
						    .uptime_s = edges[i].healthy_at};
		const struct qmr_evidence found = {1, edges[i].crash_at};
		struct qmr_state state;

		begin(&state);
		qmr_assess_add_attempt(&state, &attempt);
		qmr_state_close_last(&state, &found, edges[i].window);
		if (qmr_state_run(&state).crashes != edges[i].counted || qmr_state_run(&state).failures ||
		    !(state.attempts[0].flags & QMR_ATTEMPT_SOON) != !edges[i].counted)
			fail_msg("healthy at %u, crash at %lld, window %d", edges[i].healthy_at, (long long)edges[i].crash_at, edges[i].window);
		assert_int_equal(state.attempts[0].phase, QMR_PHASE_HEALTHY);
	}
}

static void the_oldest_of_16_is_forgotten(void **unused)
{
	struct qmr_state state;

	begin(&state);
	for (uint32_t n = 1; n <= 40; n++) {
		const struct qmr_attempt attempt = {.number = n};

		qmr_assess_add_attempt(&state, &attempt);
		assert_int_equal(state.n_attempts, n < QMR_STATE_ATTEMPTS ? n : QMR_STATE_ATTEMPTS);
		for (uint32_t i = 0; i < state.n_attempts; i++)
			assert_int_equal(state.attempts[i].number, n - i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_row_of_the_document),
		cmocka_unit_test(defaults_are_the_documents),
		cmocka_unit_test(an_open_boot_neither_counts_nor_resets), cmocka_unit_test(the_last_good_boot),
		cmocka_unit_test(the_strongest_evidence_wins),
		cmocka_unit_test(an_empty_history_is_closed_too),
		cmocka_unit_test(crash_window_has_edges),
		cmocka_unit_test(the_oldest_of_16_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
