/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "retry.h"

static void pauses_grow_and_are_random(void **unused)
{
	struct qmr_retry retry;
	int64_t whole = QMR_RETRY_FIRST_MS;

	for (uint64_t seed = 0; seed < 200; seed++) {
		whole = QMR_RETRY_FIRST_MS;
		qmr_retry_begin(&retry, seed);
		for (int i = 0; i < 12; i++) {
			int64_t ms = qmr_retry_next_ms(&retry, 0);

			assert_true(ms >= whole / 2 && ms <= whole);
			whole = whole * 2 < QMR_RETRY_MAX_MS ? whole * 2 : QMR_RETRY_MAX_MS;
		}
	}
}

static void what_a_server_asks_for_is_the_least(void **unused)
{
	struct qmr_retry retry;

	qmr_retry_begin(&retry, 7);
	assert_true(qmr_retry_next_ms(&retry, 60) > 60000);
	assert_true(qmr_retry_next_ms(&retry, 60) > 60000 + QMR_RETRY_FIRST_MS / 2);
}

/* A thousand machines that failed at one moment: none of 100 ms holds more than a share of them. */
static void machines_spread(void **unused)
{
	int slots[10] = {0};

	for (uint64_t machine = 0; machine < 1000; machine++) {
		struct qmr_retry retry;
		int64_t at = 0;

		qmr_retry_begin(&retry, machine);
		for (int i = 0; i < 3; i++)
			at += qmr_retry_next_ms(&retry, 0);
		slots[at / 100 % 10]++;
	}
	for (int i = 0; i < 10; i++)
		assert_true(slots[i] > 40 && slots[i] < 200);
}

static void the_same_seed_is_the_same_machine(void **unused)
{
	struct qmr_retry a, b;

	qmr_retry_begin(&a, 42);
	qmr_retry_begin(&b, 42);
	for (int i = 0; i < 5; i++)
		assert_int_equal(qmr_retry_next_ms(&a, 0), qmr_retry_next_ms(&b, 0));
	assert_true(qmr_retry_seed("a") != qmr_retry_seed("a"));
}

static void dates_have_three_forms(void **unused)
{
	static const struct {
		const char *text;
		int64_t unix_s;
	} dates[] = {
		/* RFC 9110, 5.6.7 */
		{"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
		{"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
		{"Sun Nov  6 08:49:37 1994", 784111777},
		{"Wed, 25 Nov 2026 07:00:00 GMT", 1795590000},
		{"Sun, 06 Nov 1994 08:49:37", -1},
		{"Sun, 06 Nov 1994 08:49:37 GMT+1", -1},
		{"Sun, 06 anF 1994 08:49:37 GMT", -1},
		{"Sun, 36 Nov 1994 08:49:37 GMT", -1},
		{"Sun, 06 Nov 1994 24:49:37 GMT", -1},
		{"Sun, -6 Nov 1994 08:49:37 GMT", -1},
		{"", -1},
		{"120", -1},
	};

	for (size_t i = 0; i < sizeof(dates) / sizeof(*dates); i++)
		if (qmr_retry_parse_date(dates[i].text) != dates[i].unix_s)
			fail_msg("'%s': %lld", dates[i].text,
				 (long long)qmr_retry_parse_date(dates[i].text));
}

static void retry_after_is_a_number_or_a_date(void **unused)
{
	const char *date = "Sun, 06 Nov 1994 08:49:37 GMT";

	assert_int_equal(qmr_retry_after_s("120", NULL, 0), 120);
	assert_int_equal(qmr_retry_after_s("0", NULL, 0), 0);
	assert_int_equal(qmr_retry_after_s("99999999999999999999999", NULL, 0), 86400);
	assert_int_equal(qmr_retry_after_s("-5", NULL, 0), 0);
	assert_int_equal(qmr_retry_after_s("soon", NULL, 0), 0);
	assert_int_equal(qmr_retry_after_s("Sun, 06 Nov 1994 08:50:37 GMT", date, 1), 60);
	/* A clock in 2099 or 1970 changes nothing while the answer has a Date. */
	assert_int_equal(qmr_retry_after_s("Sun, 06 Nov 1994 08:50:37 GMT", date, 4070908800), 60);
	assert_int_equal(qmr_retry_after_s("Sun, 06 Nov 1994 08:50:37 GMT", "?", 784111777), 60);
	assert_int_equal(qmr_retry_after_s("Sun, 06 Nov 1994 08:50:37 GMT", NULL, 0), 86400);
	assert_int_equal(qmr_retry_after_s("Sun, 06 Nov 1994 08:40:37 GMT", date, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pauses_grow_and_are_random),
		cmocka_unit_test(what_a_server_asks_for_is_the_least),
		cmocka_unit_test(machines_spread),
		cmocka_unit_test(the_same_seed_is_the_same_machine),
		cmocka_unit_test(dates_have_three_forms),
		cmocka_unit_test(retry_after_is_a_number_or_a_date),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
