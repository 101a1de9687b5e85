/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "greenboot-conf.h"

static void names_as_bash_reads_them(void **unused)
{
	/* The second column is what `bash -c '. ./greenboot.conf; printf "<%s>" "${DISABLED_HEALTHCHECKS[@]}"'` prints. */
	static const struct {
		const char *text, *names;
	} cases[] = {
		{"", ""},
		{"GREENBOOT_WATCHDOG_CHECK_ENABLED=true\nDISABLED_HEALTHCHECKS=()\n", ""},
		{"DISABLED_HEALTHCHECKS=(\"a.sh\" 'b c.sh' d.sh)\n", "<a.sh><b c.sh><d.sh>"},
		{"DISABLED_HEALTHCHECKS=(\n\t\"01_a.sh\" # not \"x.sh\"\n# y.sh )\n\t02_b.sh\n)\nA=1\n", "<01_a.sh><02_b.sh>"},
		{"### DISABLED_HEALTHCHECKS=(\n### \"a.sh\"\n### )\nDISABLED_HEALTHCHECKS=( \"b.sh\")", "<b.sh>"},
		{"DISABLED_HEALTHCHECKS=(a.sh)\nDISABLED_HEALTHCHECKS+=(b.sh)\n", "<a.sh><b.sh>"},
		{"DISABLED_HEALTHCHECKS=(a.sh)\n  DISABLED_HEALTHCHECKS=(b.sh)\n", "<b.sh>"},
		{"DISABLED_HEALTHCHECKS=a.sh\n", "<a.sh>"},
		{"DISABLED_HEALTHCHECKS=\"a b.sh\"\n", "<a b.sh>"},
		{"DISABLED_HEALTHCHECKS=(a\\ b.sh \"c\\\"d\" 'e\\f' \"g\"'h'i \"j\\\nk\" l\\\nm)\n", "<a b.sh><c\"d><e\\f><ghi><jk><lm>"},
		{"DISABLED_HEALTHCHECKS=('$(touch x)' \"\\$y\" \\`z)\n", "<$(touch x)><$y><`z>"},
		{"DISABLED_HEALTHCHECKS=(a#b.sh #c\n)\n", "<a#b.sh>"},
		{"DISABLED_HEALTHCHECKSX=(a.sh)\nMY_DISABLED_HEALTHCHECKS=(b.sh)\n", ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_greenboot_names names = {0};
		char joined[256] = "";

		assert_int_equal(qmr_greenboot_conf_parse("greenboot.conf", cases[i].text, &names, NULL), 0);
		for (size_t k = 0; k < names.n; k++)
			snprintf(joined + strlen(joined), sizeof(joined) - strlen(joined), "<%s>", names.names[k]);
		assert_string_equal(joined, cases[i].names);
		qmr_greenboot_names_done(&names);
	}
}

static void what_only_a_shell_could_read_is_named(void **unused)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"\nDISABLED_HEALTHCHECKS=($(reboot))\n", "greenboot.conf:2: DISABLED_HEALTHCHECKS: only a shell"},
		{"DISABLED_HEALTHCHECKS=(\"$A\")\n", "only a shell"},
		{"DISABLED_HEALTHCHECKS=(`reboot`)\n", "only a shell"},
		{"DISABLED_HEALTHCHECKS=(a.sh\n\"b.sh\n", "greenboot.conf:3: DISABLED_HEALTHCHECKS: a quote without an end"},
		{"DISABLED_HEALTHCHECKS=('a.sh\n)\n", "a quote without an end"},
		{"DISABLED_HEALTHCHECKS=(a.sh\n", "a list without an end"},
		{"DISABLED_HEALTHCHECKS=(a.sh; b.sh)\n", "not a list of names"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_greenboot_names names = {.n = 77};
		struct qmr_error err = {0};

		assert_int_equal(qmr_greenboot_conf_parse("greenboot.conf", cases[i].text, &names, &err), -EINVAL);
		if (!strstr(err.text, cases[i].message))
			fail_msg("'%s' lacks '%s'", err.text, cases[i].message);
		assert_int_equal(names.n, 77);
	}
}

static void names_are_bounded(void **unused)
{
	struct qmr_greenboot_names names = {0};
	char text[4096] = "DISABLED_HEALTHCHECKS=(";

	for (int i = 0; i < QMR_GREENBOOT_NAMES_MAX; i++)
		strcat(text, "a ");
	strcat(text, ")");
	assert_int_equal(qmr_greenboot_conf_parse("c", text, &names, NULL), 0);
	assert_int_equal(names.n, QMR_GREENBOOT_NAMES_MAX);
	qmr_greenboot_names_done(&names);
	strcpy(strchr(text, ')'), "a)");
	assert_int_equal(qmr_greenboot_conf_parse("c", text, &names, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_as_bash_reads_them),
		cmocka_unit_test(what_only_a_shell_could_read_is_named),
		cmocka_unit_test(names_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
