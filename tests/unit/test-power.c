/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "power.h"
#include "tree.h"

static void battery(const char *name, const char *capacity)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/type", name);
	put(path, "Battery\n");
	snprintf(path, sizeof(path), "%s/capacity", name);
	put(path, capacity);
}

static void expect(int percent, int enough, const char *why)
{
	struct qmr_error err = {0};

	assert_int_equal(qmr_power_is_enough(root_fd, percent, &err), enough);
	if (!strstr(err.text, why))
		fail_msg("'%s' does not say '%s'", err.text, why);
}

static void no_battery(void **unused)
{
	struct qmr_error err = {0};

	expect(100, 1, "");
	assert_int_equal(qmr_power_is_enough(-1, 100, &err), 1);
	put("AC/type", "Mains\n");
	put("AC/online", "0\n");
	expect(100, 1, "");
}

static void mains(void **unused)
{
	battery("BAT0", "3\n");
	put("AC/type", "Mains\n");
	put("AC/online", "1\n");
	expect(30, 1, "");
	put("AC/online", "0\n");
	expect(30, 0, "at 3 %; at least 30 %");
	put("ucsi/type", "USB\n");
	put("ucsi/online", "1\n");
	expect(30, 1, "");
}

static void the_lowest_counts(void **unused)
{
	battery("BAT0", "80\n");
	expect(30, 1, "");
	expect(80, 1, "");
	expect(81, 0, "at 80 %");
	battery("BAT1", "29\n");
	expect(30, 0, "at 29 %");
	battery("BAT1", "\n");
	expect(0, 0, "does not say");
	put("BAT1/present", "0\n");
	expect(30, 1, "");
	battery("BAT0", "full\n");
	expect(0, 0, "does not say");
}

static void not_its_own(void **unused)
{
	battery("hidpp_battery_0", "1\n");
	put("hidpp_battery_0/scope", "Device\n");
	expect(100, 1, "");
	battery("BAT0", "50\n");
	put("ups/type", "UPS\n");
	put("ups/online", "1\n");
	expect(60, 0, "at 50 %");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(no_battery), TEST(mains), TEST(the_lowest_counts), TEST(not_its_own)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
