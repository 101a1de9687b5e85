/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "assess.h"
#include "file.h"
#include "records.h"

/* One letter an attempt, oldest first: H healthy, C clean, P panic, N hang, E emergency, U unknown, p panic after healthy. */
static struct qmr_state history(const char *letters)
{
	static const char codes[] = "HCPNEUp";
	static const struct qmr_attempt attempts[] = {
		{.outcome = QMR_HEALTHY, .phase = QMR_PHASE_HEALTHY}, {.outcome = QMR_CLEAN_SHUTDOWN},
		{.outcome = QMR_PANIC}, {.outcome = QMR_HANG}, {.outcome = QMR_EMERGENCY}, {.outcome = QMR_UNKNOWN},
		{.outcome = QMR_PANIC, .phase = QMR_PHASE_HEALTHY}};
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
		{"NE", 1}, {"UUUUUUUU", 0}, {"CCCCCCCC", 0}, {"HpHp", 0}, {"pp", 0}, {"PPU", 1}, {"PPC", 1},
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

/* No false alarm: nothing but healthy, clean and unknown boots never leads to recovery. */
static void never_without_a_counted_failure(void **unused)
{
	struct qmr_config c = policy();
	unsigned int seed = 1;

	for (int i = 0; i < 20000; i++) {
		struct qmr_state s;
		char h[64];

		random_history(&seed, "HCUp", h, sizeof(h));
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

static void outcomes(void **unused)
{
	struct qmr_state s = history("");
	struct qmr_attempt open_attempt = {.outcome = QMR_OPEN};

	qmr_state_close_last(&s, 1);
	assert_int_equal(s.n_attempts, 0);
	qmr_assess_add_attempt(&s, &open_attempt);
	qmr_state_close_last(&s, 0);
	assert_int_equal(s.attempts[0].outcome, QMR_UNKNOWN);
	qmr_state_close_last(&s, 1);
	assert_int_equal(s.attempts[0].outcome, QMR_PANIC);
	s = history("H");
	qmr_state_close_last(&s, 0);
	assert_int_equal(s.attempts[0].outcome, QMR_HEALTHY);
}

static void records_count_once(void **unused)
{
	char folder[] = "/tmp/qmr-test-records-XXXXXX";
	struct qmr_state s = history("");
	int dir;

	assert_non_null(mkdtemp(folder));
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(qmr_records_find_new(dir, &s), 0);
	assert_int_equal(qmr_file_replace(dir, "dmesg-efi-179000000001001", "Oops#1 Part1\n", 13, 0600, NULL), 0);
	assert_int_equal(qmr_records_find_new(dir, &s), 0);
	assert_int_equal(qmr_file_replace(dir, "dmesg-efi-179000000001002", "Panic#2 Part1\n", 14, 0600, NULL), 0);
	assert_int_equal(qmr_file_replace(dir, "dmesg-efi-179000000002002", "Panic#2 Part2\n", 14, 0600, NULL), 0);
	assert_int_equal(qmr_records_find_new(dir, &s), 1);
	assert_int_equal(s.records[1], 0); /* two parts, one dump */
	assert_int_equal(qmr_records_find_new(dir, &s), 0);
	assert_int_equal(qmr_file_replace(dir, "dmesg-efi-179000100001002", "Panic#2 Part1\n", 14, 0600, NULL), 0);
	assert_int_equal(qmr_records_find_new(dir, &s), 1);
	close(dir);
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, folder, NULL), 0);
}

/* More records than are remembered, and a firmware that does not let go of them: they are counted once. */
static void records_that_stay_are_counted_once(void **unused)
{
	char folder[] = "/tmp/qmr-records-XXXXXX", path[128];
	struct qmr_state state;
	int dir, again;

	assert_non_null(mkdtemp(folder));
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	for (int i = 0; i < QMR_STATE_RECORDS + 1; i++) {
		snprintf(path, sizeof(path), "%s/dmesg-efi-17900%05d01001", folder, 10 * i);
		assert_int_equal(qmr_file_replace(AT_FDCWD, path, "Panic#1 Part1", 13, 0600, NULL), 0);
	}
	qmr_state_init(&state, NULL);
	assert_int_equal(qmr_records_find_new(dir, &state), 1);
	again = qmr_records_find_new(dir, &state);
	close(dir);
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, folder, NULL), 0);
	assert_int_equal(again, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_that_stay_are_counted_once), cmocka_unit_test(table),
		cmocka_unit_test(never_without_a_counted_failure),
		cmocka_unit_test(always_after_failures_in_a_row),
		cmocka_unit_test(switches_have_an_end),
		cmocka_unit_test(probation_needs_one_failure_and_runs_have_an_end),
		cmocka_unit_test(outcomes),
		cmocka_unit_test(records_count_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
