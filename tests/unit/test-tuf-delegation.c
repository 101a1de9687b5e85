/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tuf-delegation.h"

#define KEYID "1111111111111111111111111111111111111111111111111111111111111111"
#define SIGNED "\"keyids\":[\"" KEYID "\"],\"threshold\":1,\"terminating\":false"
#define ROLE(name, match) "{\"name\":\"" name "\"," match "," SIGNED "}"
#define ROLES(list) "{\"keys\":{},\"roles\":[" list "]}"
#define SUCCINCT(bits, prefix)                                                                     \
	"{\"keys\":{},\"succinct_roles\":{\"keyids\":[\"" KEYID                                    \
	"\"],\"threshold\":1,\"bit_length\":" bits ",\"name_prefix\":\"" prefix "\"}}"

static char followed[512]; /* names, with a space after each */

static int note(void *user, const struct qmr_tuf_delegation *d, struct qmr_error *err)
{
	size_t used = strlen(followed);

	snprintf(followed + used, sizeof(followed) - used, "%s ", d->name);
	return 0;
}

static const char *match(const char *text, const char *target)
{
	json_t *delegations = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	struct qmr_error err = {0};

	assert_non_null(delegations);
	followed[0] = '\0';
	if (qmr_tuf_delegations_check("targets", delegations, 0, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(qmr_tuf_delegations_match(delegations, target, note, NULL, &err) >= 0);
	json_decref(delegations);
	return followed;
}

static int is_followed(const char *pattern, const char *target)
{
	char text[1024];

	snprintf(text, sizeof(text), ROLES(ROLE("a", "\"paths\":[\"%s\"]")), pattern);
	return !strcmp(match(text, target), "a ");
}

static void patterns_do_not_cross_folders(void **unused)
{
	static const struct {
		const char *pattern, *target;
		int is_followed;
	} cases[] = {
		{"*", "a", 1},
		{"*", "a/b", 0},
		{"a*", "a/b", 0},
		{"*/*", "a/b", 1},
		{"*/*", "a/b/c", 0},
		{"a?b", "a/b", 0},
		{"a?b", "axb", 1},
		{"a/*.zip", "a/x.zip", 1},
		{"a/*.zip", "a/x.zi", 0},
		{"a/*.zip", "b/x.zip", 0},
		{"a/", "a/b", 0},
		{"a", "a", 1},
		{"a", "A", 0},
		{"[ab]/c", "b/c", 1},
		{"[ab]/c", "c/c", 0},
		{"a[/]b", "a/b", 0},
		{"", "a", 0},
		{"*", ".a", 1},
		{"\\\\*", "*", 0},
		{"\\\\*", "\\x", 1},
		{"*", "", 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (is_followed(cases[i].pattern, cases[i].target) != cases[i].is_followed)
			fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].target);
}

/* A pattern that backtracking would never be done with. */
static void patterns_end(void **unused)
{
	char pattern[512] = "", target[512] = "";

	for (int i = 0; i < 100; i++)
		strcat(pattern, "*a");
	strcat(pattern, "b");
	memset(target, 'a', sizeof(target) - 1);
	assert_false(is_followed(pattern, target));
}

/* printf foo | sha256sum: 2c26b46b...; echo -n bar: fcde2b2e... */
static void hashes_choose_roles(void **unused)
{
	static const char list[] = ROLES(
		ROLE("low", "\"path_hash_prefixes\":[\"0\",\"2c2\"]") "," ROLE("high", "\"path_"
										       "hash_"
										       "prefixes\":"
										       "[\"fc\"]") "," ROLE(
			"case",
			"\"path_hash_prefixes\":[\"2C\",\"FC\"]") "," ROLE("all",
									   "\"path_hash_prefixes\":"
									   "[\"\"]") "," ROLE("non"
											      "e",
											      "\"pa"
											      "th_"
											      "hash"
											      "_pre"
											      "fixe"
											      "s\":"
											      "["
											      "]"));

	assert_string_equal(match(list, "foo"), "low all ");
	assert_string_equal(match(list, "bar"), "high all ");
}

/* 2c26b46b is 0010 1100 0010 ...; fcde2b2e is 1111 1100 ... */
static void bins_are_counted_in_bits(void **unused)
{
	assert_string_equal(match(SUCCINCT("1", "bin"), "foo"), "bin-0 ");
	assert_string_equal(match(SUCCINCT("1", "bin"), "bar"), "bin-1 ");
	assert_string_equal(match(SUCCINCT("3", "bin"), "foo"), "bin-1 ");
	assert_string_equal(match(SUCCINCT("4", "bin"), "bar"), "bin-f ");
	assert_string_equal(match(SUCCINCT("5", "x/y"), "foo"), "x/y-05 ");
	assert_string_equal(match(SUCCINCT("8", "bin"), "foo"), "bin-2c ");
	assert_string_equal(match(SUCCINCT("9", "bin"), "bar"), "bin-1f9 ");
	assert_string_equal(match(SUCCINCT("16", "bin"), "foo"), "bin-2c26 ");
	assert_string_equal(match(SUCCINCT("32", "bin"), "bar"), "bin-fcde2b2e ");
}

static void a_terminating_role_is_the_last(void **unused)
{
	assert_string_equal(
		match(ROLES(ROLE("a", "\"paths\":[\"*\"]") ",{\"name\":\"b\",\"paths\":[\"*\"],"
							   "\"keyids\":[],\"threshold\":1,"
							   "\"terminating\":true}," ROLE(
								   "c", "\"paths\":[\"*\"]")),
		      "x"),
		"a b ");
}

static void malformed_delegations_are_refused(void **unused)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"{\"keys\":{}}", "either 'roles' or"},
		{"{\"keys\":{},\"roles\":[],\"succinct_roles\":{}}", "either 'roles' or"},
		{"{\"roles\":[]}", "'keys' is not"},
		{"{\"keys\":{},\"roles\":{}}", "are not a list"},
		{ROLES("{}"), "no name"},
		{ROLES(ROLE("", "\"paths\":[]")), "no name"},
		{ROLES(ROLE("root", "\"paths\":[]")), "top-level role 'root'"},
		{ROLES(ROLE("timestamp", "\"paths\":[]")), "top-level role 'timestamp'"},
		{ROLES(ROLE("targets", "\"paths\":[]")), "top-level role 'targets'"},
		{ROLES(ROLE("a", "\"paths\":[]") "," ROLE("b", "\"paths\":[]") "," ROLE(
			 "a", "\"paths\":[\"x\"]")),
		 "'a' twice"},
		{ROLES(ROLE("a", "\"paths\":[],\"path_hash_prefixes\":[]")), "either 'paths' or"},
		{ROLES(ROLE("a", "\"x\":1")), "either 'paths' or"},
		{ROLES(ROLE("a", "\"paths\":[1]")), "a list of strings"},
		{ROLES(ROLE("a", "\"paths\":\"*\"")), "a list of strings"},
		{ROLES("{\"name\":\"a\",\"paths\":[],\"keyids\":[],\"threshold\":0,\"terminating\":"
		       "false}"),
		 "threshold is not 1"},
		{ROLES("{\"name\":\"a\",\"paths\":[],\"keyids\":[],\"threshold\":-1,"
		       "\"terminating\":false}"),
		 "threshold is not 1"},
		{ROLES("{\"name\":\"a\",\"paths\":[],\"keyids\":[\"x\",\"x\"],\"threshold\":1,"
		       "\"terminating\":false}"),
		 "listed twice"},
		{ROLES("{\"name\":\"a\",\"paths\":[],\"keyids\":[],\"threshold\":1}"),
		 "'terminating'"},
		{"{\"keys\":{\"" KEYID "\":{\"keytype\":\"ed25519\",\"scheme\":\"ed25519\","
				       "\"keyval\":{\"public\":\"00\"}}},\"roles\":[]}",
		 "its id is not the hash"},
		{SUCCINCT("0", "bin"), "'bit_length'"},
		{SUCCINCT("33", "bin"), "'bit_length'"},
		{"{\"keys\":{},\"succinct_roles\":{\"keyids\":[],\"threshold\":1,\"bit_length\":8}"
		 "}",
		 "'name_prefix'"},
		{"{\"keys\":{},\"succinct_roles\":{\"keyids\":[],\"threshold\":0,\"bit_length\":8,"
		 "\"name_prefix\":\"b\"}}",
		 "threshold is not 1"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		json_t *delegations = json_loads(cases[i].text, 0, NULL);
		struct qmr_error err = {0};

		if (!delegations ||
		    qmr_tuf_delegations_check("targets", delegations, 0, &err) != -EBADMSG ||
		    !strstr(err.text, cases[i].why))
			fail_msg("case %zu: '%s'", i, err.text);
		json_decref(delegations);
	}
}

