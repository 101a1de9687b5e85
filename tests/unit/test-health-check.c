/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "file.h"
#include "health-check.h"

#define OURS "/etc/qmr/checks.d/required.d/"
#define VENDOR "/usr/lib/qmr/checks.d/required.d/"
#define GREENBOOT "/etc/greenboot/check/required.d/"

static char root[] = "/tmp/qmr-test-health-check-XXXXXX";

static void make(const char *path, mode_t mode)
{
	char full[512], *slash;

	snprintf(full, sizeof(full), "%s%s", root, path);
	slash = strrchr(full, '/');
	*slash = '\0';
	assert_int_equal(qmr_file_mkdirs(AT_FDCWD, full, 0755, NULL), 0);
	*slash = '/';
	assert_int_equal(qmr_file_replace(AT_FDCWD, full, "#!/bin/sh\n", 10, mode, NULL), 0);
}

static void link_to(const char *target, const char *path)
{
	char full[512];

	make(path, 0644);
	snprintf(full, sizeof(full), "%s%s", root, path);
	assert_int_equal(unlink(full), 0);
	assert_int_equal(symlink(target, full), 0);
}

static int set_up(void **unused)
{
	strcpy(root + sizeof(root) - 7, "XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **unused)
{
	return qmr_file_remove_tree(AT_FDCWD, root, NULL);
}

/* kind, path below the root, and what is special about each, in order. */
static void assert_found(const char *expected)
{
	char *names[] = {(char *)"off.sh"};
	struct qmr_greenboot_names disabled = {names, 1};
	struct qmr_checks checks = {0};
	char seen[2048] = "";

	assert_int_equal(qmr_checks_find(root, &disabled, &checks, NULL), 0);
	for (size_t i = 0; i < checks.n; i++) {
		const struct qmr_check *c = &checks.items[i];

		assert_memory_equal(c->path, root, strlen(root));
		snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "%c %s%s%s%s\n", c->required ? 'r' : 'w', c->path + strlen(root),
			 c->with_bash ? " bash" : "", c->switched_off ? " off" : "", c->problem[0] ? " problem" : "");
	}
	qmr_checks_done(&checks);
	assert_string_equal(seen, expected);
}

static void nothing_is_found_where_nothing_is(void **unused)
{
	assert_found("");
}

static void required_ones_come_first_and_by_name(void **unused)
{
	make("/etc/qmr/checks.d/wanted.d/00-w", 0755);
	make(OURS "20-b", 0755);
	make(VENDOR "10-a", 0755);
	make(GREENBOOT "15-g.sh", 0755);
	make("/usr/lib/greenboot/check/wanted.d/05-x.sh", 0755);
	assert_found("r " VENDOR "10-a\nr " GREENBOOT "15-g.sh bash\nr " OURS "20-b\n"
		     "w /etc/qmr/checks.d/wanted.d/00-w\nw /usr/lib/greenboot/check/wanted.d/05-x.sh bash\n");
}

static void the_owners_files_win(void **unused)
{
	make(VENDOR "both", 0755);
	make(OURS "both", 0755);
	make(VENDOR "masked", 0755);
	link_to("/dev/null", OURS "masked");
	make("/usr/lib/greenboot/check/required.d/both", 0755); /* another family */
	make("/usr/lib/greenboot/check/required.d/masked.sh", 0644);
	link_to("/dev/null", GREENBOOT "masked.sh");
	make("/usr/lib/qmr/checks.d/wanted.d/masked", 0755); /* another kind */
	assert_found("r " OURS "both\nr /usr/lib/greenboot/check/required.d/both\nw /usr/lib/qmr/checks.d/wanted.d/masked\n");
}

static void what_is_no_check_is_passed_over(void **unused)
{
	static const char *const names[] = {".hidden", "old~", "a.dpkg-old", "b.rpmsave", "c.rpmnew", "folder/README"};
	char path[256];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), OURS "%s", names[i]);
		make(path, 0755);
	}
	assert_found("");
}

