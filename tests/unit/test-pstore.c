/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#include "pstore.h"

static struct qmr_records records;
static struct qmr_dumps dumps;

static int set_up(void **state)
{
	memset(&records, 0, sizeof(records));
	memset(&dumps, 0, sizeof(dumps));
	return 0;
}

static int tear_down(void **state)
{
	qmr_dumps_done(&dumps);
	qmr_records_done(&records);
	return 0;
}

static void add_bytes(const char *name, const void *data, size_t size, uint64_t mtime)
{
	struct qmr_record record = {0};

	assert_int_equal(0, qmr_record_make(name, data, size, mtime, &record, NULL));
	assert_int_equal(0, qmr_records_add(&records, &record, NULL));
}

static void add(const char *name, const char *text, uint64_t mtime)
{
	add_bytes(name, text, strlen(text), mtime);
}

/* As efi-pstore names them: (time * 100 + part) * 1000 + count. */
static void add_efi(uint64_t time_s, unsigned int part, unsigned int count, const char *reason, const char *text)
{
	char name[64], data[256];

	snprintf(name, sizeof(name), "dmesg-efi_pstore-%llu",
		 (unsigned long long)((time_s * 100 + part) * 1000 + count));
	snprintf(data, sizeof(data), "%s#%u Part%u\n%s", reason, count, part, text);
	add(name, data, 0);
}

static void join(size_t expected)
{
	assert_int_equal(0, qmr_dumps_join(&records, &dumps, NULL));
	assert_int_equal(expected, dumps.n);
}

static void test_efi_id(void **state)
{
	struct qmr_record record = {0};

	assert_int_equal(0, qmr_record_make("dmesg-efi-179000000003002", "x", 1, 5, &record, NULL));
	assert_string_equal("efi", record.source);
	assert_int_equal(1790000000, record.time_unix_s);
	assert_int_equal(3, record.part);
	assert_int_equal(2, record.count);
	qmr_record_done(&record);
}

static void test_header(void **state)
{
	struct qmr_record record = {0};

	assert_int_equal(0, qmr_record_make("dmesg-ramoops-0", "Oops#7 Part12\ntext\n", 19, 5, &record, NULL));
	assert_string_equal("Oops", record.reason);
	assert_int_equal(7, record.count);
	assert_int_equal(12, record.part);
	assert_int_equal(14, record.header_bytes);
	assert_int_equal(5, record.time_unix_s);
	qmr_record_done(&record);
}

static void test_other_names(void **state)
{
	static const char *const names[] = {"",          "dmesg",        "dmesg-",     "dmesg-efi",    "dmesg-efi-",
					    "dmesg--1",  "../dmesg-efi-1", ".dmesg-a-1", "dmesg-e/fi-1", "passwd",
					    "dmesg-a b-1"};
	struct qmr_record record = {0};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		assert_int_equal(-EINVAL, qmr_record_make(names[i], "x", 1, 0, &record, NULL));
}

static size_t deflate_as(int window_bits, const char *text, unsigned char *out, size_t room)
{
	z_stream z = {.next_in = (unsigned char *)(uintptr_t)text, .avail_in = (unsigned int)strlen(text)};

	assert_int_equal(Z_OK, deflateInit2(&z, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY));
	z.next_out = out;
	z.avail_out = (unsigned int)room;
	assert_int_equal(Z_STREAM_END, deflate(&z, Z_FINISH));
	deflateEnd(&z);
	return z.total_out;
}

static void test_compressed(void **state)
{
	/* crypto/deflate.c, lib/zlib since 6.6, zlib streams before 4.18 */
	static const int window_bits[] = {-11, -12, -15, 12, 15};
	unsigned char out[256];

	for (size_t i = 0; i < 5; i++) {
		size_t n = deflate_as(window_bits[i], "Panic#2 Part1\nhello\n", out, sizeof(out));
		struct qmr_record record = {0};

		assert_int_equal(0, qmr_record_make("dmesg-efi-179000000001002.enc.z", out, n, 0, &record, NULL));
		assert_string_equal("dmesg-efi-179000000001002", record.name);
		assert_string_equal("Panic#2 Part1\nhello\n", record.data);
		assert_string_equal("Panic", record.reason);
		qmr_record_done(&record);
		/* Cut short it is kept as it is. */
		assert_int_equal(-EBADMSG,
				 qmr_record_make("dmesg-efi-179000000001002.enc.z", out, n - 6, 0, &record, NULL));
		assert_string_equal("dmesg-efi-179000000001002.enc.z", record.name);
		assert_int_equal(n - 6, record.size);
		assert_false(record.is_dump);
		qmr_record_done(&record);
	}
}

static void test_stream_by_chance(void **state)
{
	unsigned char out[256];
	size_t n = deflate_as(-15, "no header", out, sizeof(out));
	struct qmr_record record = {0};

	assert_int_equal(-EBADMSG, qmr_record_make("dmesg-efi-179000000001002.enc.z", out, n, 0, &record, NULL));
	assert_int_equal(n, record.size);
	qmr_record_done(&record);
}

static void test_bomb(void **state)
{
	size_t size = 8 << 20;
	char *zeros = malloc(size + 1);
	unsigned char *out = malloc(65536);
	struct qmr_record record = {0};

	assert_non_null(zeros);
	memset(zeros, 'a', size);
	zeros[size] = '\0';
	size = deflate_as(-15, zeros, out, 65536);
	assert_int_equal(-EBADMSG, qmr_record_make("dmesg-efi-1.enc.z", out, size, 0, &record, NULL));
	assert_int_equal(size, record.size);
	qmr_record_done(&record);
	free(zeros);
	free(out);
}

