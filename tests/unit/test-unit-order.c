/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tree.h"
#include "unit-order.h"

#define WANTS "etc/systemd/system/multi-user.target.wants/"
#define UNITS "usr/lib/systemd/system/"

static int add(void *data, const char *unit, struct qmr_error *err)
{
	strcat(strcat(data, unit), " ");
	return 0;
}

static const char *found(void)
{
	static char names[4096];

	names[0] = '\0';
	assert_int_equal(qmr_unit_order_find(root_fd, add, names, NULL), 0);
	return names;
}

static void unit(const char *name, const char *text)
{
	char path[300];

	snprintf(path, sizeof(path), UNITS "%s", name);
	put(path, text);
}

static void wanted(const char *name, const char *text)
{
	char path[300];

	snprintf(path, sizeof(path), WANTS "%s", name);
	put(path, "");
	unit(name, text);
}

static void test_each_way_to_say_it(void **state)
{
	static const struct {
		const char *text;
		int found;
	} cases[] = {
		{"[Unit]\nAfter=boot-complete.target\n", 1},
		{"[Unit]\nAfter=a.service\tboot-complete.target b.service\n", 1},
		{"[Unit]\nAfter=a.service \\\n  boot-complete.target\n", 1},
		{"[Unit]\nAfter=a.service\nAfter=boot-complete.target\n", 1},
		{"[Unit]\nAfter=boot-complete.target\nDefaultDependencies=no\nDefaultDependencies=yes\n", 1},
		{"", 0},
		{"[Unit]\nRequires=boot-complete.target\n", 0},
		{"[Unit]\nBefore=boot-complete.target\n", 0},
		{"[Service]\nAfter=boot-complete.target\n", 0},
		{"[Unit]\nAfter=boot-complete.targets not-boot-complete.target\n", 0},
		{"[Unit]\n#After=boot-complete.target\n", 0},
		{"[Unit]\nAfter=boot-complete.target\nAfter=\n", 0},
		{"[Unit]\nAfter=boot-complete.target multi-user.target\n", 0},
		{"[Unit]\nAfter=boot-complete.target\nBefore=multi-user.target\n", 0},
		{"[Unit]\nAfter=boot-complete.target\nDefaultDependencies=no\n", 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		wanted("x.service", cases[i].text);
		assert_string_equal(found(), cases[i].found ? "x.service " : "");
	}
}

static void test_one_behind_another(void **state)
{
	wanted("c.service", "[Unit]\nAfter=b.service\n");
	wanted("b.service", "[Unit]\nAfter=a.service\n");
	assert_string_equal(found(), "");
	wanted("a.service", "[Unit]\nAfter=boot-complete.target multi-user.target\n"); /* needs nothing, those behind it do */
	assert_non_null(strstr(found(), "b.service "));
	assert_non_null(strstr(found(), "c.service "));
	assert_null(strstr(found(), "a.service "));
	wanted("a.service", "[Unit]\nAfter=c.service\n"); /* a cycle of the owner's */
	assert_string_equal(found(), "");
}

static void test_where_it_stands(void **state)
{
	unit("idle.service", "[Unit]\nAfter=boot-complete.target\n"); /* installed, not enabled */
	put(WANTS "missing.service", "");
	assert_string_equal(found(), "");
	put(UNITS "multi-user.target.requires/idle.service", "");
	assert_string_equal(found(), "idle.service ");
	put("etc/systemd/system/idle.service", "[Unit]\n"); /* hides the vendor's */
	assert_string_equal(found(), "");
	put("usr/lib/systemd/system/idle.service.d/10-x.conf", "[Unit]\nAfter=boot-complete.target\n");
	assert_string_equal(found(), "idle.service ");
	put("etc/systemd/system/idle.service.d/10-x.conf", "");
	assert_string_equal(found(), "");
	unit("t@.service", "[Unit]\nAfter=boot-complete.target\n");
	put(WANTS "t@one.service", "");
	assert_string_equal(found(), "t@one.service ");
	put("etc/systemd/system/t@one.service.d/x.conf", "[Unit]\nAfter=multi-user.target\n");
	assert_string_equal(found(), "");
}

static void test_only_where_checks_are_enabled(void **state)
{
	assert_false(qmr_unit_order_is_ours(root_fd));
	unit("qmr-checks.service", "");
	assert_false(qmr_unit_order_is_ours(root_fd));
	put("etc/systemd/system/boot-complete.target.requires/qmr-checks.service", "");
	assert_true(qmr_unit_order_is_ours(root_fd));
}

static void test_too_many(void **state)
{
	char path[128], names[64];

	for (int i = 0; i <= QMR_UNIT_ORDER_MAX; i++) {
		snprintf(path, sizeof(path), WANTS "%d.service", i);
		put(path, "");
	}
	assert_int_equal(qmr_unit_order_find(root_fd, add, names, NULL), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_way_to_say_it, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_one_behind_another, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_where_it_stands, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_only_where_checks_are_enabled, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_too_many, make_folder, remove_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
