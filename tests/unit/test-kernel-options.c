/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel-options.h"

#define CMDLINE QMR_OPTIONS_CMDLINE
#define ENTRY QMR_OPTIONS_ENTRY
#define OURS "qmr.panic panic=10"

static void check(const char *from, enum qmr_options_form form, int seconds, const char *to)
{
	char *text = qmr_options_set_panic(from, form, seconds);

	assert_non_null(text);
	assert_string_equal(text, to);
	free(text);
}

/* Each is added to, then left alone, then taken back to what it was. */
static void test_added_and_taken_back(void **state)
{
	static const struct {
		const char *from, *to;
		enum qmr_options_form form;
	} cases[] = {
		{"root=/dev/vda ro\n", "root=/dev/vda ro " OURS "\n", CMDLINE},
		{"root=/dev/vda ro", "root=/dev/vda ro " OURS, CMDLINE},
		{"root=/dev/vda\nquiet\n", "root=/dev/vda\nquiet " OURS "\n", CMDLINE},
		{"# panic=5 once\nroot=/dev/vda\n# end\n", "# panic=5 once\nroot=/dev/vda " OURS "\n# end\n", CMDLINE},
		{"# nothing\n", "# nothing\n" OURS "\n", CMDLINE},
		{"", OURS "\n", CMDLINE},
		{"ro -- panic=3\n", "ro " OURS " -- panic=3\n", CMDLINE},
		{"ro foo=\"a panic=3 b\"\n", "ro foo=\"a panic=3 b\" " OURS "\n", CMDLINE},
		{"ro notpanic=3 xpanic panic\n", "ro notpanic=3 xpanic panic " OURS "\n", CMDLINE},
		{"title panic=4\nlinux /vmlinuz\noptions root=/dev/vda\ninitrd /initrd\n",
		 "title panic=4\nlinux /vmlinuz\noptions root=/dev/vda " OURS "\ninitrd /initrd\n", ENTRY},
		{"options\ta\nlinux /v\n  options   b\n", "options\ta\nlinux /v\n  options   b " OURS "\n", ENTRY},
		{"options a -- b\noptions c\n", "options a " OURS " -- b\noptions c\n", ENTRY},
		{"linux /v\n", "linux /v\noptions " OURS "\n", ENTRY},
		{"linux /v\noptionsx a\n", "linux /v\noptionsx a\noptions " OURS "\n", ENTRY},
		{"a \"b panic=1\n", "a " OURS " \"b panic=1\n", CMDLINE},
		{"options a\r\nlinux /v\r\n", "options a " OURS "\r\nlinux /v\r\n", ENTRY},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		check(cases[i].from, cases[i].form, 10, cases[i].to);
		check(cases[i].to, cases[i].form, 10, cases[i].to);
		check(cases[i].to, cases[i].form, 0, cases[i].from);
		check(cases[i].from, cases[i].form, 0, cases[i].from);
	}
}

static void test_owners_stays(void **state)
{
	static const struct {
		const char *text;
		enum qmr_options_form form;
	} cases[] = {
		{"root=/dev/vda panic=30\n", CMDLINE},     {"panic=10", CMDLINE},	{"a\npanic=0 b\n", CMDLINE},
		{"options panic=1\noptions b\n", ENTRY}, {"options a\noptions b panic=\n", ENTRY},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		for (int seconds = 0; seconds < 20; seconds += 10)
			check(cases[i].text, cases[i].form, seconds, cases[i].text);
}

static void test_changes(void **state)
{
	/* kernel-install(8) adds words behind ours. */
	check("options a " OURS " systemd.machine_id=1\n", ENTRY, 10, "options a " OURS " systemd.machine_id=1\n");
	check("options a " OURS " systemd.machine_id=1\n", ENTRY, 0, "options a systemd.machine_id=1\n");
	check(OURS " b\n", CMDLINE, 0, "b\n");
	/* Another time-out; an owner who has added one since; ours twice. */
	check("a " OURS " b\n", CMDLINE, 20, "a b qmr.panic panic=20\n");
	check("a " OURS " panic=5\n", CMDLINE, 10, "a panic=5\n");
	check("options " OURS "\noptions " OURS " b\n", ENTRY, 0, "options b\n");
	/* The mark alone is nobody's. */
	check("a qmr.panic b panic=10\n", CMDLINE, 0, "a qmr.panic b panic=10\n");
}

static void test_find(void **state)
{
	struct qmr_options_panic panic;

	qmr_options_find_panic("a " OURS " b", CMDLINE, &panic);
	assert_int_equal(panic.own, 10);
	assert_int_equal(panic.other, 0);
	qmr_options_find_panic("a panic=3 b", CMDLINE, &panic);
	assert_int_equal(panic.own, -1);
	assert_int_equal(panic.other, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_added_and_taken_back),
		cmocka_unit_test(test_owners_stays),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_find),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
