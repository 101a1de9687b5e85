/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "json.h"
#include "plan-match.h"

#define HEAD "{\"schema\":1,\"id\":\"p1\",\"title\":\"t\","
#define MATCH "\"match\":{\"incident-kind\":\"panic\"},"
#define ACTIONS "\"actions\":[{\"type\":\"remove-file\",\"path\":\"/opt/v/x\"}]}"
#define ACTION(a) HEAD MATCH "\"actions\":[" a "]}"
#define WITH_MATCH(m) HEAD "\"match\":" m "," ACTIONS

static void a_good_plan_is_read(void **unused)
{
	const char *text = ACTION("{\"type\":\"remove-file\",\"path\":\"/opt/v/x\"},{\"type\":\"restore-file\",\"path\":\"/etc/y\"},"
				  "{\"type\":\"block-module\",\"module\":\"bad-driver\"}");
	struct qmr_plan plan = {0};

	assert_int_equal(qmr_plan_parse("p", text, strlen(text), &plan, NULL), 0);
	assert_int_equal(plan.n_actions, 3);
	assert_string_equal(plan.id, "p1");
	assert_int_equal(plan.actions[2].type, QMR_ACTION_BLOCK_MODULE);
	assert_string_equal(plan.actions[2].module, "bad-driver");
	assert_null(plan.actions[0].sha256);
	qmr_plan_done(&plan);
}