static void what_cannot_be_run_is_found_with_its_problem(void **unused)
{
	make(OURS "no-mode", 0644);
	link_to("/no/such/program", OURS "dangling");
	make("/usr/lib/qmr/checks.d/wanted.d/no-mode", 0644);
	make("/etc/qmr/checks.d/README", 0644);
	assert_found("r " OURS "dangling problem\nr " OURS "no-mode problem\nw /usr/lib/qmr/checks.d/wanted.d/no-mode problem\n");
}

/* Scripts whatever their mode, other files if they are executable. */
static void greenboots_files_are_taken_as_greenboot_does(void **unused)
{
	make(GREENBOOT "a.sh", 0644);
	make(GREENBOOT "binary", 0755);
	make(GREENBOOT "notes.txt", 0644);
	make(GREENBOOT "off.sh", 0755);
	make(OURS "off.sh", 0755); /* not greenboot's to switch off */
	assert_found("r " GREENBOOT "a.sh bash\nr " GREENBOOT "binary\nr " GREENBOOT "off.sh bash off\nr " OURS "off.sh\n");
}

static void too_many_are_refused(void **unused)
{
	struct qmr_greenboot_names none = {0};
	struct qmr_checks checks = {0};
	char path[256];

	make(OURS "0", 0755);
	for (int i = 1; i <= QMR_CHECKS_MAX; i++) {
		snprintf(path, sizeof(path), "%s" OURS "%d", root, i);
		assert_int_equal(symlink("0", path), 0);
	}
	assert_int_equal(qmr_checks_find(root, &none, &checks, NULL), -E2BIG);
	assert_int_equal(checks.n, 0);
}

static void the_last_line_that_says_something(void **unused)
{
	static const struct {
		const char *output, *line;
	} cases[] = {{"", ""}, {"one", "one"}, {"one\ntwo\n\n \t\n", "two"}, {"\n\n", ""}, {"a\r\n", "a"}};
	char line[201], text[1000];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_check check = {.output = (char *)cases[i].output, .output_size = strlen(cases[i].output)};

		qmr_check_last_line(&check, line);
		assert_string_equal(line, cases[i].line);
	}
	memset(text, 'x', sizeof(text));
	qmr_check_last_line(&(struct qmr_check){.output = text, .output_size = sizeof(text)}, line);
	assert_int_equal(strlen(line), 200);
	qmr_check_last_line(&(struct qmr_check){0}, line);
	assert_string_equal(line, "");
}

/* Log files of namesakes, and of names that would be, do not meet; names that are not UTF-8 are in last.json all the same. */
static void results_have_a_file_each(void **unused)
{
	static const char *const names[] = {"a", "a", "a~2", "b c", "b\tc", "\xff", "../up"};
	static const char *const files[] = {"a.log", "a~2.log", "a_2.log", "b_c.log", "b_c~5.log", "_.log", ".._up.log"};
	enum { N = sizeof(names) / sizeof(*names) };
	struct qmr_check items[N] = {0};
	struct qmr_checks checks = {items, N};
	json_t *json;

	for (size_t i = 0; i < N; i++)
		items[i] = (struct qmr_check){.name = (char *)names[i], .path = (char *)names[i], .required = 1, .attempts = 1,
					      .result = QMR_CHECK_PASSED, .output = (char *)"x", .output_size = 1};
	json = qmr_checks_json(&checks, 5);
	assert_non_null(json);
	for (size_t i = 0; i < N; i++)
		assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(json, "checks"), i), "output")), files[i]);
	assert_true(json_is_true(json_object_get(json, "passed")));
	for (int run = 0; run < 2; run++) /* the second one replaces */
		assert_int_equal(qmr_checks_save(root, &checks, json, NULL), 0);
	for (size_t i = 0; i < N; i++) {
		char path[256];

		snprintf(path, sizeof(path), "%s/var/lib/qmr/checks/%s", root, files[i]);
		assert_int_equal(access(path, F_OK), 0);
	}
	json_decref(json);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(nothing_is_found_where_nothing_is),
		T(required_ones_come_first_and_by_name),
		T(the_owners_files_win),
		T(what_is_no_check_is_passed_over),
		T(what_cannot_be_run_is_found_with_its_problem),
		T(greenboots_files_are_taken_as_greenboot_does),
		T(too_many_are_refused),
		T(the_last_line_that_says_something),
		T(results_have_a_file_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
