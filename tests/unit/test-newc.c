/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>

#include <cmocka.h>

#include "newc.h"

struct sink {
	char data[8192];
	size_t used, limit;
};

static int collect(void *user, const void *data, size_t size, struct qmr_error *err)
{
	struct sink *sink = user;

	if (sink->used + size > sink->limit)
		return qmr_error_set(err, -ENOSPC, "full");
	memcpy(sink->data + sink->used, data, size);
	sink->used += size;
	return 0;
}

static uint32_t field(const char *header, int n)
{
	char text[9] = "";

	memcpy(text, header + 6 + 8 * n, 8);
	return (uint32_t)strtoul(text, NULL, 16);
}

/* Field numbers of the format's table: 0 inode, 1 mode, 4 links, 5 mtime, 6 size, 9 and 10 device, 11 name size. */
static void entries(void **unused)
{
	static struct sink sink = {.limit = sizeof(sink.data)};
	const struct qmr_newc_entry file = {.path = "etc/x", .mode = S_IFREG | 0644, .size_bytes = 5};
	const struct qmr_newc_entry node = {.path = "dev/console", .mode = S_IFCHR | 0600, .major = 5, .minor = 1};
	struct qmr_newc newc;
	const char *p = sink.data;

	qmr_newc_begin(&newc, collect, &sink, 77);
	assert_int_equal(qmr_newc_add(&newc, &file, NULL), 0);
	assert_int_equal(qmr_newc_data(&newc, "he", 2, NULL), 0);
	assert_int_equal(qmr_newc_data(&newc, "llo", 3, NULL), 0);
	assert_int_equal(qmr_newc_add(&newc, &node, NULL), 0);
	assert_int_equal(qmr_newc_end(&newc, NULL), 0);

	assert_memory_equal(p, "070701", 6);
	assert_int_equal(field(p, 0), 1);
	assert_int_equal(field(p, 1), S_IFREG | 0644);
	assert_int_equal(field(p, 5), 77);
	assert_int_equal(field(p, 6), 5);
	assert_int_equal(field(p, 11), 6);
	/* 110 + 6 is a multiple of 4; the 5 bytes are padded to 8 */
	assert_memory_equal(p + 110, "etc/x\0hello\0\0\0\0", 13);
	p += 110 + 6 + 8;
	assert_memory_equal(p, "070701", 6);
	assert_int_equal(field(p, 0), 2);
	assert_int_equal(field(p, 9), 5);
	assert_int_equal(field(p, 10), 1);
	p += 124; /* 110 + 12 padded to 4 */
	assert_memory_equal(p + 110, "TRAILER!!!", 11);
	assert_int_equal(sink.used % 512, 0);
}

static void misuse(void **unused)
{
	static struct sink sink = {.limit = sizeof(sink.data)};
	const struct qmr_newc_entry file = {.path = "x", .mode = S_IFREG | 0644, .size_bytes = 2};
	const struct qmr_newc_entry absolute = {.path = "/x", .mode = S_IFREG}, empty = {.path = ""};
	struct qmr_newc newc;

	qmr_newc_begin(&newc, collect, &sink, 0);
	assert_int_equal(qmr_newc_add(&newc, &absolute, NULL), -EINVAL);
	assert_int_equal(qmr_newc_add(&newc, &empty, NULL), -EINVAL);
	assert_int_equal(qmr_newc_add(&newc, &file, NULL), 0);
	assert_int_equal(qmr_newc_data(&newc, "abc", 3, NULL), -EINVAL);
	assert_int_equal(qmr_newc_add(&newc, &file, NULL), -EINVAL);
	assert_int_equal(qmr_newc_end(&newc, NULL), -EINVAL);
	assert_int_equal(qmr_newc_data(&newc, "ab", 2, NULL), 0);
	assert_int_equal(qmr_newc_end(&newc, NULL), 0);
}

/* Wherever the sink fails, the error comes out. */
static void full(void **unused)
{
	const struct qmr_newc_entry file = {.path = "x", .mode = S_IFREG | 0644, .size_bytes = 2};

	for (size_t limit = 0; limit < 512; limit += 3) {
		static struct sink sink;
		struct qmr_newc newc;
		int r;

		sink.used = 0;
		sink.limit = limit;
		qmr_newc_begin(&newc, collect, &sink, 0);
		r = qmr_newc_add(&newc, &file, NULL);
		if (r == 0)
			r = qmr_newc_data(&newc, "ab", 2, NULL);
		if (r == 0)
			r = qmr_newc_end(&newc, NULL);
		assert_int_equal(r, -ENOSPC);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries),
		cmocka_unit_test(misuse),
		cmocka_unit_test(full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
