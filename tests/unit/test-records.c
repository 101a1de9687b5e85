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

#include "file.h"
#include "records.h"

static int64_t crash_uptime_s;

static int find_new(int dir, struct qmr_state *s)
{
	struct qmr_evidence evidence = {.crash_uptime_s = -1};

	qmr_records_find_new(dir, s, &evidence);
	crash_uptime_s = evidence.crash_uptime_s;
	return evidence.panic;
}

static void records_count_once(void **unused)
{
	char folder[] = "/tmp/qmr-test-records-XXXXXX";
	struct qmr_state s;
	int dir;

	qmr_state_init(&s, NULL);
	assert_non_null(mkdtemp(folder));
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(find_new(dir, &s), 0);
	assert_int_equal(qmr_file_replace(dir, "dmesg-efi-179000000001001", "Oops#1 Part1\n", 13, 0600, NULL), 0);
	assert_int_equal(find_new(dir, &s), 0);
	assert_int_equal(qmr_file_replace(dir, "dmesg-efi-179000000001002", "Panic#2 Part1\n", 14, 0600, NULL), 0);
	assert_int_equal(qmr_file_replace(dir, "dmesg-efi-179000000002002", "Panic#2 Part2\n", 14, 0600, NULL), 0);
	assert_int_equal(find_new(dir, &s), 1);
	assert_int_equal(s.records[1], 0); /* two parts, one dump */
	assert_int_equal(find_new(dir, &s), 0);
	assert_int_equal(qmr_file_replace(dir, "dmesg-efi-179000100001002", "Panic#2 Part1\n", 14, 0600, NULL), 0);
	assert_int_equal(find_new(dir, &s), 1);
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
	assert_int_equal(find_new(dir, &state), 1);
	again = find_new(dir, &state);
	close(dir);
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, folder, NULL), 0);
	assert_int_equal(again, 0);
}

/* A clock without a battery: the same name at each boot, another text. */
static void the_same_name_again(void **unused)
{
	static const char *const texts[] = {"Panic#1 Part1\n<4>[   12.000001] a\n", "Panic#1 Part1\n<4>[   12.000002] a\n"};
	char folder[] = "/tmp/qmr-records-XXXXXX";
	int dir, found[4];
	struct qmr_state s;

	qmr_state_init(&s, NULL);
	assert_non_null(mkdtemp(folder));
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(qmr_file_replace(dir, "dmesg-efi-000000100001001", texts[i], strlen(texts[i]), 0600, NULL), 0);
		found[2 * i] = find_new(dir, &s);
		found[2 * i + 1] = find_new(dir, &s);
	}
	close(dir);
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, folder, NULL), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(found[i], i % 2 == 0);
}

static void uptime(void **unused)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} cases[] = {
		{"", -1}, {"Panic#1 Part1\n", -1}, {"Panic#1 Part1\n<4>[    7.123456] a\n<4>[   12.000001] b\n", 12},
		{"<0>[  130.999999][  T99] x\n", 130}, {"[12.5] [a.123456] [ 1234]", -1}, {"<4>[99999.123456] cut [", 99999},
		{"[99999999999.123456]", -1}, {"[ 5.123456", -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (qmr_records_uptime(cases[i].text) != cases[i].seconds)
			fail_msg("'%s'", cases[i].text);
}

/* The parts of one dump, the newest messages in part 1, whose time is the earliest; an older dump beside it says nothing about this crash. */
static void uptime_of_the_newest_dump(void **unused)
{
	static const struct {
		const char *name, *text;
	} files[] = {
		{"dmesg-efi-179000000001001", "Panic#1 Part1\n<4>[ 500.000000] old\n"},
		{"dmesg-efi-179000100001002", "Panic#1 Part1\n<4>[  40.000000] end\n"},
		{"dmesg-efi-179000100002002", "Panic#1 Part2\n<4>[  39.000000] before\n"},
		{"dmesg-efi-179000100103002", "Panic#1 Part3\n<4>[  38.000000] a second later\n"},
	};
	char folder[] = "/tmp/qmr-records-XXXXXX";
	struct qmr_state s;
	int dir, found;

	qmr_state_init(&s, NULL);
	assert_non_null(mkdtemp(folder));
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		assert_int_equal(qmr_file_replace(dir, files[i].name, files[i].text, strlen(files[i].text), 0600, NULL), 0);
	found = find_new(dir, &s);
	close(dir);
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, folder, NULL), 0);
	assert_int_equal(found, 1);
	assert_int_equal(crash_uptime_s, 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_count_once),
		cmocka_unit_test(records_that_stay_are_counted_once),
		cmocka_unit_test(the_same_name_again),
		cmocka_unit_test(uptime),
		cmocka_unit_test(uptime_of_the_newest_dump),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
