/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "floor-report.h"
#include "tree.h"

static const struct qmr_floor untouched = {1, 2, 3, 4, 5, 6};

static int read_it(const char *text, struct qmr_floor *ret)
{
	*ret = untouched;
	put(QMR_FLOOR_REPORT, text);
	return qmr_floor_read_report(root_fd, ret, NULL);
}

/* As remediation-fetch writes it, whatever became of the run. */
static void what_a_run_saw(void **unused)
{
	static const struct qmr_floor seen = {0x0123456789abcdef, 0xfedcba9876543210, 2, 41, 40, 12};
	struct qmr_floor floor;

	assert_int_equal(read_it("{\"schema\": 1, \"result\": \"refused\", \"error\": \"old\", \"floor\": "
				 "\"0123456789abcdef:fedcba9876543210:2:41:40:12\", \"plans\": []}", &floor), 0);
	assert_memory_equal(&floor, &seen, sizeof(floor));
}

static void nothing_new(void **unused)
{
	static const char *const texts[] = {"{\"schema\": 1, \"floor\": null}", "{\"schema\": 1}", "{\"floor\": 7}"};
	struct qmr_floor floor;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		assert_int_equal(read_it(texts[i], &floor), -ENODATA);
		assert_memory_equal(&floor, &untouched, sizeof(floor));
	}
}

static void what_is_damaged_says_nothing(void **unused)
{
	static const char *const texts[] = {"", "{\"floor\": \"0123456789abcdef:fedcba9876543210:2:41:40:12\"", "[]",
					    "{\"floor\": \"0123456789abcdef:fedcba9876543210:2:41:40\"}",
					    "{\"floor\": \"0123456789abcdef:fedcba9876543210:2:41:40:-1\"}", "{\"floor\": \"\"}"};
	struct qmr_floor floor;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		if (read_it(texts[i], &floor) != -EINVAL)
			fail_msg("taken: %s", texts[i]);
		assert_memory_equal(&floor, &untouched, sizeof(floor));
	}
}

static void no_report(void **unused)
{
	struct qmr_floor floor;

	assert_int_equal(qmr_floor_read_report(root_fd, &floor, NULL), -ENOENT);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_a_run_saw, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(nothing_new, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(what_is_damaged_says_nothing, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(no_report, make_folder, remove_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
