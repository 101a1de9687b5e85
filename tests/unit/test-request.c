/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "request-record.h"
#include "request.h"
#include "tree.h"

#define NOW 1800000000
#define INCIDENT "11111111-1111-4111-8111-111111111111"
#define OTHER "22222222-2222-4222-8222-222222222222"
#define HEAD "\"schema\": 1, \"id\": \"a-1\", \"title\": \"t\", \"match\": {\"os-id\": \"debian\"}"

static int parse(const char *text, struct qmr_request *ret, struct qmr_error *err)
{
	return qmr_request_parse("x.json", text, strlen(text), ret, err);
}

static void whole(void **unused)
{
	struct qmr_request request = {0};

	assert_int_equal(parse("{" HEAD ", \"mode\": \"collect-only\", \"grace_minutes\": 0, \"defer_minutes\": 10080, "
			       "\"battery_percent\": 100}", &request, NULL), 0);
	assert_string_equal(request.id, "a-1");
	assert_int_equal(request.mode, QMR_REQUEST_COLLECT_ONLY);
	assert_int_equal(request.grace_minutes, 0);
	assert_int_equal(request.defer_minutes, 10080);
	assert_int_equal(request.battery_percent, 100);
	assert_string_equal(json_string_value(json_object_get(request.match, "os-id")), "debian");
	qmr_request_done(&request);
	assert_int_equal(parse("{" HEAD ", \"mode\": \"test\"}", &request, NULL), 0);
	assert_int_equal(request.mode, QMR_REQUEST_TEST);
	assert_int_equal(request.grace_minutes, 15);
	assert_int_equal(request.defer_minutes, 0);
	assert_int_equal(request.battery_percent, 30);
	qmr_request_done(&request);
}

static void refused_by_field(void **unused)
{
	static const struct {
		const char *text, *field;
	} cases[] = {
		{"{}", ": schema:"},
		{"[]", "x.json"},
		{"{" HEAD "}", ": mode:"},
		{"{" HEAD ", \"mode\": \"reboot\"}", ": mode:"},
		{"{" HEAD ", \"mode\": \"test\", \"when\": 1}", ": when: unknown"},
		{"{" HEAD ", \"mode\": \"test\", \"\": 1}", "unknown key"},
		{"{" HEAD ", \"mode\": \"test\", \"mode\": \"recover\"}", "x.json"},
		{"{" HEAD ", \"mode\": \"test\", \"grace_minutes\": 1441}", ": grace_minutes:"},
		{"{" HEAD ", \"mode\": \"test\", \"grace_minutes\": -1}", ": grace_minutes:"},
		{"{" HEAD ", \"mode\": \"test\", \"grace_minutes\": 1.5}", ": grace_minutes:"},
		{"{" HEAD ", \"mode\": \"test\", \"battery_percent\": 101}", ": battery_percent:"},
		{"{\"schema\": 2, \"id\": \"a\", \"title\": \"t\", \"match\": {}, \"mode\": \"test\"}", ": schema:"},
		{"{\"schema\": 1, \"id\": \"-a\", \"title\": \"t\", \"match\": {}, \"mode\": \"test\"}", ": id:"},
		{"{\"schema\": 1, \"id\": \"a b\", \"title\": \"t\", \"match\": {}, \"mode\": \"test\"}", ": id:"},
		{"{\"schema\": 1, \"id\": \"a\", \"title\": \"\\u001b[2J\", \"match\": {}, \"mode\": \"test\"}", ": title:"},
		{"{\"schema\": 1, \"id\": \"a\", \"title\": \"t\", \"match\": [], \"mode\": \"test\"}", ": match:"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_request request = {.mode = 7};
		struct qmr_error err = {0};

		assert_true(parse(cases[i].text, &request, &err) < 0);
		assert_int_equal(request.mode, 7);
		if (!strstr(err.text, cases[i].field))
			fail_msg("'%s' does not say '%s'", err.text, cases[i].field);
	}
}

/* A record, one boot of the machine, and one request. */
struct world {
	json_t *record;
	struct qmr_request request;
	struct qmr_request_now now;
};

static struct world begin(void)
{
	struct world w = {.now = {.boots = 7, .incident = INCIDENT}};

	assert_int_equal(qmr_request_record_load(root_fd, "requests.json", &w.record, NULL), 0);
	assert_int_equal(parse("{" HEAD ", \"mode\": \"recover\"}", &w.request, NULL), 0);
	return w;
}

static void end(struct world *w)
{
	json_decref(w->record);
	qmr_request_done(&w->request);
}

static int allows(const struct world *w, int64_t later_s)
{
	struct qmr_error why = {0};

	return qmr_request_record_allows(w->record, &w->request, 1, NOW + later_s, &why);
}

static void expect(struct world *w, const char *due, const char *result)
{
	int changed;
	const char *is = qmr_request_record_settle(w->record, &w->now, &changed);

	if (due && is)
		assert_string_equal(is, due);
	else
		assert_ptr_equal(is, due);
	assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(w->record, "requests"), 0), "result")), result);
}

