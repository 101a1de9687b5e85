/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "boot-state-json.h"
#include "boot-state.h"
#include "crc32.h"

static const uint8_t root[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static void fill(struct qmr_state *s)
{
	qmr_state_init(s, root);
	s->sequence = 0x0102030405060708;
	s->boots = 77;
	s->stage = QMR_STAGE_PROBATION;
	s->reason = QMR_REASON_DETECTOR;
	s->switches = 1;
	s->recovery_runs = 2;
	s->final = QMR_END_HALT;
	s->rungs = QMR_RUNG_PLAN | QMR_RUNG_REVERT;
	s->failed_boots = 2;
	s->n_attempts = QMR_STATE_ATTEMPTS;
	for (int i = 0; i < QMR_STATE_ATTEMPTS; i++)
		s->attempts[i] = (struct qmr_attempt){.started_unix_s = 1000u + (unsigned int)i, .number = 77u - (unsigned int)i,
						      .outcome = QMR_PANIC, .phase = QMR_PHASE_USERSPACE,
						      .flags = QMR_ATTEMPT_RECOVER, .evidence = QMR_BY_WATCHDOG,
						      .uptime_s = 9, .kernel_crc32 = 5};
	for (uint32_t i = 0; i < QMR_STATE_RECORDS; i++)
		s->records[i] = 0xabcd0000 + i;
	memset(s->remediation, 'r', sizeof(s->remediation) - 1);
	memset(s->note, 'n', sizeof(s->note) - 1);
	strcpy(s->kernel, "6.1.0-40-amd64");
	s->floor = (struct qmr_floor){0x0102030405060708, 0xf1f2f3f4f5f6f7f8, 2, 41, 40, 0x0c0d0e0f};
}

static void encodes_and_decodes(void **unused)
{
	struct qmr_state a, b;
	uint8_t bytes[QMR_STATE_BYTES];

	fill(&a);
	assert_int_equal(qmr_state_block_module(&a, "bad-driver", NULL), 0);
	qmr_state_encode(&a, bytes);
	assert_int_equal(qmr_state_decode(bytes, sizeof(bytes), &b, NULL), 0);
	assert_memory_equal(&a, &b, sizeof(a));
}

/* The offsets of docs/boot-state.md, by hand and not through the encoder's own constants. */
static void bytes_are_where_the_document_says(void **unused)
{
	struct qmr_state s;
	uint8_t bytes[QMR_STATE_BYTES];

	fill(&s);
	assert_int_equal(qmr_state_block_module(&s, "m", NULL), 0);
	qmr_state_encode(&s, bytes);
	assert_memory_equal(bytes, "QMRS\x01\x00\xe0\x03", 8);
	assert_memory_equal(bytes + 16, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
	assert_memory_equal(bytes + 24, root, 16);
	assert_int_equal(bytes[56], 77);
	assert_memory_equal(bytes + 60, "\x03\x01\x01\x02\x02\x03\x10\x02", 8);
	assert_int_equal(bytes[72 + 8], 77);
	assert_int_equal(bytes[72 + 12], 3);
	assert_int_equal(bytes[72 + 24 * 15 + 8], 62);
	assert_memory_equal(bytes + 456, "\x00\x00\xcd\xab", 4);
	assert_string_equal((char *)bytes + 520, "m");
	assert_int_equal(bytes[744], 'r');
	assert_string_equal((char *)bytes + 808, "6.1.0-40-amd64");
	assert_int_equal(bytes[872], 'n');
	assert_int_equal(bytes[959], 0);
	assert_memory_equal(bytes + 960, "\x08\x07\x06\x05\x04\x03\x02\x01\xf8\xf7\xf6\xf5\xf4\xf3\xf2\xf1", 16);
	assert_memory_equal(bytes + 976, "\x02\0\0\0\x29\0\0\0\x28\0\0\0\x0f\x0e\x0d\x0c", 16);
}

/* What a program wrote that knew of no floor. */
static void an_earlier_size_is_taken(void **unused)
{
	static const uint8_t zero[4];
	struct qmr_state s, out;
	uint8_t bytes[QMR_STATE_BYTES];
	uint32_t crc;

	fill(&s);
	qmr_state_encode(&s, bytes);
	memcpy(bytes + 6, "\xc0\x03", 2);
	memcpy(bytes + 8, zero, 4);
	crc = qmr_crc32(0, bytes, 960);
	for (int b = 0; b < 4; b++)
		bytes[8 + b] = (uint8_t)(crc >> 8 * b);
	assert_int_equal(qmr_state_decode(bytes, 960, &out, NULL), 0);
	assert_false(qmr_floor_is_set(&out.floor));
	memset(&s.floor, 0, sizeof(s.floor));
	assert_memory_equal(&s, &out, sizeof(s));
}

static void floors_are_what_was_written(void **unused)
{
	static const struct qmr_floor most = {UINT64_MAX, 1, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0};
	static const char *const bad[] = {"", "1:2:3:4:5:6", "0123456789abcdef:0123456789abcdef:2:41:40", "0123456789abcdef:0123456789abcdef:2:41:40:12 ",
					  "0123456789abcdef:0123456789abcdef:2:41:40:-1", "0123456789abcdef:0123456789abcdef:2:41:40:4294967296",
					  "0123456789ABCDEF:0123456789abcdef:2:41:40:12", "0123456789abcdef:0123456789abcdef:02:41:40:12"};
	char text[QMR_FLOOR_TEXT];
	struct qmr_floor floor;

	qmr_floor_format(&most, text);
	assert_string_equal(text, "ffffffffffffffff:0000000000000001:4294967295:4294967295:4294967295:0");
	assert_int_equal(qmr_floor_parse(text, &floor, NULL), 0);
	assert_memory_equal(&floor, &most, sizeof(floor));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (qmr_floor_parse(bad[i], &floor, NULL) != -EINVAL)
			fail_msg("'%s'", bad[i]);
}

static void every_flipped_bit_is_noticed(void **unused)
{
	struct qmr_state s, out;
	uint8_t bytes[QMR_STATE_BYTES];

	fill(&s);
	qmr_state_encode(&s, bytes);
	for (size_t i = 0; i < sizeof(bytes) * 8; i++) {
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(qmr_state_decode(bytes, sizeof(bytes), &out, NULL), -EBADMSG);
		bytes[i / 8] ^= (uint8_t)(1 << i % 8);
	}
}

static void every_truncation_is_refused(void **unused)
{
	struct qmr_state s, out;
	uint8_t bytes[QMR_STATE_BYTES];

	fill(&s);
	qmr_state_encode(&s, bytes);
	for (size_t size = 0; size < sizeof(bytes); size++)
		assert_int_equal(qmr_state_decode(bytes, size, &out, NULL), -EBADMSG);
}

static void values_outside_their_range_are_refused(void **unused)
{
	static const struct {
		size_t at;
		uint8_t value;
	} cases[] = {{60, 7}, {61, 6}, {64, 4}, {66, 17}, {72 + 12, 7}, {72 + 13, 5}, {72 + 15, 7}};
	static const uint8_t zero[4];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_error err = {0};
		struct qmr_state s, out;
		uint8_t bytes[QMR_STATE_BYTES];
		uint32_t crc;

		fill(&s);
		qmr_state_encode(&s, bytes);
		bytes[cases[i].at] = cases[i].value;
		memcpy(bytes + 8, zero, 4);
		crc = qmr_crc32(0, bytes, sizeof(bytes));
		for (int b = 0; b < 4; b++)
			bytes[8 + b] = (uint8_t)(crc >> 8 * b);
		assert_int_equal(qmr_state_decode(bytes, sizeof(bytes), &out, &err), -EBADMSG);
		assert_non_null(strstr(err.text, "range"));
	}
}

static void a_larger_state_of_later_is_read(void **unused)
{
	static const uint8_t zero[4];
	struct qmr_state s, out;
	uint8_t bytes[1000] = {0};
	uint32_t crc;

	fill(&s);
	qmr_state_encode(&s, bytes);
	bytes[6] = 1000 & 0xff;
	bytes[7] = 1000 >> 8;
	memcpy(bytes + 8, zero, 4);
	crc = qmr_crc32(0, bytes, sizeof(bytes));
	for (int b = 0; b < 4; b++)
		bytes[8 + b] = (uint8_t)(crc >> 8 * b);
	assert_int_equal(qmr_state_decode(bytes, sizeof(bytes), &out, NULL), 0);
	assert_int_equal(out.boots, 77);
}

static void module_list_has_an_end(void **unused)
{
	struct qmr_state s;

	qmr_state_init(&s, root);
	assert_int_equal(qmr_state_block_module(&s, "a-b", NULL), 0);
	assert_string_equal(s.modules[0], "a_b");
	assert_int_equal(qmr_state_block_module(&s, "a_b", NULL), 0);
	assert_string_equal(s.modules[1], "");
	assert_int_equal(qmr_state_block_module(&s, "c", NULL), 0);
	assert_int_equal(qmr_state_block_module(&s, "d", NULL), 0);
	assert_int_equal(qmr_state_block_module(&s, "e", NULL), 0);
	assert_int_equal(qmr_state_block_module(&s, "f", NULL), -ENOSPC);
	assert_int_equal(qmr_state_block_module(&s, "", NULL), -EINVAL);
}

static void json_has_the_documented_words(void **unused)
{
	struct qmr_state s;
	json_t *json;

	fill(&s);
	json = qmr_state_to_json(&s);
	assert_non_null(json);
	assert_string_equal(json_string_value(json_object_get(json, "stage")), "probation");
	assert_string_equal(json_string_value(json_object_get(json, "root")), "01020304-0506-0708-090a-0b0c0d0e0f10");
	assert_int_equal(json_array_size(json_object_get(json, "attempts")), QMR_STATE_ATTEMPTS);
	assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(json, "attempts"), 0),
							      "outcome")), "panic");
	json_decref(json);
}

