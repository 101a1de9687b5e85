/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What follows from docs/detector.md for histories that nobody thought of: random ones, each from its seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "boot-history.h"
#include "crc32.h"

#define HISTORY_MAX 48
#define ROUNDS 20000

static uint64_t random_state;

static unsigned int random_below(unsigned int n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned int)((random_state >> 16) % n);
}

/* The document's counting, over the letters. */
static struct qmr_run count(const char *history, int stage)
{
	struct qmr_run run = {0};
	size_t seen = 0;

	for (size_t i = strlen(history); i-- > 0 && seen < QMR_STATE_ATTEMPTS;) {
		if (history[i] == '|' && stage == QMR_STAGE_PROBATION)
			break;
		if (history[i] == '|')
			continue;
		seen++;
		if (stage == QMR_STAGE_PROBATION && !strchr(history, '|'))
			break;
		if (way_of(history[i])->effect == GOOD)
			break;
		run.failures += way_of(history[i])->effect == FAILURE;
		run.crashes += way_of(history[i])->effect == CRASH;
		run.unknowns += way_of(history[i])->effect == UNKNOWN;
	}
	return run;
}

/* The thresholds' table: 0 no row is reached, 1 only that of unknowns, 2 another. A row that is switched off takes "both" with it. */
static int rows(const struct qmr_run *run, int stage, const struct qmr_config *config)
{
	int seen = run->failures + run->crashes, c = config->crashes_after_healthy, f = config->failures;

	if ((stage == QMR_STAGE_PROBATION && seen >= 1) || run->failures >= f || (c && run->crashes >= c) || (c && seen >= (c > f ? c : f)))
		return 2;
	return config->unknowns && run->unknowns + seen >= config->unknowns;
}

/* The decision's table. */
static void decide(struct qmr_verdict *ret, const char *history, const struct qmr_state *state, const struct qmr_config *config)
{
	struct qmr_run run = count(history, state->stage);
	int reached = rows(&run, state->stage, config);
	int budgeted = state->stage == QMR_STAGE_RECOVERING || state->stage == QMR_STAGE_PROBATION;

	*ret = (struct qmr_verdict){.stage = state->stage, .run = run, .rungs = reached == 1 ? QMR_RUNGS_SIGNED : QMR_RUNGS_ALL};
	if (config->mode == QMR_MODE_OFF || state->stage == QMR_STAGE_GIVEN_UP || state->stage == QMR_STAGE_FINAL)
		return;
	if (state->stage == QMR_STAGE_SWITCHING ? state->switches >= QMR_SWITCHES_MAX :
						  reached && budgeted && state->recovery_runs >= config->recovery_runs)
		ret->stage = QMR_STAGE_GIVEN_UP;
	else
		ret->recover = state->stage == QMR_STAGE_SWITCHING || reached;
}

/* Any policy that the configuration lets in. */
static void random_policy(struct qmr_config *config)
{
	const int policy[] = {1 + (int)random_below(10), (int)random_below(11), (int)random_below(11), 1 + (int)random_below(10)};

	set_policy(config, (int)random_below(5), policy);
	config->crash_window_s = 1 + (int)random_below(3600);
}

/* allowed: letters to choose from, NULL all. Every fourth has a remediation somewhere. Returns its length. */
static size_t random_history(char history[HISTORY_MAX + 1], const char *allowed, size_t length_max)
{
	size_t length = random_below((unsigned int)length_max + 1);
	int dense = (int)random_below(3); /* half the time without the good boots that end every run */

	for (size_t i = 0; i < length; i++)
		do
			history[i] = allowed ? allowed[random_below((unsigned int)strlen(allowed))] : ways[random_below(n_ways)].letter;
		while (dense && !allowed && way_of(history[i])->effect == GOOD);
	if (length && random_below(4) == 0)
		history[random_below((unsigned int)length)] = '|';
	history[length] = '\0';
	return length;
}

static void random_stage(struct qmr_state *state)
{
	state->stage = (uint8_t)random_below(QMR_STAGE_HEALED + 1);
	state->switches = (uint8_t)random_below(4);
	state->recovery_runs = (uint8_t)random_below(12);
}

/* The verdict on a whole history in this state of things. */
static struct qmr_verdict judge(const char *history, const struct qmr_state *stage, const struct qmr_config *config)
{
	struct qmr_state state;

