/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "file.h"
#include "loader-entries.h"
#include "uki-section.h"

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

/* UAPI.10, "Examples", and the order that systemd documents for its own versions (systemd-analyze(1), compare-versions). */
static void test_versions(void **state)
{
	static const struct {
		const char *a, *b;
		int order;
	} cases[] = {
		{"11", "11", 0},           {"systemd-123", "systemd-123", 0}, {"bar-123", "foo-123", -1},
		{"123a", "123", 1},        {"123.a", "123", 1},               {"123.a", "123.b", -1},
		{"123a", "123.a", 1},      {"11\xce\xb1", "11\xce\xb2", 0},   {"A", "a", -1},
		{"", "0", -1},             {"0.", "0", 1},                    {"0.0", "0", 1},
		{"0", "~", 1},             {"", "~", 1},                      {"1_", "1", 0},
		{"_1", "1", 0},            {"1_", "1.2", -1},                 {"1_2_3", "1.3.3", 1},
		{"1+", "1", 0},            {"+1", "1", 0},                    {"1+", "1.2", -1},
		{"1+2+3", "1.3.3", 1},     {"00123", "123", 0},               {"9", "10", -1},
		{"6.1.0-9-amd64", "6.1.0-10-amd64", -1},                      {NULL, "", 0},
		{NULL, "1", -1},           {"1~~", "1~", -1},                 {"99999999999999999999", "100000000000000000000", -1},
	};
	static const char *const rising[] = {"122.1", "123~rc1-1", "123", "123-a", "123-a.1", "123-1", "123-1.1",
					     "123^post1", "123.a-1", "123.1-1", "123a-1", "124-1"};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(sign(qmr_loader_version_compare(cases[i].a, cases[i].b)), cases[i].order);
		assert_int_equal(sign(qmr_loader_version_compare(cases[i].b, cases[i].a)), -cases[i].order);
	}
	for (size_t i = 0; i < sizeof(rising) / sizeof(*rising); i++)
		for (size_t k = 0; k < sizeof(rising) / sizeof(*rising); k++)
			assert_int_equal(sign(qmr_loader_version_compare(rising[i], rising[k])), (i > k) - (i < k));
}

static void test_names(void **state)
{
	static const struct {
		const char *file, *id;
		int left, done;
	} good[] = {
		{"Debian.conf", "debian.conf", -1, -1},      {"a+3.conf", "a.conf", 3, 0},
		{"a+0-3.conf", "a.conf", 0, 3},              {"a+2-1.CONF", "a.conf", 2, 1},
		{"a+b.conf", "a+b.conf", -1, -1},            {"a+1-.conf", "a+1-.conf", -1, -1},
		{"a+1x.conf", "a+1x.conf", -1, -1},          {"a+.conf", "a+.conf", -1, -1},
		{"a+1+2.conf", "a+1.conf", 2, 0},            {"a+9999999999.conf", "a+9999999999.conf", -1, -1},
		{"6.1.0-1+deb12+3.conf", "6.1.0-1+deb12.conf", 3, 0},
	};
	static const char *const bad[] = {"a", ".conf", ".a.conf", "auto-windows.conf", "a.conf.bak", "a.efi", ""};
	struct qmr_loader_entry e;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(qmr_loader_entry_parse(good[i].file, "linux /vmlinuz\n", &e), 0);
		assert_string_equal(e.id, good[i].id);
		assert_string_equal(e.file, good[i].file);
		assert_int_equal(e.tries_left, good[i].left);
		assert_int_equal(e.tries_done, good[i].done);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_true(qmr_loader_entry_parse(bad[i], "linux /vmlinuz\n", &e) < 0);
}

