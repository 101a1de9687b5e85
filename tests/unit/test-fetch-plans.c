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

#include "fetch-plans.h"
#include "file.h"
#include "json.h"
#include "tree.h"

#define NOW 1795165200 /* 2026-11-20T09:00:00Z */
#define OLD "\"published\":\"2026-11-01T00:00:00Z\""
#define NEW "\"published\":\"2026-11-20T08:00:00Z\""
#define YES "\"match\":{\"os-id\":\"debian\"}"
#define NO "\"match\":{\"os-id\":\"fedora\"}"
#define UNKNOWN "\"match\":{\"dmi-vendor\":\"x\"}"
#define ROOT "\"match\":{\"file\":{\"path\":\"/x\"}}"

static struct qmr_config canary = {.n_label = 0}, rest = {.minimum_age = {{"*", 24}}, .n_minimum_age = 1};

/* What one run made of plans, given as "id: keys"; the target names are in the order given. */
struct outcome {
	struct qmr_fetch_lists lists;
	char order[256]; /* ids that were written, undecided ones with '?' */
};

static struct outcome run(const char *const plans[], const struct qmr_config *config)
{
	json_t *incident = json_pack("{s:s, s:{s:s}}", "kind", "panic", "machine", "os_id", "debian");
	struct outcome outcome = {{.plans = json_array(), .not_matched = json_array(), .refused = json_array(), .withdrawn = json_array()}, ""};
	struct qmr_fetch_files files = {0};
	const json_t *entry;
	size_t i;

	for (i = 0; plans[i]; i++) {
		const char *colon = strchr(plans[i], ':');
		char name[64], text[1024];

		snprintf(name, sizeof(name), "plans/%02zu.json", i);
		snprintf(text, sizeof(text), "{\"schema\":1,\"id\":\"%.*s\",\"title\":\"t\",%s%s}", (int)(colon - plans[i]), plans[i],
			 colon + 1, strstr(colon, "match") ? ",\"actions\":[{\"type\":\"block-module\",\"module\":\"m\"}]" : "");
		assert_int_equal(qmr_fetch_files_add(&files, name, text, strlen(text), NULL), 0);
	}
	assert_int_equal(qmr_fetch_plans_clear(root_fd, NULL), 0);
	assert_int_equal(qmr_fetch_plans_write(&files, &(struct qmr_match_subject){incident, config, -1}, NOW, root_fd,
					       &outcome.lists, NULL), 0);
	json_array_foreach (outcome.lists.plans, i, entry) {
		char expected[96];
		struct stat st;

		snprintf(expected, sizeof(expected), "%02zu-%s.json", i + 1, qmr_json_string(entry, "id"));
		assert_string_equal(qmr_json_string(entry, "file"), expected);
		assert_int_equal(fstatat(root_fd, expected, &st, 0), 0);
		snprintf(outcome.order + strlen(outcome.order), sizeof(outcome.order) - strlen(outcome.order), "%s%s ",
			 qmr_json_string(entry, "id"), json_is_true(json_object_get(entry, "undecided")) ? "?" : "");
	}
	qmr_fetch_files_done(&files);
	json_decref(incident);
	return outcome;
}

static void done(struct outcome *outcome)
{
	json_decref(outcome->lists.plans);
	json_decref(outcome->lists.not_matched);
	json_decref(outcome->lists.withdrawn);
	json_decref(outcome->lists.refused);
	json_decref(outcome->lists.hold);
}

static const char *why(const struct outcome *outcome, const char *id)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (outcome->lists.not_matched, i, entry)
		if (!strcmp(qmr_json_string(entry, "id"), id))
			return qmr_json_string(entry, "why");
	return "";
}

static void plans_are_chosen_and_ordered(void **unused)
{
	static const struct {
		const char *plans[6];
		const char *order;
	} cases[] = {
		{{"a:" YES, "b:" NO, "c:" UNKNOWN, "d:" ROOT, "e:" YES}, "a d? e "},
		/* not: unknown stays unknown, and is not passed on unless the root is asked */
		{{"a:\"match\":{\"not\":{\"dmi-vendor\":\"x\"}}", "b:\"match\":{\"not\":{\"file\":{\"path\":\"/x\"}}}"}, "b? "},
		{{"a:\"match\":{\"all\":[{\"os-id\":\"fedora\"},{\"file\":{\"path\":\"/x\"}}]}"}, ""},
		{{"a:\"match\":{\"any\":[{\"os-id\":\"debian\"},{\"file\":{\"path\":\"/x\"}}]}"}, "a "},
		{{"a:" YES, "b:\"withdrawn\":true," YES}, "a "},
		/* What supersedes takes the others' place where it matches; where the root decides it comes first. */
		{{"a:" YES, "b:\"supersedes\":[\"a\"]," YES}, "b "},
		{{"a:" YES, "b:\"supersedes\":[\"a\"]," NO}, "a "},
		{{"a:" YES, "b:\"supersedes\":[\"a\"]," UNKNOWN}, "a "},
		{{"a:" YES, "b:\"supersedes\":[\"a\"]," ROOT}, "b? a "},
		{{"a:" YES, "b:\"withdrawn\":true,\"supersedes\":[\"a\"]," YES}, ""},
		{{"a:" YES, "b:\"withdrawn\":true,\"supersedes\":[\"a\"]," ROOT}, ""},
		{{"a:" YES, "b:\"supersedes\":[\"a\"]," ROOT, "c:\"supersedes\":[\"b\"]," YES}, "c "},
		{{"a:" YES, "b:\"supersedes\":[\"c\"]," YES, "c:\"supersedes\":[\"b\"]," YES}, "a "},
		{{"a:" YES, "b:\"supersedes\":[\"a\",\"nobody\"]," ROOT, "c:\"supersedes\":[\"b\"]," ROOT}, "c? b? a "},
		/* What is required comes before; a circle is no reason to do nothing. */
		{{"a:\"requires\":[\"c\"]," YES, "b:" YES, "c:" YES}, "b c a "},
		{{"a:\"requires\":[\"b\"]," YES, "b:\"requires\":[\"a\"]," YES, "c:" YES}, "c a b "},
		{{"a:\"requires\":[\"gone\"]," YES}, "a "},
		/* One that asks for what this version does not know stops no other one, and is not half a plan. */
		{{"a:" YES, "b:\"match\":{\"phase-of-moon\":\"full\"}", "c:\"colour\":1," YES}, "a "},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct outcome outcome = run(cases[i].plans, &canary);

		if (strcmp(outcome.order, cases[i].order))
			fail_msg("case %zu: '%s', not '%s'", i, outcome.order, cases[i].order);
		assert_null(outcome.lists.hold);
		done(&outcome);
	}
}