static void names_have_a_limit(void **unused)
{
	char text[1024], name[300];

	for (int n = 255; n <= 256; n++) {
		json_t *delegations;

		memset(name, 'a', (size_t)n);
		name[n] = '\0';
		snprintf(text, sizeof(text), ROLES(ROLE("%s", "\"paths\":[\"*\"]")), name);
		delegations = json_loads(text, 0, NULL);
		assert_int_equal(qmr_tuf_delegations_check("targets", delegations, 0, NULL),
				 n == 255 ? 0 : -EBADMSG);
		snprintf(text, sizeof(text), SUCCINCT("32", "%s"), name + 9);
		json_decref(delegations);
		delegations = json_loads(text, 0, NULL);
		assert_int_equal(qmr_tuf_delegations_check("targets", delegations, 0, NULL),
				 n == 255 ? 0 : -EBADMSG);
		json_decref(delegations);
	}
}

static void none_are_fine(void **unused)
{
	json_t *null = json_null();

	assert_int_equal(qmr_tuf_delegations_check("targets", NULL, 0, NULL), 0);
	assert_int_equal(qmr_tuf_delegations_check("targets", null, 0, NULL), 0);
	followed[0] = '\0';
	assert_int_equal(qmr_tuf_delegations_match(NULL, "a", note, NULL, NULL), 0);
	assert_int_equal(qmr_tuf_delegations_match(null, "a", note, NULL, NULL), 0);
	assert_string_equal(followed, "");
}