	begin(&state);
	play(&state, history, config->crash_window_s);
	state.stage = stage->stage;
	state.switches = stage->switches;
	state.recovery_runs = stage->recovery_runs;
	return qmr_assess(&state, config);
}

static void begin_random(uint64_t seed)
{
	random_state = seed * 0x9e3779b97f4a7c15u + 1;
}

static void describe(char text[256], const char *history, const struct qmr_state *state, const struct qmr_config *config)
{
	snprintf(text, 256, "'%s' mode %s failures %d crashes %d unknowns %d runs %d, stage %s switches %d runs %d", history,
		 qmr_mode_name(config->mode), config->failures, config->crashes_after_healthy, config->unknowns, config->recovery_runs,
		 qmr_stage_name(state->stage), state->switches, state->recovery_runs);
}

static void random_histories_are_judged_as_the_tables_say(void **unused)
{
	begin_random(1);
	for (int round = 0; round < 5 * ROUNDS; round++) {
		struct qmr_verdict is, should;
		char history[HISTORY_MAX + 1], text[256];
		struct qmr_config config;
		struct qmr_state state;

		random_policy(&config);
		random_history(history, NULL, round % 2 ? HISTORY_MAX : 6);
		random_stage(&state);
		is = judge(history, &state, &config);
		decide(&should, history, &state, &config);
		if (state.stage == QMR_STAGE_SWITCHING)
			should.rungs = is.rungs; /* the document does not say how far a repeated switch may go */
		describe(text, history, &state, &config);
		check_verdict(text, &is, &should);
	}
}

/* Promise: no false alarm. Checked at each boot of the history, in every stage but that of a switch that was already decided. */
static void no_recovery_without_a_failure(void **unused)
{
	static const uint8_t stages[] = {QMR_STAGE_NONE, QMR_STAGE_HEALED, QMR_STAGE_PROBATION, QMR_STAGE_RECOVERING, QMR_STAGE_GIVEN_UP,
					 QMR_STAGE_FINAL};

	begin_random(2);
	for (int round = 0; round < ROUNDS; round++) {
		char history[HISTORY_MAX + 1];
		struct qmr_config config;
		struct qmr_state state;
		int probation = 0;

		random_policy(&config);
		random_history(history, "hHtBrznaAD", HISTORY_MAX);
		begin(&state);
		state.stage = stages[random_below(sizeof(stages))];
		state.recovery_runs = (uint8_t)random_below(12);
		for (const char *letter = history; *letter; letter++) {
			if (*letter == '|')
				probation = 1;
			else
				boot(&state, way_of(*letter), probation, config.crash_window_s, 0);
			if (qmr_assess(&state, &config).recover)
				fail_msg("round %d: '%s' leads to recovery at its boot %d", round, history, (int)(letter - history));
		}
	}
}

/* Promise: no machine that fails is overlooked, whatever came before, and what does not count may lie between. */
static void enough_failures_always_lead_to_recovery(void **unused)
{
	static const char failures[] = "pPWkdseEqxw", between[] = "znaAD";

	begin_random(3);
	for (int round = 0; round < ROUNDS; round++) {
		char history[2 * HISTORY_MAX], text[256];
		struct qmr_config config;
		struct qmr_state state;
		size_t length;

		random_policy(&config);
		config.mode = 1 + (int)random_below(4);
		length = random_history(history, NULL, HISTORY_MAX);
		random_stage(&state);
		state.stage = random_below(2) ? QMR_STAGE_NONE : QMR_STAGE_HEALED;
		for (int i = 0, room = QMR_STATE_ATTEMPTS - config.failures; i < config.failures; i++) {
			history[length++] = failures[random_below(sizeof(failures) - 1)];
			while (i + 1 < config.failures && room > 0 && random_below(3) == 0) {
				history[length++] = between[random_below(sizeof(between) - 1)];
				room--;
			}
		}
		history[length] = '\0';
		describe(text, history, &state, &config);
		if (!judge(history, &state, &config).recover || judge(history, &state, &config).rungs != QMR_RUNGS_ALL)
			fail_msg("round %d: %s: no recovery", round, text);
	}
}