static void bad_plans_are_refused_with_the_field(void **unused)
{
	static const struct {
		const char *text, *field;
	} cases[] = {
		{"{\"schema\":2,\"id\":\"p\",\"title\":\"t\"," MATCH ACTIONS, "schema"},
		{"{\"schema\":1,\"id\":\"../p\",\"title\":\"t\"," MATCH ACTIONS, "id"},
		{"{\"schema\":1,\"id\":\".p\",\"title\":\"t\"," MATCH ACTIONS, "id"},
		{"{\"schema\":1,\"id\":\"p\"," MATCH ACTIONS, "title"},
		{HEAD "\"extra\":1," MATCH ACTIONS, "extra"},
		{HEAD "\"id title\":\"x\"," MATCH ACTIONS, "id title"},
		{HEAD ACTIONS, "match"},
		{HEAD "\"id\":\"p2\"," MATCH ACTIONS, "duplicate"},
		{WITH_MATCH("{}"), "match"},
		{WITH_MATCH("{\"all\":[]}"), "all"},
		{WITH_MATCH("{\"any\":{}}"), "any"},
		{WITH_MATCH("{\"none\":[]}"), "none"},
		{WITH_MATCH("{\"not\":3}"), "match"},
		{WITH_MATCH("{\"os-id\":7}"), "os-id"},
		{WITH_MATCH("{\"not\":{\"not\":{\"not\":{\"not\":{\"not\":{\"not\":{\"not\":{\"not\":{\"os-id\":\"x\"}}}}}}}}}"), "match"},
		{HEAD MATCH "\"actions\":[]}", "actions"},
		{ACTION("{\"type\":\"run\"}"), "actions[0].type"},
		{ACTION("3"), "actions[0].type"},
		{ACTION("{\"type\":\"remove-file\"}"), "path"},
		{ACTION("{\"type\":\"remove-file\",\"path\":\"/a\",\"path sha256\":\"x\"}"), "path sha256"},
		{ACTION("{\"type\":\"remove-file\",\"path\":\"/a\",\"\":\"x\"}"), "actions[0]."},
		{ACTION("{\"type\":\"remove-file\",\"path\":\"/a\",\"module\":\"m\"}"), "actions[0].module"},
		{ACTION("{\"type\":\"restore-file\",\"path\":\"/a\",\"sha256\":\"x\"}"), "actions[0].sha256"},
		{ACTION("{\"type\":\"remove-file\",\"path\":\"/a\",\"sha256\":\"xyz\"}"), "sha256"},
		{ACTION("{\"type\":\"remove-file\",\"path\":\"a\"}"), "path"},
		{ACTION("{\"type\":\"remove-file\",\"path\":\"/a/../b\"}"), "path"},
		{ACTION("{\"type\":\"remove-file\",\"path\":\"/a//b\"}"), "path"},
		{ACTION("{\"type\":\"remove-file\",\"path\":\"/\"}"), "path"},
		{ACTION("{\"type\":\"remove-file\",\"path\":\"/a/\"}"), "path"},
		{ACTION("{\"type\":\"remove-file\",\"path\":\"/proc/x\"}"), "path"},
		{ACTION("{\"type\":\"block-module\",\"module\":\"a b\"}"), "module"},
		{ACTION("{\"type\":\"block-module\",\"module\":\"\"}"), "module"},
		/* What goes with a plan as a whole. */
		{HEAD "\"then\":\"halt\"," MATCH ACTIONS, "then"},
		{HEAD "\"then\":1," MATCH ACTIONS, "then"},
		{HEAD "\"withdrawn\":false," MATCH ACTIONS, "withdrawn"},
		{HEAD "\"published\":\"2026-02-30T00:00:00Z\"," MATCH ACTIONS, "published"},
		{HEAD "\"published\":1790000000," MATCH ACTIONS, "published"},
		{HEAD "\"supersedes\":[\"p1\"]," MATCH ACTIONS, "supersedes"},
		{HEAD "\"supersedes\":\"p2\"," MATCH ACTIONS, "supersedes"},
		{HEAD "\"supersedes\":[3]," MATCH ACTIONS, "supersedes"},
		{HEAD "\"requires\":[\"../x\"]," MATCH ACTIONS, "requires"},
		{HEAD "\"requires\":[\"p1\"]," MATCH ACTIONS, "requires"},
		{HEAD "\"requires\":[\"a\"],\"supersedes\":[\"b\",\"a\"]," MATCH ACTIONS, "requires"},
		{HEAD "\"names\":[]," MATCH ACTIONS, "names"},
		{HEAD "\"names\":{\"files\":[]}," MATCH ACTIONS, "names"},
		{HEAD "\"names\":{\"modules\":[\"a b\"]}," MATCH ACTIONS, "names.modules"},
		{HEAD "\"names\":{\"packages\":[\"A\"]}," MATCH ACTIONS, "names.packages"},
		{HEAD "\"hold\":true," MATCH ACTIONS, "not in a hold"},
		{HEAD "\"hold\":true,\"then\":\"reboot\"}", "then"},
		{HEAD "\"hold\":false}", "hold"},
		{HEAD "\"hold\":false," MATCH ACTIONS, "hold"},
		/* Selectors' forms. */
		{WITH_MATCH("{\"kernel-release\":{}}"), "kernel-release"},
		{WITH_MATCH("{\"kernel-release\":{\"from\":\"6\"}}"), "kernel-release"},
		{WITH_MATCH("{\"kernel-release\":{\"below\":6}}"), "kernel-release"},
		{WITH_MATCH("{\"kernel-release\":\"6 1\"}"), "kernel-release"},
		{WITH_MATCH("{\"os-version\":12}"), "os-version"},
		{WITH_MATCH("{\"label\":\"a b\"}"), "label"},
		{WITH_MATCH("{\"percent\":101}"), "percent"},
		{WITH_MATCH("{\"percent\":-1}"), "percent"},
		{WITH_MATCH("{\"percent\":\"10\"}"), "percent"},
		{WITH_MATCH("{\"file\":\"/x\"}"), "file"},
		{WITH_MATCH("{\"file\":{\"path\":\"/a/../b\"}}"), "file"},
		{WITH_MATCH("{\"file\":{\"path\":\"/a\",\"sha256\":\"x\"}}"), "file"},
		{WITH_MATCH("{\"file\":{\"path\":\"/a\",\"size\":1}}"), "file"},
		{WITH_MATCH("{\"package\":{\"version\":\"1\"}}"), "package"},
		{WITH_MATCH("{\"package\":{\"name\":\"-x\"}}"), "package"},
		{WITH_MATCH("{\"package\":{\"name\":\"x\",\"version\":\"a:1\"}}"), "package"},
		{WITH_MATCH("{\"package\":{\"name\":\"x\",\"version\":{\"above\":\"1:2:3\"}}}"), "package"},
		{WITH_MATCH("{\"all\":[{\"os-id\":\"x\"},{\"phase-of-moon\":\"full\"}]}"), "phase-of-moon: unknown selector"},
		{"{\"schema\":1,\"id\":\"undo-3\",\"title\":\"t\",\"hold\":true}", "undo-"},
		{"{\"schema\":1,\"id\":\"local-revert\",\"title\":\"t\",\"hold\":true}", "local-revert"},
		{"[]", "object"},
		{"", "JSON"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_error err = {0};
		struct qmr_plan plan = {0};

		if (qmr_plan_parse("p", cases[i].text, strlen(cases[i].text), &plan, &err) != -EINVAL)
			fail_msg("accepted: %s", cases[i].text);
		if (!strstr(err.text, cases[i].field))
			fail_msg("'%s' does not name '%s'", err.text, cases[i].field);
		assert_null(plan.json);
	}
}

static struct qmr_plan parse(const char *text)
{
	struct qmr_plan plan = {0};
	struct qmr_error err = {0};

	if (qmr_plan_parse("p", text, strlen(text), &plan, &err) < 0)
		fail_msg("%s", err.text);
	return plan;
}

static void what_goes_with_a_plan_is_read(void **unused)
{
	struct qmr_plan plan = parse(HEAD "\"published\":\"2026-11-20T09:00:00Z\",\"names\":{\"modules\":[\"m\"]},\"supersedes\":[\"a\",\"b\"],"
					  "\"requires\":[\"c\"],\"withdrawn\":true,\"then\":\"next-rung\"," MATCH ACTIONS);

	assert_true(plan.has_published && plan.is_withdrawn && !plan.is_hold);
	assert_int_equal(plan.published_unix_s, 1795165200);
	assert_int_equal(plan.then, QMR_THEN_NEXT_RUNG);
	assert_true(qmr_json_list_has(plan.supersedes, "b") && !qmr_json_list_has(plan.supersedes, "c"));
	assert_true(qmr_json_list_has(plan.requires, "c") && qmr_json_list_has(plan.named_modules, "m"));
	assert_false(qmr_json_list_has(plan.named_packages, "m"));
	qmr_plan_done(&plan);
	plan = parse(HEAD "\"hold\":true}");
	assert_true(plan.is_hold);
	assert_int_equal(qmr_plan_match(&plan, &(struct qmr_match_subject){NULL, NULL, -1}), QMR_MATCH_UNKNOWN);
	qmr_plan_done(&plan);
}

/* The clock against the time in the plan, by the labels of the machine. */
static void a_plan_must_be_old_enough(void **unused)
{
	static const struct {
		struct qmr_config config;
		int64_t after_s;
		int want;
	} cases[] = {
		{{.n_label = 0}, 0, 1}, /* no age is asked for */
		{{.n_label = 0}, -99999, 1},
		{{.minimum_age = {{"*", 24}}, .n_minimum_age = 1}, 24 * 3600, 1},
		{{.minimum_age = {{"*", 24}}, .n_minimum_age = 1}, 24 * 3600 - 1, 0},
		{{.minimum_age = {{"*", 1}}, .n_minimum_age = 1}, -1, 0}, /* published in the future, or the clock is late */
		{{.label = {"canary"}, .n_label = 1, .minimum_age = {{"canary", 0}, {"*", 24}}, .n_minimum_age = 2}, 0, 1},
		{{.label = {"office"}, .n_label = 1, .minimum_age = {{"canary", 0}, {"*", 24}}, .n_minimum_age = 2}, 0, 0},
		{{.label = {"canary", "till"}, .n_label = 2, .minimum_age = {{"till", 8}, {"canary", 0}}, .n_minimum_age = 2}, 7 * 3600, 0},
		{{.label = {"canary", "till"}, .n_label = 2, .minimum_age = {{"till", 8}, {"canary", 0}}, .n_minimum_age = 2}, 8 * 3600, 1},
		{{.label = {"canary", "till"}, .n_label = 2, .minimum_age = {{"canary", 0}, {"till", 8}}, .n_minimum_age = 2}, 7 * 3600, 0},
		{{.label = {"canary"}, .n_label = 1, .minimum_age = {{"canar", 8}}, .n_minimum_age = 1}, 0, 1},
	};
	struct qmr_plan plan = parse(HEAD "\"published\":\"2026-11-20T09:00:00Z\"," MATCH ACTIONS);
	struct qmr_plan undated = parse(HEAD MATCH ACTIONS);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (qmr_plan_is_old_enough(&plan, &cases[i].config, 1795165200 + cases[i].after_s) != cases[i].want)
			fail_msg("case %zu", i);
		/* Without a time it is too young wherever an age is asked for. */
		assert_int_equal(qmr_plan_is_old_enough(&undated, &cases[i].config, INT64_MAX), i < 2 || i == 5 || i == 10);
	}
	qmr_plan_done(&plan);
	qmr_plan_done(&undated);
}