static void test_entry(void **state)
{
	struct qmr_loader_entry e;

	assert_int_equal(qmr_loader_entry_parse("d.conf",
						"# sort-key comment\r\ntitle  Debian\r\n  sort-key\tdebian \r\nversion \"6.1\"\n"
						"machine-id abc\nlinux /a b\noptions linux /c\nsort-keys no\nversion",
						&e), 0);
	assert_string_equal(e.sort_key, "debian");
	assert_int_equal(e.has_sort_key, 1);
	assert_string_equal(e.version, "6.1");
	assert_string_equal(e.machine_id, "abc");
	assert_string_equal(e.program, "/a b");
	assert_int_equal(qmr_loader_entry_parse("d.conf", "efi /x.efi\narchitecture X64\nsort-key \n", &e), 0);
	assert_int_equal(e.has_sort_key, 0);
	/* What systemd-boot does not show. */
	assert_true(qmr_loader_entry_parse("d.conf", "title no program\n", &e) < 0);
	assert_true(qmr_loader_entry_parse("d.conf", "linux /v\narchitecture aa64\n", &e) < 0);
	assert_true(qmr_loader_entry_parse("d.conf", "", &e) < 0);

	assert_int_equal(qmr_loader_unified_parse("u+1.efi", "NAME=x\nID=zz-u\nVERSION_ID='12'\n", &e), 0);
	assert_string_equal(e.sort_key, "zz-u");
	assert_string_equal(e.version, "12");
	assert_int_equal(e.unified, 1);
	assert_int_equal(qmr_loader_unified_parse("u.efi", "ID=a\nIMAGE_ID=b\nBUILD_ID=1\nVERSION=2\n", &e), 0);
	assert_string_equal(e.sort_key, "b");
	assert_string_equal(e.version, "2");
	assert_true(qmr_loader_unified_parse("u.efi", "VERSION_ID=1\nVARIANT_ID=x\n", &e) < 0);
	assert_int_equal(qmr_loader_unified_parse("u.efi", "NAME=n\n", &e), 0);
	assert_int_equal(e.has_sort_key, 0);
}

/* A menu is given top to bottom as "file|text"; every pair must compare so. */
static void test_order(void **state)
{
	static const struct {
		const char *file, *text;
	} menu[] = {
		{"z.conf", "linux /v\nsort-key debian\nmachine-id a\nversion 7\n"},
		{"a.conf", "linux /v\nsort-key debian\nmachine-id a\nversion 6\n"},
		{"b+3.conf", "linux /v\nsort-key debian\nmachine-id b\nversion 9\n"},
		{"b+2-1.conf", "linux /v\nsort-key debian\nmachine-id b\nversion 9\n"},
		{"b+2-2.conf", "linux /v\nsort-key debian\nmachine-id b\nversion 9\n"},
		{"0.conf", "linux /v\nsort-key zz-qmr-recovery\n"},
		{"10.conf", "linux /v\n"},
		{"9.conf", "linux /v\nversion 99\n"},
		{"c+0-3.conf", "linux /v\nsort-key debian\nversion 99\n"},
		{"c+0.conf", "linux /v\n"},
	};
	struct qmr_loader_entry e[sizeof(menu) / sizeof(*menu)];

	for (size_t i = 0; i < sizeof(menu) / sizeof(*menu); i++)
		assert_int_equal(qmr_loader_entry_parse(menu[i].file, menu[i].text, &e[i]), 0);
	for (size_t i = 0; i < sizeof(menu) / sizeof(*menu); i++)
		for (size_t k = 0; k < sizeof(menu) / sizeof(*menu); k++)
			if (sign(qmr_loader_entry_compare(&e[i], &e[k])) != (i > k) - (i < k))
				fail_msg("'%s' and '%s' are in the wrong order", menu[i].file, menu[k].file);
}