/* "More evidence never makes recovery later": one boot of a history went worse than it did. */
static void worse_boots_never_make_recovery_later(void **unused)
{
	int recoveries = 0;

	begin_random(4);
	for (int round = 0; round < 2 * ROUNDS; round++) {
		char history[HISTORY_MAX + 2], text[256], was;
		struct qmr_verdict before, after;
		struct qmr_config config;
		struct qmr_state state;
		size_t length, at;
		enum effect effect, then;

		random_policy(&config);
		length = random_history(history, NULL, 20);
		random_stage(&state);
		at = length ? random_below((unsigned int)length) : 0;
		if (!length || history[at] == '|')
			continue;
		before = judge(history, &state, &config);
		was = history[at];
		effect = way_of(was)->effect;
		history[at] = ways[random_below(n_ways)].letter;
		then = way_of(history[at])->effect;
		after = judge(history, &state, &config);
		describe(text, history, &state, &config);
		recoveries += before.recover;
		/* A crash and a failure have rows of their own: neither is more than the other. */
		if (then == effect && memcmp(&before, &after, sizeof(before)))
			fail_msg("round %d: %s: for '%c' at %zu of the same kind the verdict was another", round, text, was, at);
		if (then > effect && effect != CRASH && before.recover &&
		    (!after.recover || (before.rungs == QMR_RUNGS_ALL && after.rungs != QMR_RUNGS_ALL)))
			fail_msg("round %d: %s: was to recover with '%c' at %zu", round, text, was, at);
		if (then < effect && then != CRASH && after.recover && !before.recover)
			fail_msg("round %d: %s: was not to recover with '%c' at %zu", round, text, was, at);
	}
	assert_in_range(recoveries, ROUNDS / 10, 2 * ROUNDS); /* it was about something */
}

static void another_failure_never_makes_recovery_later(void **unused)
{
	begin_random(5);
	for (int round = 0; round < 2 * ROUNDS; round++) {
		char history[HISTORY_MAX + 2], text[256];
		struct qmr_config config;
		struct qmr_state state;
		size_t length;

		random_policy(&config);
		/* As long as the ring remembers the run; what it forgets no rule can count. */
		length = random_history(history, NULL, QMR_STATE_ATTEMPTS - 1);
		random_stage(&state);
		if (!judge(history, &state, &config).recover)
			continue;
		history[length] = "pdsew"[random_below(5)];
		history[length + 1] = '\0';
		describe(text, history, &state, &config);
		if (!judge(history, &state, &config).recover)
			fail_msg("round %d: %s: was to recover before its last boot failed", round, text);
	}
}

static void no_clock_decides(void **unused)
{
	begin_random(6);
	for (int round = 0; round < ROUNDS; round++) {
		char history[HISTORY_MAX + 1];
		struct qmr_verdict first, second;
		struct qmr_state states[2];
		struct qmr_config config;
		size_t length;

		random_policy(&config);
		length = random_history(history, NULL, HISTORY_MAX);
		for (int which = 0; which < 2; which++) {
			begin(&states[which]);
			for (size_t i = 0, probation = 0; i < length; i++)
				if (history[i] == '|')
					probation = 1;
				else
					boot(&states[which], way_of(history[i]), (int)probation, config.crash_window_s,
					     which ? (uint64_t)random_below(0xffffffff) << random_below(33) : 1700000000 - i);
		}
		random_stage(&states[0]);
		states[1].stage = states[0].stage;
		states[1].switches = states[0].switches;
		states[1].recovery_runs = states[0].recovery_runs;
		first = qmr_assess(&states[0], &config);
		second = qmr_assess(&states[1], &config);
		check_verdict(history, &second, &first);
		assert_string_equal(first.why, second.why);
	}
}

/* Bytes of any value the decoder lets in, also such that no program of ours would write. */
static void every_state_has_a_verdict(void **unused)
{
	int accepted = 0;

	begin_random(7);
	for (int round = 0; round < 2 * ROUNDS; round++) {
		uint8_t bytes[QMR_STATE_BYTES];
		struct qmr_verdict verdict;
		struct qmr_config config;
		struct qmr_state state;
		uint32_t crc;

		begin(&state);
		qmr_state_encode(&state, bytes);
		for (size_t i = 12; i < 68; i++)
			bytes[i] = (uint8_t)random_below(i < 60 ? 256 : i == 66 ? 17 : 5);
		for (size_t i = 72; i < 456; i++)
			bytes[i] = (uint8_t)random_below((i - 72) % 24 == 12 ? 7 : (i - 72) % 24 == 13 ? 5 : (i - 72) % 24 == 15 ? 7 : 256);
		if (random_below(4) == 0)
			bytes[12 + random_below(444)] = (uint8_t)random_below(256);
		memset(bytes + 8, 0, 4);
		crc = qmr_crc32(0, bytes, sizeof(bytes));
		for (int i = 0; i < 4; i++)
			bytes[8 + i] = (uint8_t)(crc >> (8 * i));
		if (qmr_state_decode(bytes, sizeof(bytes), &state, NULL) < 0)
			continue;
		accepted++;
		random_policy(&config);
		verdict = qmr_assess(&state, &config);
		assert_non_null(verdict.why);
		assert_true(*verdict.why);
		assert_in_range(verdict.stage, 0, QMR_STAGE_HEALED);
		assert_true(verdict.recover == 0 || verdict.recover == 1);
		assert_false(verdict.recover && config.mode == QMR_MODE_OFF);
		assert_false(verdict.recover && (state.stage == QMR_STAGE_GIVEN_UP || state.stage == QMR_STAGE_FINAL));
		assert_in_range(verdict.run.failures + verdict.run.crashes + verdict.run.unknowns, 0, state.n_attempts);
	}
	assert_in_range(accepted, ROUNDS / 2, 2 * ROUNDS);
}