/* Who can write EFI variables (another system, an UEFI shell) must not write modprobe.d: "install x COMMAND" runs as root. */
static void test_names_of_blocked_modules(void **unused)
{
	uint8_t bytes[QMR_STATE_BYTES];
	struct qmr_state state, back;
	struct qmr_error err = {0};

	qmr_state_init(&state, NULL);
	strcpy(state.modules[0], "x\ninstall snd_hda_intel sh /boot/efi/e #");
	qmr_state_encode(&state, bytes);
	if (qmr_state_decode(bytes, sizeof(bytes), &back, &err) == 0)
		assert_null(strpbrk(back.modules[0], " \n#/"));
}

static void a_crash_of_another_system(void **unused)
{
	static const struct {
		enum qmr_outcome outcome;
		int64_t crash_uptime_s;
		enum qmr_outcome after;
	} cases[] = {
		{QMR_CLEAN_SHUTDOWN, 5, QMR_CLEAN_SHUTDOWN}, {QMR_HEALTHY, 5, QMR_HEALTHY},	  {QMR_CLEAN_SHUTDOWN, 28, QMR_PANIC},
		{QMR_HEALTHY, 31, QMR_PANIC},		     {QMR_CLEAN_SHUTDOWN, -1, QMR_PANIC}, {QMR_OPEN, 5, QMR_PANIC},
		{QMR_EMERGENCY, 5, QMR_PANIC},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_evidence evidence = {.panic = 1, .crash_uptime_s = cases[i].crash_uptime_s};
		struct qmr_state s;

		qmr_state_init(&s, root);
		s.n_attempts = 1;
		s.attempts[0] = (struct qmr_attempt){.outcome = (uint8_t)cases[i].outcome, .uptime_s = 30};
		qmr_state_close_last(&s, &evidence, 300);
		assert_int_equal(s.attempts[0].outcome, cases[i].after);
	}
}

