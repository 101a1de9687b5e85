/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "version.h"

/* Each is below the next; equal ones are told by the mark. Checked against `dpkg --compare-versions`. */
static const struct {
	const char *a;
	char relation;
	const char *b;
} packages[] = {
	{"1.0~rc1", '<', "1.0"},      {"1.0~~", '<', "1.0~"},         {"1.0", '<', "1.0-1"},       {"1.0-1", '<', "1.0-1+b1"},
	{"1.9", '<', "1.10"},         {"1.0a", '<', "1.0+"},          {"1.0", '<', "1.0a"},        {"1:0.1", '>', "2.0"},
	{"0:1.0", '=', "1.0"},        {"1.0-0", '=', "1.0"},          {"1.00", '=', "1.0"},        {"1.0-", '=', "1.0"},
	{"1.2-3-4", '<', "1.2-4-4"},  {"1.2.3", '>', "1.2-3"},        {"1.a", '<', "1.b"},         {"1.0-1~bpo12+1", '<', "1.0-1"},
	{"10:1", '>', "9:999"},       {"99999999999999999999", '<', "100000000000000000000"},      {"a", '<', "."},
	{"6.1.0-40-amd64", '>', "6.1.0-41"}, {"2.36-9+deb12u13", '>', "2.36-9+deb12u9"},
};

static const struct {
	const char *a;
	char relation;
	const char *b;
} texts[] = {
	{"6.1.0-40-amd64", '<', "6.1.0-41"},
	{"6.1.0-40-amd64", '>', "6.1.0-40"},
	{"6.1.0-9-amd64", '<', "6.1.0-40-amd64"},
	{"5.14.0-427.13.1.el9_4.x86_64", '<', "5.14.0-427.18.1.el9_4.x86_64"},
	{"6.1.0~rc1", '<', "6.1.0"},
	{"12", '<', "12.1"},
	{"1:2", '>', "1"},
};

static char relation(enum qmr_version_kind kind, const char *a, const char *b)
{
	int r = qmr_version_compare(kind, a, b);

	return r < 0 ? '<' : r > 0 ? '>' : '=';
}

static char reversed(char c)
{
	return c == '<' ? '>' : c == '>' ? '<' : c;
}

static void packages_are_ordered_as_dpkg_does(void **unused)
{
	for (size_t i = 0; i < sizeof(packages) / sizeof(*packages); i++)
		if (relation(QMR_VERSION_PACKAGE, packages[i].a, packages[i].b) != packages[i].relation ||
		    relation(QMR_VERSION_PACKAGE, packages[i].b, packages[i].a) != reversed(packages[i].relation))
			fail_msg("%s %c %s", packages[i].a, packages[i].relation, packages[i].b);
}

static void other_versions_are_one_part(void **unused)
{
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (relation(QMR_VERSION_TEXT, texts[i].a, texts[i].b) != texts[i].relation)
			fail_msg("%s %c %s", texts[i].a, texts[i].relation, texts[i].b);
}

static void what_is_no_version_is_told(void **unused)
{
	static const char *const bad[] = {"", "1 0", "1.0\n", "1/2", "a:1", ":1", "1:", "1:2:3", "1234567890:1", "1\xc3\xa4"};
	static const char *const good[] = {"0", "1.0-1", "123456789:1", "~", "A.b+c-d~e_f"};
	char text[QMR_VERSION_BYTES_MAX + 2];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (qmr_version_is_valid(QMR_VERSION_PACKAGE, bad[i], strlen(bad[i])))
			fail_msg("'%s'", bad[i]);
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		if (!qmr_version_is_valid(QMR_VERSION_PACKAGE, good[i], strlen(good[i])))
			fail_msg("'%s'", good[i]);
	assert_true(qmr_version_is_valid(QMR_VERSION_TEXT, "a:b:c", 5));
	assert_false(qmr_version_is_valid(QMR_VERSION_TEXT, "a\0b", 3));
	memset(text, '1', sizeof(text));
	assert_true(qmr_version_is_valid(QMR_VERSION_TEXT, text, QMR_VERSION_BYTES_MAX));
	assert_false(qmr_version_is_valid(QMR_VERSION_TEXT, text, QMR_VERSION_BYTES_MAX + 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packages_are_ordered_as_dpkg_does),
		cmocka_unit_test(other_versions_are_one_part),
		cmocka_unit_test(what_is_no_version_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