static void what_is_not_passed_on_says_why(void **unused)
{
	static const char *const plans[] = {"no:" NO, "unknown:" UNKNOWN, "gone:\"withdrawn\":true," YES, "old:" YES,
					    "by:\"supersedes\":[\"old\"]," YES, "odd:\"match\":{\"odd\":\"x\"}", NULL};
	struct outcome outcome = run(plans, &canary);

	assert_non_null(strstr(why(&outcome, "no"), "do not match"));
	assert_non_null(strstr(why(&outcome, "unknown"), "does not say"));
	assert_non_null(strstr(why(&outcome, "gone"), "withdrawn"));
	assert_int_equal(json_array_size(outcome.lists.withdrawn), 1);
	assert_string_equal(json_string_value(json_array_get(outcome.lists.withdrawn, 0)), "gone");
	assert_non_null(strstr(why(&outcome, "old"), "supersedes"));
	assert_non_null(strstr(qmr_json_string(json_array_get(outcome.lists.refused, 0), "why"), "odd: unknown selector"));
	done(&outcome);
}

static void young_plans_wait(void **unused)
{
	static const char *const plans[] = {"a:" OLD "," YES, "b:" NEW "," YES, "c:" YES, NULL};
	static const char *const superseding[] = {"a:" OLD "," YES, "b:\"supersedes\":[\"a\"]," NEW "," YES, NULL};
	struct outcome outcome = run(plans, &canary);

	assert_string_equal(outcome.order, "a b c ");
	done(&outcome);
	outcome = run(plans, &rest);
	assert_string_equal(outcome.order, "a ");
	assert_non_null(strstr(why(&outcome, "b"), "minimum_age"));
	assert_non_null(strstr(why(&outcome, "c"), "minimum_age"));
	done(&outcome);
	/* The owner said that "a" is not good enough: that counts at once. */
	outcome = run(superseding, &rest);
	assert_string_equal(outcome.order, "");
	done(&outcome);
}

static int is_there(int fd, const char *name)
{
	return faccessat(fd, name, F_OK, 0) == 0;
}

static void a_hold_stops_everything_and_is_remembered(void **unused)
{
	static const char *const held[] = {"a:" YES, "z:\"hold\":true", NULL}, *const free_again[] = {"a:" YES, NULL};
	static const char *const bad[] = {"a:" YES, "z:\"hold\":true,\"then\":\"reboot\"", NULL};
	struct qmr_fetch_lists lists = {0};
	struct outcome outcome;
	int kept;

	assert_int_equal(mkdirat(root_fd, "kept", 0700), 0);
	kept = openat(root_fd, "kept", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	outcome = run(held, &canary);
	assert_string_equal(outcome.order, "");
	assert_string_equal(qmr_json_string(outcome.lists.hold, "id"), "z");
	assert_true(is_there(root_fd, "hold.json"));
	assert_false(is_there(root_fd, "01-a.json"));
	qmr_fetch_hold_keep(kept, root_fd);
	done(&outcome);

	/* The next run reaches nobody. */
	assert_int_equal(qmr_fetch_plans_clear(root_fd, NULL), 0);
	assert_false(is_there(root_fd, "hold.json"));
	qmr_fetch_hold_recall(kept, root_fd, &lists);
	assert_string_equal(qmr_json_string(lists.hold, "id"), "z");
	assert_true(is_there(root_fd, "hold.json"));
	json_decref(lists.hold);

	/* One that reaches the owner, who lets go. */
	outcome = run(free_again, &canary);
	assert_string_equal(outcome.order, "a ");
	assert_false(is_there(root_fd, "hold.json"));
	qmr_fetch_hold_keep(kept, root_fd);
	assert_false(is_there(kept, "hold"));
	qmr_fetch_hold_keep(kept, root_fd);
	done(&outcome);

	/* What is none holds nothing, wherever it comes from. */
	outcome = run(bad, &canary);
	assert_string_equal(outcome.order, "a ");
	assert_int_equal(json_array_size(outcome.lists.refused), 1);
	done(&outcome);
	put("kept/hold", "{\"schema\":1,\"id\":\"x\",\"title\":\"t\"," YES ",\"actions\":[{\"type\":\"block-module\",\"module\":\"m\"}]}");
	lists.hold = NULL;
	qmr_fetch_hold_recall(kept, root_fd, &lists);
	assert_null(lists.hold);
	assert_false(is_there(root_fd, "hold.json"));
	close(kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(plans_are_chosen_and_ordered, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(what_is_not_passed_on_says_why, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(young_plans_wait, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(a_hold_stops_everything_and_is_remembered, make_folder, remove_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