static void asked(struct world *w)
{
	assert_int_equal(qmr_request_record_begin(w->record, &w->request, &w->now, NOW, NULL), 0);
	assert_int_equal(qmr_request_record_ask(w->record, "a-1", NULL), 0);
}

static void once(void **unused)
{
	struct world w = begin();

	assert_int_equal(allows(&w, 0), 1);
	asked(&w);
	assert_int_equal(qmr_request_record_save(root_fd, "requests.json", w.record, NULL), 0);
	json_decref(w.record);
	assert_int_equal(qmr_request_record_load(root_fd, "requests.json", &w.record, NULL), 0);
	w.now.is_asked_for = 1;
	expect(&w, "a-1", "asked"); /* the restart did not come */
	w.now = (struct qmr_request_now){.boots = 8, .incident = OTHER};
	expect(&w, NULL, "done");
	assert_int_equal(allows(&w, 1000000), 0);
	end(&w);
}

static void cancelled(void **unused)
{
	struct world w = begin();

	asked(&w);
	expect(&w, NULL, "cancelled");
	assert_int_equal(allows(&w, 1000000), 0);
	end(&w);
}

static void a_test_is_done_by_its_result(void **unused)
{
	struct world w = begin();

	asked(&w);
	w.now = (struct qmr_request_now){.boots = 8, .incident = INCIDENT, .tested_unix_s = NOW - 1};
	expect(&w, NULL, "asked"); /* an older one */
	w.now.tested_unix_s = NOW + 60;
	expect(&w, NULL, "done");
	end(&w);
}

/* Power cut between the record and the boot state, again and again. */
static void cuts_are_tried_three_times(void **unused)
{
	struct world w = begin();

	for (int i = 1; i <= QMR_REQUEST_TRIES; i++) {
		assert_int_equal(allows(&w, i), 1);
		assert_int_equal(qmr_request_record_begin(w.record, &w.request, &w.now, NOW + i, NULL), 0);
		w.now.boots++;
		expect(&w, NULL, i < QMR_REQUEST_TRIES ? "begun" : "failed");
	}
	assert_int_equal(allows(&w, 1000000), 0);
	end(&w);
}

static void what_cannot_be_asked_for_fails(void **unused)
{
	struct world w = begin();

	for (int i = 1; i <= QMR_REQUEST_TRIES; i++) {
		assert_int_equal(allows(&w, i), 1);
		assert_int_equal(qmr_request_record_begin(w.record, &w.request, &w.now, NOW + i, NULL), 0);
		assert_int_equal(qmr_request_record_fail(w.record, "a-1", "no image", NULL), 0);
		expect(&w, NULL, i < QMR_REQUEST_TRIES ? "begun" : "failed");
	}
	end(&w);
}

static void one_a_day(void **unused)
{
	struct world w = begin();
	struct qmr_request other = {.id = "b-2", .mode = QMR_REQUEST_TEST};
	struct qmr_error why = {0};

	asked(&w);
	assert_int_equal(qmr_request_record_allows(w.record, &other, 1, NOW + 86399, &why), 0);
	assert_non_null(strstr(why.text, "per_day"));
	assert_int_equal(qmr_request_record_allows(w.record, &other, 2, NOW + 10, &why), 1);
	assert_int_equal(qmr_request_record_allows(w.record, &other, 1, NOW + 86400, &why), 1);
	assert_int_equal(qmr_request_record_allows(w.record, &other, 1, NOW - 1000000, &why), 0); /* the clock went back */
	end(&w);
}

static void the_oldest_fall_out(void **unused)
{
	struct world w = begin();
	char id[16];
	struct qmr_request many = {.id = id, .mode = QMR_REQUEST_TEST};

	for (int i = 0; i < 70; i++) {
		snprintf(id, sizeof(id), "n%d", i);
		assert_int_equal(qmr_request_record_begin(w.record, &many, &w.now, NOW, NULL), 0);
	}
	assert_int_equal(json_array_size(json_object_get(w.record, "requests")), 64);
	end(&w);
}

static void damaged(void **unused)
{
	static const char *const texts[] = {"", "{}", "{\"schema\": 2, \"requests\": []}", "{\"schema\": 1, \"requests\": [{\"id\": \"a\"}]}",
					    "{\"schema\": 1, \"requests\": {}}"};
	json_t *record = NULL;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct qmr_error err = {0};

		put("requests.json", texts[i]);
		assert_true(qmr_request_record_load(root_fd, "requests.json", &record, &err) < 0);
		assert_null(record);
		assert_non_null(strstr(err.text, "requests.json"));
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole), cmocka_unit_test(refused_by_field), TEST(once), TEST(cancelled), TEST(a_test_is_done_by_its_result),
		TEST(cuts_are_tried_three_times), TEST(what_cannot_be_asked_for_fails), TEST(one_a_day), TEST(the_oldest_fall_out),
		TEST(damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
