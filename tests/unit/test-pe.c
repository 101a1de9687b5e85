/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cleanup.h"
#include "pe.h"

#define HEADERS 0x400
#define PE 0x80
#define OPTIONAL (PE + 24)
#define OPTIONAL_BYTES 240
#define TABLE (OPTIONAL + OPTIONAL_BYTES)
#define SIZE (HEADERS + 0x400)

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_section(uint8_t *image, int i, const char *name, uint32_t address, uint32_t raw)
{
	uint8_t *s = image + TABLE + 40 * i;

	strncpy((char *)s, name, 8);
	put32(s + 8, 0x180);
	put32(s + 12, address);
	put32(s + 16, 0x200);
	put32(s + 20, raw);
}

/* Two sections; .text is filled with 'T', .data with 'D'. header_bytes is SizeOfHeaders. */
static void make_image(uint8_t image[SIZE], uint32_t header_bytes)
{
	memset(image, 0, SIZE);
	memcpy(image, "MZ", 2);
	put32(image + 60, PE);
	memcpy(image + PE, "PE\0\0\x64\x86\x02", 7);
	put32(image + PE + 20, OPTIONAL_BYTES);
	memcpy(image + OPTIONAL, "\x0b\x02", 2);
	put32(image + OPTIONAL + 32, 0x200); /* section alignment */
	put32(image + OPTIONAL + 36, 0x200);
	put32(image + OPTIONAL + 56, 0x5200);
	put32(image + OPTIONAL + 60, header_bytes);
	put32(image + OPTIONAL + 64, 0x12345678); /* checksum */
	put32(image + OPTIONAL + 108, 16);
	put32(image + OPTIONAL + 112 + 4 * 8, 0x4242); /* signature */
	put_section(image, 0, ".text", 0x4000, header_bytes);
	put_section(image, 1, ".data", 0x5000, header_bytes + 0x200);
	memset(image + header_bytes, 'T', 0x200);
	memset(image + header_bytes + 0x200, 'D', 0x200);
}

#define MANY 20 /* sections more than the headers have room for */

static const struct qmr_pe_section two[] = {{".linux", "kernel", 6}, {".initrd1", "initrd!", 7}};

static const uint8_t *find(const uint8_t *image, const char *name)
{
	const uint8_t *pe = image + get32(image + 60);
	unsigned int n = pe[6] | (unsigned int)pe[7] << 8;
	const uint8_t *s = pe + 24 + (pe[20] | (unsigned int)pe[21] << 8);

	for (; n--; s += 40)
		if (!strncmp((const char *)s, name, 8))
			return s;
	return NULL;
}

/* What a loader relies on: sections in ascending, disjoint places inside the file and below SizeOfImage. */
static void check_layout(const uint8_t *image, size_t size)
{
	unsigned int n = image[PE + 6];
	uint64_t address_end = get32(image + OPTIONAL + 60), raw_end = address_end;

	for (unsigned int i = 0; i < n; i++) {
		const uint8_t *s = image + TABLE + 40 * i;

		assert_true(get32(s + 12) >= address_end);
		assert_true(get32(s + 20) >= raw_end);
		assert_int_equal(get32(s + 20) % 0x200, 0);
		address_end = (uint64_t)get32(s + 12) + get32(s + 8);
		raw_end = (uint64_t)get32(s + 20) + get32(s + 16);
	}
	assert_true(raw_end <= size);
	assert_true(address_end <= get32(image + OPTIONAL + 56));
	assert_true(TABLE + 40 * n <= get32(image + OPTIONAL + 60));
}

static void check_section(const uint8_t *image, const char *name, const char *content, size_t size)
{
	const uint8_t *s = find(image, name);

	assert_non_null(s);
	assert_true(get32(s + 8) >= size || !strcmp(name, ".text"));
	assert_memory_equal(image + get32(s + 20), content, size);
}

static void appended(void **unused)
{
	cleanup_free uint8_t *out = NULL;
	uint8_t image[SIZE];
	size_t size;

	make_image(image, HEADERS);
	assert_int_equal(qmr_pe_append(image, SIZE, two, 2, &out, &size, NULL), 0);
	check_layout(out, size);
	check_section(out, ".linux", "kernel", 6);
	check_section(out, ".initrd1", "initrd!", 7);
	check_section(out, ".text", "TTTT", 4);
	check_section(out, ".data", "DDDD", 4);
	assert_int_equal(get32(find(out, ".linux") + 8), 6);
	assert_int_equal(get32(find(out, ".linux") + 12) % 4096, 0);
	assert_int_equal(get32(find(out, ".linux") + 36), 0x40000040);
	assert_int_equal(get32(out + OPTIONAL + 64), 0);
	assert_int_equal(get32(out + OPTIONAL + 112 + 32), 0);
	assert_int_equal(get32(out + OPTIONAL + 60), HEADERS);
}

