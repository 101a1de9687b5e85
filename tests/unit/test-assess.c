/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "assess.h"

/*
 * One letter an attempt, oldest first: H healthy, C clean, P panic, N hang, E emergency, U unknown, p panic after
 * healthy, s the same soon after it, W waiting for a passphrase, A emergency with somebody there.
 */
static struct qmr_state history(const char *letters)
{
	static const char codes[] = "HCPNEUpsWA";
	static const struct qmr_attempt attempts[] = {
		{.outcome = QMR_HEALTHY, .phase = QMR_PHASE_HEALTHY}, {.outcome = QMR_CLEAN_SHUTDOWN},
		{.outcome = QMR_PANIC}, {.outcome = QMR_HANG}, {.outcome = QMR_EMERGENCY}, {.outcome = QMR_UNKNOWN},
		{.outcome = QMR_PANIC, .phase = QMR_PHASE_HEALTHY},
		{.outcome = QMR_PANIC, .phase = QMR_PHASE_HEALTHY, .flags = QMR_ATTEMPT_SOON},
		{.outcome = QMR_UNKNOWN, .phase = QMR_PHASE_WAITING}, {.outcome = QMR_EMERGENCY, .flags = QMR_ATTEMPT_ATTENDED}};
	struct qmr_state s;

	qmr_state_init(&s, NULL);
	for (; *letters; letters++)
		qmr_assess_add_attempt(&s, &attempts[strchr(codes, *letters) - codes]);
	return s;
}

static struct qmr_config policy(void)
{
	struct qmr_config c;

	qmr_config_defaults(&c);
	return c;
}

static void table(void **unused)
{
	static const struct {
		const char *history;
		int recover;
	} cases[] = {
		{"", 0}, {"H", 0}, {"P", 0}, {"PP", 1}, {"HPP", 1}, {"PPH", 0}, {"PHP", 0}, {"PCP", 1}, {"PUP", 1},
		{"NE", 1}, {"UUU", 0}, {"UUUU", 1}, {"CCCCCCCC", 0}, {"HpHp", 0}, {"pp", 0}, {"ss", 1}, {"Hs", 0}, {"sHs", 0}, {"sP", 1},
		{"WWWWWWWW", 0}, {"AAAAAAAA", 0}, {"PPU", 1}, {"PPC", 1},
		{"PPPPPPPPPPPPPPPPPPPPPPPPPPP", 1},
	};
	struct qmr_config c = policy();

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_state s = history(cases[i].history);

		if (qmr_assess(&s, &c).recover != cases[i].recover)
			fail_msg("history '%s'", cases[i].history);
	}
}

static void random_history(unsigned int *seed, const char *letters, char *ret, size_t max)
{
	size_t n = (size_t)rand_r(seed) % max;

	for (size_t i = 0; i < n; i++)
		ret[i] = letters[(size_t)rand_r(seed) % strlen(letters)];
	ret[n] = '\0';
}

/* No false alarm: nothing but healthy, clean, waiting and attended boots never leads to recovery. */
static void never_without_a_counted_failure(void **unused)
{
	struct qmr_config c = policy();
	unsigned int seed = 1;

	for (int i = 0; i < 20000; i++) {
		struct qmr_state s;
		char h[64];

		random_history(&seed, "HCWAp", h, sizeof(h));
		s = history(h);
		assert_int_equal(qmr_assess(&s, &c).recover, 0);
	}
}

/* N counted failures in a row always do, whatever came before; one more failure never takes it back. */
static void always_after_failures_in_a_row(void **unused)
{
	unsigned int seed = 2;

	for (int i = 0; i < 20000; i++) {
		struct qmr_config c = policy();
		struct qmr_state s;
		char h[80];

		c.failures = 1 + (int)((unsigned int)rand_r(&seed) % 5);
		random_history(&seed, "HCUPNEp", h, 40);
		for (int n = 0; n < c.failures; n++)
			strcat(h, (const char *[]){"P", "N", "E"}[rand_r(&seed) % 3]);
		s = history(h);
		assert_int_equal(qmr_assess(&s, &c).recover, 1);
		strcat(h, "P");
		s = history(h);
		assert_int_equal(qmr_assess(&s, &c).recover, 1);
	}
}

static void switches_have_an_end(void **unused)
{
	struct qmr_config c = policy();
	struct qmr_state s = history("PP");
	struct qmr_verdict v;

	s.stage = QMR_STAGE_SWITCHING;
	s.switches = 1;
	assert_int_equal(qmr_assess(&s, &c).recover, 1);
	s.switches = 2;
	v = qmr_assess(&s, &c);
	assert_int_equal(v.recover, 0);
	assert_int_equal(v.stage, QMR_STAGE_GIVEN_UP);
	s.stage = QMR_STAGE_GIVEN_UP;
	assert_int_equal(qmr_assess(&s, &c).recover, 0);
	s.stage = QMR_STAGE_FINAL;
	assert_int_equal(qmr_assess(&s, &c).recover, 0);
}

static void probation_needs_one_failure_and_runs_have_an_end(void **unused)
{
	struct qmr_config c = policy();
	struct qmr_state s = history("PP");
	struct qmr_attempt failed = {.outcome = QMR_PANIC, .flags = QMR_ATTEMPT_PROBATION};

	s.stage = QMR_STAGE_PROBATION;
	s.recovery_runs = 1;
	assert_int_equal(qmr_assess(&s, &c).recover, 0);
	qmr_assess_add_attempt(&s, &failed);
	assert_int_equal(qmr_assess(&s, &c).recover, 1);
	s.recovery_runs = 3;
	assert_int_equal(qmr_assess(&s, &c).recover, 0);
	assert_int_equal(qmr_assess(&s, &c).stage, QMR_STAGE_GIVEN_UP);
	s.recovery_runs = 0;
	c.mode = QMR_MODE_OFF;
	assert_int_equal(qmr_assess(&s, &c).recover, 0);
}

static void close_last(struct qmr_state *s, int panic)
{
	const struct qmr_evidence evidence = {.panic = panic, .crash_uptime_s = -1};

	qmr_state_close_last(s, &evidence, 120);
}

static void outcomes(void **unused)
{
	struct qmr_state s = history("");
	struct qmr_attempt open_attempt = {.outcome = QMR_OPEN};

	close_last(&s, 1);
	assert_int_equal(s.n_attempts, 0);
	qmr_assess_add_attempt(&s, &open_attempt);
	close_last(&s, 0);
	assert_int_equal(s.attempts[0].outcome, QMR_UNKNOWN);
	close_last(&s, 1);
	assert_int_equal(s.attempts[0].outcome, QMR_PANIC);
	s = history("H");
	close_last(&s, 0);
	assert_int_equal(s.attempts[0].outcome, QMR_HEALTHY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(never_without_a_counted_failure),
		cmocka_unit_test(always_after_failures_in_a_row),
		cmocka_unit_test(switches_have_an_end),
		cmocka_unit_test(probation_needs_one_failure_and_runs_have_an_end),
		cmocka_unit_test(outcomes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
