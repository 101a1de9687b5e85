/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "canonical-json.h"
#include "json.h"

static void known_values(void **unused)
{
	/* Right-hand sides as securesystemslib 0.26's encode_canonical() gives them. */
	static const struct {
		const char *json, *canonical;
	} cases[] = {
		{"{ }", "{}"},
		{"{\"b\": [1, 2 ,3], \"a\": \"x\"}", "{\"a\":\"x\",\"b\":[1,2,3]}"},
		{"{\"a\": true, \"c\": null, \"b\": false}", "{\"a\":true,\"b\":false,\"c\":null}"},
		{"{\"n\": [0, -0, -7, 9223372036854775807]}",
		 "{\"n\":[0,0,-7,9223372036854775807]}"},
		{"{\"s\": \"quote \\\" backslash \\\\ slash \\/ tab \\t line \\n\"}",
		 "{\"s\":\"quote \\\" backslash \\\\ slash / tab \t line \n\"}"},
		{"{\"s\": \"\\u00e9 \\ud83d\\ude00 \\u007f \\u0001\"}",
		 "{\"s\":\"\u00e9 \U0001F600 \x7f \x01\"}"},
		{"{\"\\\"\": 1, \"\\\\\": 2}", "{\"\\\"\":1,\"\\\\\":2}"},
		{"{\"aa\": 1, \"a\": 2, \"B\": 3, \"\": 4}", "{\"\":4,\"B\":3,\"a\":2,\"aa\":1}"},
		/* U+FF41 before U+1F600: the order of UTF-8 bytes, not of UTF-16 units. */
		{"{\"\\ud83d\\ude00\": 1, \"\\uff41\": 2, \"\\u00e9\": 3, \"z\": 4}",
		 "{\"z\":4,\"\u00e9\":3,\"\uff41\":2,\"\U0001F600\":1}"},
		{"{\"a\": {\"d\": {}, \"c\": []}}", "{\"a\":{\"c\":[],\"d\":{}}}"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		json_t *json = NULL;
		char *text = NULL;
		size_t size = 0;

		assert_int_equal(
			qmr_json_parse("case", cases[i].json, strlen(cases[i].json), &json, NULL),
			0);
		assert_int_equal(qmr_canonical_json(json, &text, &size, NULL), 0);
		assert_string_equal(text, cases[i].canonical);
		assert_int_equal(size, strlen(cases[i].canonical));
		free(text);
		json_decref(json);
	}
}

static void a_real_number_is_refused(void **unused)
{
	json_t *json = json_pack("{s:[i,f]}", "n", 1, 1.0);
	struct qmr_error err = {0};
	char *text = NULL;
	size_t size = 7;

	assert_int_equal(qmr_canonical_json(json, &text, &size, &err), -EINVAL);
	assert_null(text);
	assert_int_equal(size, 7);
	assert_non_null(strstr(err.text, "integer"));
	assert_int_equal(qmr_canonical_json(NULL, &text, &size, &err), -EINVAL);
	json_decref(json);
}

static void depth_is_bounded(void **unused)
{
	json_t *json = json_array();
	char *text = NULL;
	size_t size = 0;

	for (int depth = 1; depth <= 256; depth++) {
		json_t *outer = json_array();

		json_array_append_new(outer, json);
		json = outer;
	}
	assert_int_equal(qmr_canonical_json(json, &text, &size, NULL), 0);
	assert_int_equal(size, 2 * 257);
	free(text);
	json = json_pack("[o]", json);
	assert_int_equal(qmr_canonical_json(json, &text, &size, NULL), -EINVAL);
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_values),
		cmocka_unit_test(a_real_number_is_refused),
		cmocka_unit_test(depth_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
