/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fetch-time.h"

#define BUILT 1790000000
#define PROVEN (BUILT + 86400 * 30)
#define IN_2099 4070908800

static void is(int64_t clock, int64_t built, int64_t proven, int64_t expected, const char *from)
{
	struct qmr_fetch_time time = qmr_fetch_time_choose(clock, built, proven);

	assert_int_equal(time.unix_s, expected);
	assert_string_equal(time.from, from);
	assert_int_equal(time.clock_unix_s, clock);
	assert_int_equal(time.is_floor, strcmp(from, "clock") != 0);
}

static void a_clock_within_bounds_counts(void **unused)
{
	is(BUILT, BUILT, 0, BUILT, "clock");
	is(BUILT + 5, BUILT, 0, BUILT + 5, "clock");
	is(PROVEN, BUILT, PROVEN, PROVEN, "clock");
	is(BUILT + QMR_FETCH_CLOCK_AHEAD_MAX_S, BUILT, 0, BUILT + QMR_FETCH_CLOCK_AHEAD_MAX_S,
	   "clock");
	is(PROVEN + QMR_FETCH_CLOCK_AHEAD_MAX_S, BUILT, PROVEN,
	   PROVEN + QMR_FETCH_CLOCK_AHEAD_MAX_S, "clock");
}

static void a_clock_that_is_behind_does_not(void **unused)
{
	is(0, BUILT, 0, BUILT, "image");
	is(-5, BUILT, 0, BUILT, "image");
	is(BUILT - 1, BUILT, 0, BUILT, "image");
	is(0, BUILT, PROVEN, PROVEN, "metadata");
	is(BUILT + 5, BUILT, PROVEN, PROVEN, "metadata");
	is(0, 0, PROVEN, PROVEN, "metadata");
	is(0, PROVEN, BUILT, PROVEN, "image");
}

static void a_clock_that_is_far_ahead_does_not(void **unused)
{
	is(IN_2099, BUILT, 0, BUILT, "image");
	is(IN_2099, BUILT, PROVEN, PROVEN, "metadata");
	is(BUILT + QMR_FETCH_CLOCK_AHEAD_MAX_S + 1, BUILT, 0, BUILT, "image");
	is(INT64_MAX, BUILT, 0, BUILT, "image");
}

static void without_a_floor_there_is_only_the_clock(void **unused)
{
	is(0, 0, 0, 0, "clock");
	is(IN_2099, 0, 0, IN_2099, "clock");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_clock_within_bounds_counts),
		cmocka_unit_test(a_clock_that_is_behind_does_not),
		cmocka_unit_test(a_clock_that_is_far_ahead_does_not),
		cmocka_unit_test(without_a_floor_there_is_only_the_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