static void hibernation_ends_with_a_healthy_boot(void **unused)
{
	struct qmr_state s = {.n_attempts = 3};

	s.attempts[2] = (struct qmr_attempt){.outcome = QMR_HEALTHY, .phase = QMR_PHASE_HEALTHY, .flags = QMR_ATTEMPT_HIBERNATED};
	s.attempts[1].outcome = QMR_PANIC;
	s.attempts[0].outcome = QMR_CLEAN_SHUTDOWN;
	assert_int_equal(qmr_state_is_hibernated(&s), 1);
	s.attempts[0] = (struct qmr_attempt){.outcome = QMR_HEALTHY, .phase = QMR_PHASE_HEALTHY};
	assert_int_equal(qmr_state_is_hibernated(&s), 0);
	s.attempts[0].outcome = QMR_OPEN;
	s.attempts[0].phase = QMR_PHASE_INITRAMFS;
	assert_int_equal(qmr_state_is_hibernated(&s), 1);
	qmr_state_forget_hibernation(&s);
	assert_int_equal(qmr_state_is_hibernated(&s), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crash_of_another_system), cmocka_unit_test(test_names_of_blocked_modules), cmocka_unit_test(encodes_and_decodes),
		cmocka_unit_test(bytes_are_where_the_document_says),
		cmocka_unit_test(an_earlier_size_is_taken),
		cmocka_unit_test(floors_are_what_was_written),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(values_outside_their_range_are_refused),
		cmocka_unit_test(a_larger_state_of_later_is_read),
		cmocka_unit_test(module_list_has_an_end),
		cmocka_unit_test(json_has_the_documented_words),
		cmocka_unit_test(hibernation_ends_with_a_healthy_boot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