/* Kleene's three-valued logic; module "bad" and kind "panic" are known, everything else is not. */
static void matching_is_three_valued(void **unused)
{
	static const struct {
		const char *match;
		enum qmr_match want;
	} cases[] = {
		{"{\"culprit-module\":\"bad\"}", QMR_MATCH_YES},
		{"{\"culprit-module\":\"good\"}", QMR_MATCH_NO},
		{"{\"os-id\":\"debian\"}", QMR_MATCH_UNKNOWN},
		{"{\"oops-function\":\"f\"}", QMR_MATCH_UNKNOWN},
		{"{\"not\":{\"os-id\":\"debian\"}}", QMR_MATCH_UNKNOWN},
		{"{\"not\":{\"culprit-module\":\"good\"}}", QMR_MATCH_YES},
		{"{\"all\":[{\"culprit-module\":\"bad\"},{\"incident-kind\":\"panic\"}]}", QMR_MATCH_YES},
		{"{\"all\":[{\"os-id\":\"x\"},{\"culprit-module\":\"bad\"}]}", QMR_MATCH_UNKNOWN},
		{"{\"all\":[{\"os-id\":\"x\"},{\"culprit-module\":\"good\"}]}", QMR_MATCH_NO},
		{"{\"any\":[{\"os-id\":\"x\"},{\"culprit-module\":\"bad\"}]}", QMR_MATCH_YES},
		{"{\"any\":[{\"os-id\":\"x\"},{\"culprit-module\":\"good\"}]}", QMR_MATCH_UNKNOWN},
		{"{\"any\":[{\"incident-kind\":\"hang\"},{\"culprit-module\":\"good\"}]}", QMR_MATCH_NO},
	};
	json_t *incident = json_pack("{s:s, s:{s:s}}", "kind", "panic", "culprit", "module", "bad");

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_plan plan = {0};
		char text[512];

		snprintf(text, sizeof(text), HEAD "\"match\":%s," ACTIONS, cases[i].match);
		assert_int_equal(qmr_plan_parse("p", text, strlen(text), &plan, NULL), 0);
		if (qmr_plan_match(&plan, &(struct qmr_match_subject){incident, NULL, -1}) != cases[i].want)
			fail_msg("match %s", cases[i].match);
		qmr_plan_done(&plan);
	}
	json_decref(incident);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_plan_is_read),
		cmocka_unit_test(bad_plans_are_refused_with_the_field),
		cmocka_unit_test(what_goes_with_a_plan_is_read),
		cmocka_unit_test(a_plan_must_be_old_enough),
		cmocka_unit_test(matching_is_three_valued),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