static void test_add_sort_key(void **state)
{
	static const struct {
		const char *before, *after;
	} cases[] = {
		{"title A\nlinux /v\n", "title A\nsort-key k\nlinux /v\n"},
		{"# c\ntitle A\nlinux /v", "# c\ntitle A\nsort-key k\nlinux /v"},
		{"linux /v\n", "sort-key k\nlinux /v\n"},
		{"linux /v\ntitle A", "linux /v\ntitle A\nsort-key k\n"},
		{"", "sort-key k\n"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = qmr_loader_entry_add_sort_key(cases[i].before, "k");

		assert_string_equal(text, cases[i].after);
		free(text);
	}
}

static void put32(uint8_t *p, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

/* A unified image of one section, as small as the format allows. */
static size_t make_unified(uint8_t *image, const char *text)
{
	size_t length = strlen(text), at = 64 + 24;

	memset(image, 0, 1024);
	memcpy(image, "MZ", 2);
	put32(image + 60, 64);
	memcpy(image + 64, "PE\0\0", 4);
	image[64 + 6] = 1; /* one section */
	memcpy(image + at, ".osrel", 6);
	put32(image + at + 8, (uint32_t)length);
	put32(image + at + 16, 512);
	put32(image + at + 20, 512);
	memcpy(image + 512, text, length);
	return 1024;
}

static int image_fd(const uint8_t *image, size_t size)
{
	char path[] = "/tmp/qmr-uki-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(write(fd, image, size), (ssize_t)size);
	return fd;
}

static void test_section(void **state)
{
	uint8_t image[1024];
	size_t size = make_unified(image, "ID=u\n");
	int fd = image_fd(image, size);
	char *text = NULL;

	assert_int_equal(qmr_uki_section_read(fd, ".osrel", 100, &text), 0);
	assert_string_equal(text, "ID=u\n");
	free(text);
	assert_int_equal(qmr_uki_section_read(fd, ".osrel", 4, &text), -EFBIG);
	assert_int_equal(qmr_uki_section_read(fd, ".uname", 100, &text), -ENOENT);
	close(fd);
	for (size_t cut = 0; cut < 512 + 5; cut += 7) {
		fd = image_fd(image, cut);
		assert_int_equal(qmr_uki_section_read(fd, ".osrel", 100, &text), -EINVAL);
		close(fd);
	}
}

static void write_file(int dir, const char *path, const void *data, size_t size)
{
	int fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), (ssize_t)size);
	close(fd);
}

static void write_text(int dir, const char *path, const char *text)
{
	write_file(dir, path, text, strlen(text));
}

static const char *default_of(int dir, const char *preferred)
{
	static struct qmr_loader_menu menu;
	const struct qmr_loader_entry *entry;

	memset(&menu, 0, sizeof(menu));
	assert_int_equal(qmr_loader_menu_add(&menu, dir, 0, 1, NULL), 0);
	entry = qmr_loader_menu_default(&menu, preferred);
	return entry ? entry->file : NULL;
}

/* The trap itself: beside entries without sort-key, the recovery image is what is booted every day. */
static void test_menu(void **state)
{
	char path[] = "/tmp/qmr-esp-XXXXXX";
	uint8_t image[1024];
	size_t size = make_unified(image, "ID=zz-qmr-recovery\nVERSION_ID=1\n");
	int dir;

	assert_non_null(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY);
	assert_null(default_of(dir, NULL));
	assert_int_equal(qmr_file_mkdirs(dir, "loader/entries", 0700, NULL), 0);
	assert_int_equal(qmr_file_mkdirs(dir, "EFI/Linux", 0700, NULL), 0);
	write_text(dir, "vmlinuz", "x");
	write_text(dir, "loader/entries/a.conf", "title A\nlinux \\vmlinuz\n");
	write_text(dir, "loader/entries/gone.conf", "title Z\nsort-key a\nlinux /gone\n");
	assert_string_equal(default_of(dir, NULL), "a.conf");
	write_file(dir, "EFI/Linux/qmr-recovery.efi", image, size);
	assert_string_equal(default_of(dir, NULL), "qmr-recovery.efi");
	write_text(dir, "loader/loader.conf", "timeout 3\ndefault a.*\n");
	assert_string_equal(default_of(dir, NULL), "a.conf");
	assert_string_equal(default_of(dir, "qmr-*"), "qmr-recovery.efi");
	assert_string_equal(default_of(dir, "none"), "a.conf");
	write_text(dir, "loader/loader.conf", "default none\n");
	assert_string_equal(default_of(dir, NULL), "qmr-recovery.efi");
	write_text(dir, "loader/entries/a.conf", "title A\nsort-key debian\nlinux \\vmlinuz\n");
	assert_string_equal(default_of(dir, NULL), "a.conf");
	close(dir);
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, path, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions), cmocka_unit_test(test_names),        cmocka_unit_test(test_entry),
		cmocka_unit_test(test_order),    cmocka_unit_test(test_add_sort_key), cmocka_unit_test(test_section),
		cmocka_unit_test(test_menu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