/* What boot-guard and recovery make of a verdict (docs/boot-state.md, "Stages"); recovery answers, or not, and never helps. */
static int switch_to_recovery(struct qmr_state *state, const struct qmr_config *config, int answers)
{
	if (state->stage == QMR_STAGE_NONE || state->stage == QMR_STAGE_HEALED)
		state->switches = state->recovery_runs = 0; /* a new incident */
	state->stage = QMR_STAGE_SWITCHING;
	state->switches++;
	if (!answers)
		return 0;
	state->switches = 0;
	state->recovery_runs++;
	if (state->recovery_runs >= config->recovery_runs && random_below(2))
		state->stage = QMR_STAGE_FINAL;
	else
		state->stage = random_below(4) ? QMR_STAGE_PROBATION : random_below(2) ? QMR_STAGE_RECOVERING : QMR_STAGE_FINAL;
	return 1;
}

static void recovery_that_never_helps_ends(void **unused)
{
	begin_random(8);
	for (int round = 0; round < 200; round++) {
		int switches = 0, runs = 0, quiet = 0, answering = (int)random_below(3); /* never, sometimes, always */
		struct qmr_config config;
		struct qmr_state state;

		random_policy(&config);
		config.mode = QMR_MODE_COLLECT + (int)random_below(3);
		begin(&state);
		for (int n = 0; n < 3000; n++) {
			struct qmr_verdict verdict;

			if (random_below(500) == 0) {
				boot(&state, way_of('h'), state.stage == QMR_STAGE_PROBATION, config.crash_window_s, 0);
				state.stage = state.stage == QMR_STAGE_PROBATION ? QMR_STAGE_HEALED : QMR_STAGE_NONE;
				switches = runs = quiet = 0;
				continue;
			}
			boot(&state, way_of("pPwdse"[random_below(6)]), state.stage == QMR_STAGE_PROBATION, config.crash_window_s, 0);
			verdict = qmr_assess(&state, &config);
			quiet = verdict.recover ? 0 : quiet + 1;
			if (!verdict.recover) {
				state.stage = (uint8_t)verdict.stage;
				/* It says so at once where it gave up, and else only waits for the row to be reached. */
				if (quiet > config.failures)
					assert_true(state.stage == QMR_STAGE_GIVEN_UP || state.stage == QMR_STAGE_FINAL);
				continue;
			}
			assert_false(state.stage == QMR_STAGE_GIVEN_UP || state.stage == QMR_STAGE_FINAL);
			switches++;
			runs += switch_to_recovery(&state, &config, answering == 2 || (answering == 1 && random_below(2)));
			assert_true(runs <= config.recovery_runs);
			assert_true(switches <= runs * QMR_SWITCHES_MAX + QMR_SWITCHES_MAX);
			if (answering == 2)
				assert_int_equal(switches, runs);
			if (answering == 0)
				assert_true(switches <= QMR_SWITCHES_MAX);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_histories_are_judged_as_the_tables_say),
		cmocka_unit_test(no_recovery_without_a_failure),
		cmocka_unit_test(enough_failures_always_lead_to_recovery),
		cmocka_unit_test(worse_boots_never_make_recovery_later),
		cmocka_unit_test(another_failure_never_makes_recovery_later),
		cmocka_unit_test(no_clock_decides),
		cmocka_unit_test(every_state_has_a_verdict),
		cmocka_unit_test(recovery_that_never_helps_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