/* No room behind the section table: the raw data moves, what it says stays. */
static void shifted(void **unused)
{
	struct qmr_pe_section many[MANY];
	cleanup_free uint8_t *out = NULL;
	uint8_t image[SIZE];
	char names[MANY][9];
	size_t size;

	for (int i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof(names[i]), ".s%d", i);
		many[i] = (struct qmr_pe_section){names[i], names[i], 4};
	}
	make_image(image, HEADERS);
	assert_int_equal(qmr_pe_append(image, SIZE, many, MANY, &out, &size, NULL), 0);
	check_layout(out, size);
	assert_int_equal(get32(out + OPTIONAL + 60), HEADERS + 0x200);
	check_section(out, ".text", "TTTT", 4);
	check_section(out, ".data", "DDDD", 4);
	check_section(out, ".s19", ".s19", 4);
}

static int append_error(const uint8_t *image, size_t size)
{
	cleanup_free uint8_t *out = NULL;
	size_t out_size;
	int r = qmr_pe_append(image, size, two, 2, &out, &out_size, NULL);

	if (r == 0)
		assert_true(out_size >= size - 0x200);
	return r;
}

static void refused(void **unused)
{
	static const struct {
		const char *what;
		size_t offset;
		uint32_t value;
		int error;
	} cases[] = {
		{"no MZ", 0, 0, -ENOEXEC},
		{"header offset", 60, UINT32_MAX, -EBADMSG},
		{"header offset over the end", 60, SIZE - 100, -EBADMSG},
		{"no PE", PE, 0, -ENOEXEC},
		{"another machine, no sections", PE + 4, 0x0000aa64, -ENOEXEC},
		{"no sections", PE + 4, 0x00008664, -EBADMSG},
		{"65535 sections", PE + 4, 0xffff8664, -EBADMSG},
		{"small optional header", PE + 20, 16, -EBADMSG},
		{"large optional header", PE + 20, 0xffff, -EBADMSG},
		{"PE32", OPTIONAL, 0x10b, -ENOEXEC},
		{"section alignment 0", OPTIONAL + 32, 0, -EBADMSG},
		{"section alignment 3", OPTIONAL + 32, 0x300, -EBADMSG},
		{"file alignment 0", OPTIONAL + 36, 0, -EBADMSG},
		{"headers larger than the file", OPTIONAL + 60, SIZE + 1, -EBADMSG},
		{"headers smaller than the table", OPTIONAL + 60, TABLE, -EBADMSG},
		{"too many directories", OPTIONAL + 108, 17, -EBADMSG},
		{"raw data beyond the end", TABLE + 20, SIZE, -EBADMSG},
		{"raw data in the headers", TABLE + 20, 16, -EBADMSG},
		{"endless raw data", TABLE + 16, UINT32_MAX, -EBADMSG},
		{"endless section", TABLE + 8, UINT32_MAX, -EBADMSG},
		{"section over the headers", TABLE + 12, 0x200, -EBADMSG},
	};
	uint8_t image[SIZE];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		make_image(image, HEADERS);
		put32(image + cases[i].offset, cases[i].value);
		if (append_error(image, SIZE) != cases[i].error)
			fail_msg("%s", cases[i].what);
	}
	make_image(image, HEADERS);
	memcpy(image + TABLE, ".linux\0\0", 8);
	assert_int_equal(append_error(image, SIZE), -EEXIST);
	make_image(image, HEADERS);
	put32(image + TABLE + 12, HEADERS); /* sections begin right behind the headers: they cannot grow */
	put32(image + PE + 4, 0x00028664);
	{
		struct qmr_pe_section many[MANY];
		uint8_t *out = NULL;
		size_t size;

		for (int i = 0; i < MANY; i++)
			many[i] = (struct qmr_pe_section){".x", "x", 1};
		assert_int_equal(qmr_pe_append(image, SIZE, many, MANY, &out, &size, NULL), -E2BIG);
		assert_null(out);
	}
}

static void cut_and_changed(void **unused)
{
	uint8_t image[SIZE];

	make_image(image, HEADERS);
	for (size_t size = 0; size < SIZE; size += size < TABLE + 80 ? 1 : 37) {
		cleanup_free uint8_t *copy = malloc(size + 1);

		memcpy(copy, image, size);
		assert_true(append_error(copy, size) < 0);
	}
	for (size_t i = 0; i < TABLE + 80; i++)
		for (int bit = 0; bit < 8; bit++) {
			image[i] ^= (uint8_t)(1 << bit);
			(void)append_error(image, SIZE);
			image[i] ^= (uint8_t)(1 << bit);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appended),
		cmocka_unit_test(shifted),
		cmocka_unit_test(refused),
		cmocka_unit_test(cut_and_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
