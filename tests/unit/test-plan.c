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
		cmocka_unit_test(matching_is_three_valued),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