static void test_parts_joined(void **state)
{
	add_efi(1790000000, 2, 1, "Panic", "middle\n");
	add_efi(1790000000, 1, 1, "Panic", "newest\n");
	add_efi(1790000000, 3, 1, "Panic", "oldest\n");
	join(1);
	assert_string_equal("oldest\nmiddle\nnewest\n", dumps.items[0].text);
	assert_string_equal("efi-179000000001", dumps.items[0].group);
	assert_int_equal(1790000000, dumps.items[0].time_unix_s);
	assert_true(dumps.items[0].panic);
	assert_int_equal(0, dumps.items[0].missing);
}

static void test_second_rolls_over_between_parts(void **state)
{
	add_efi(1790000000, 1, 2, "Panic", "newest\n");
	add_efi(1790000000, 2, 2, "Panic", "middle\n");
	add_efi(1790000001, 3, 2, "Panic", "oldest\n");
	join(1);
	assert_string_equal("oldest\nmiddle\nnewest\n", dumps.items[0].text);
}

static void test_oops_and_panic_are_two(void **state)
{
	add_efi(1790000000, 1, 1, "Oops", "o1\n");
	add_efi(1790000000, 2, 1, "Oops", "o2\n");
	add_efi(1790000000, 1, 2, "Panic", "p1\n");
	add_efi(1790000000, 2, 2, "Panic", "p2\n");
	join(2);
	assert_string_equal("o2\no1\n", dumps.items[0].text);
	assert_false(dumps.items[0].panic);
	assert_string_equal("p2\np1\n", dumps.items[1].text);
}

static void test_two_boots_soon_after_each_other(void **state)
{
	add_efi(1790000000, 1, 1, "Panic", "a1\n");
	add_efi(1790000000, 2, 1, "Panic", "a2\n");
	add_efi(1790000015, 1, 1, "Panic", "b1\n");
	add_efi(1790000015, 2, 1, "Panic", "b2\n");
	join(2);
	assert_string_equal("a2\na1\n", dumps.items[0].text);
	assert_string_equal("b2\nb1\n", dumps.items[1].text);
}

static void test_missing_part(void **state)
{
	add_efi(1790000000, 1, 1, "Panic", "1\n");
	add_efi(1790000000, 3, 1, "Panic", "3\n");
	join(1);
	assert_int_equal(1, dumps.items[0].missing);
	assert_string_equal("3\n1\n", dumps.items[0].text);
}

static void test_same_record_twice(void **state)
{
	add_efi(1790000000, 1, 1, "Panic", "1\n");
	add_efi(1790000000, 1, 1, "Panic", "1\n");
	assert_int_equal(1, records.n);
}

static void test_empty_copy_gives_way(void **state)
{
	add("dmesg-efi_pstore-179000000001001", "", 0);
	add_efi(1790000000, 1, 1, "Panic", "1\n");
	assert_int_equal(1, records.n);
	add("dmesg-efi_pstore-179000000001001", "", 0);
	assert_int_equal(1, records.n);
	join(1);
	assert_string_equal("1\n", dumps.items[0].text);
}

static void test_empty_parts_do_not_split(void **state)
{
	add_efi(1790000000, 1, 1, "Panic", "1\n");
	add("dmesg-efi_pstore-179000000002001", "", 0);
	add_efi(1790000000, 3, 1, "Panic", "3\n");
	join(1);
	assert_string_equal("3\n1\n", dumps.items[0].text);
}

static void test_ramoops_reused_name(void **state)
{
	add("dmesg-ramoops-0", "Panic#1 Part1\nold boot\n", 1790000000);
	add("dmesg-ramoops-0", "Panic#1 Part1\nnew boot\n", 1790000100);
	assert_int_equal(2, records.n);
	assert_string_equal("dmesg-ramoops-0.2", records.items[1].name);
	/* As it is read back from a saved folder. */
	add("dmesg-ramoops-0.2", "Panic#1 Part1\nnew boot\n", 1790000200);
	assert_int_equal(2, records.n);
	join(2);
	assert_string_equal("ramoops-0-1790000000", dumps.items[0].group);
	assert_string_equal("new boot\n", dumps.items[1].text);
}

static void test_console_is_no_dump(void **state)
{
	add("console-ramoops-0", "all is well\n", 5);
	join(0);
	assert_int_equal(1, records.n);
}

static void test_limits(void **state)
{
	struct qmr_record record = {0};
	char *big = calloc(1, QMR_RECORD_BYTES_MAX);
	int r = 0, n = 0;

	assert_non_null(big);
	while (r == 0 && n++ < 100) {
		char name[64];

		snprintf(name, sizeof(name), "dmesg-ramoops-%d", n);
		assert_int_equal(0, qmr_record_make(name, big, QMR_RECORD_BYTES_MAX, 0, &record, NULL));
		r = qmr_records_add(&records, &record, NULL);
	}
	assert_int_equal(-ENOSPC, r);
	assert_true(records.bytes <= QMR_RECORDS_BYTES_MAX);
	free(big);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_efi_id), T(test_header), T(test_other_names), T(test_compressed), T(test_stream_by_chance), T(test_bomb),
		T(test_parts_joined), T(test_second_rolls_over_between_parts), T(test_oops_and_panic_are_two),
		T(test_two_boots_soon_after_each_other), T(test_missing_part), T(test_same_record_twice),
		T(test_empty_copy_gives_way), T(test_empty_parts_do_not_split), T(test_ramoops_reused_name),
		T(test_console_is_no_dump), T(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