static void folders_choose_roles(void **unused)
{
	json_t *delegations = json_loads(
		ROLES(ROLE("exact", "\"paths\":[\"plans/*\"]") "," ROLE(
			"other",
			"\"paths\":[\"x/*\",\"*\",\"plans\"]") "," ROLE("star",
									"\"paths\":[\"a\",\"*/"
									"x.json\"]") "," ROLE("has"
											      "h",
											      "\"pa"
											      "th_"
											      "hash"
											      "_pre"
											      "fixe"
											      "s\":"
											      "[\""
											      "\""
											      "]")),
		0, NULL);

	followed[0] = '\0';
	assert_int_equal(qmr_tuf_delegations_match_folder(delegations, "plans", note, NULL, NULL),
			 0);
	assert_string_equal(followed, "exact star ");
	json_decref(delegations);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns_do_not_cross_folders),
		cmocka_unit_test(patterns_end),
		cmocka_unit_test(hashes_choose_roles),
		cmocka_unit_test(bins_are_counted_in_bits),
		cmocka_unit_test(a_terminating_role_is_the_last),
		cmocka_unit_test(malformed_delegations_are_refused),
		cmocka_unit_test(names_have_a_limit),
		cmocka_unit_test(none_are_fine),
		cmocka_unit_test(folders_choose_roles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
