/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "file.h"
#include "loader-once.h"
#include "uki-section.h"

#define CMDLINE "initrd=\\abc\\6.1\\initrd.img root=UUID=1-2 ro\n"
#define SYSTEM "title T\nsort-key debian\nlinux /abc/6.1/linux\ninitrd /abc/6.1/initrd.img\n"

static void le(uint8_t *p, uint32_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(value >> 8 * i);
}

/* A PE of two sections with 16 bytes each. */
static size_t make_image(uint8_t ret_image[512], const char *first, const char *second, const char *content)
{
	const char *const names[] = {first, second};

	memset(ret_image, 0, 512);
	memcpy(ret_image, "MZ", 2);
	le(ret_image + 60, 64, 4);
	memcpy(ret_image + 64, "PE\0\0", 4);
	le(ret_image + 68, 0x8664, 2);
	le(ret_image + 70, 2, 2);
	for (uint32_t i = 0; i < 2; i++) {
		uint8_t *section = ret_image + 88 + 40 * i;

		memcpy(section, names[i], strnlen(names[i], 8));
		le(section + 8, 64, 4);
		le(section + 16, 64, 4);
		le(section + 20, 256 + 64 * i, 4);
		snprintf((char *)ret_image + 256 + 64 * i, 64, "%s", content);
	}
	return 384;
}

static void put(int fd, const char *path, const void *data, size_t size)
{
	assert_int_equal(qmr_file_replace(fd, path, data, size, 0644, NULL), 0);
}

static void put_text(int fd, const char *path, const char *text)
{
	put(fd, path, text, strlen(text));
}

static int exists(int fd, const char *path)
{
	return faccessat(fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* An ESP as qmrctl install leaves it, started by systemd-boot; its descriptor. */
static int make_esp(char folder[32])
{
	uint8_t image[512];
	size_t size;
	int fd;

	strcpy(folder, "/tmp/qmr-esp-XXXXXX");
	assert_non_null(mkdtemp(folder));
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(qmr_file_mkdirs(fd, "loader/entries", 0755, NULL), 0);
	assert_int_equal(qmr_file_mkdirs(fd, "EFI/Linux", 0755, NULL), 0);
	assert_int_equal(qmr_file_mkdirs(fd, "EFI/BOOT", 0755, NULL), 0);
	assert_int_equal(qmr_file_mkdirs(fd, "abc/6.1", 0755, NULL), 0);
	put_text(fd, "abc/6.1/linux", "kernel");
	put_text(fd, "loader/entries/system+4-1.conf", SYSTEM);
	size = make_image(image, ".sdmagic", ".text", "#### LoaderInfo: systemd-boot 252 ####");
	put(fd, "EFI/BOOT/BOOTX64.EFI", image, size);
	size = make_image(image, ".linux", ".initrd", "x");
	put(fd, QMR_LOADER_IMAGE, image, size);
	return fd;
}

static void remove_esp(const char *folder)
{
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, folder, NULL), 0);
}

static int examine(int fd, const char *preferred)
{
	const struct qmr_loader_boot boot = {CMDLINE, preferred, 0};

	return qmr_loader_once_examine(fd, &boot, NULL);
}

/* What is in the folder of entries of ours. */
static const char *is_there(int fd)
{
	static char found[256];

	snprintf(found, sizeof(found), "%s%s%s", exists(fd, "loader/entries/qmr-recovery-once+1.conf") ? "unused " : "",
		 exists(fd, "loader/entries/qmr-recovery-once+0-1.conf") ? "used " : "",
		 exists(fd, "loader/entries/.qmr-once.new") ? "unfinished " : "");
	return found;
}

static const char *default_of(int fd)
{
	static struct qmr_loader_menu menu;
	const struct qmr_loader_entry *entry;

	memset(&menu, 0, sizeof(menu));
	assert_int_equal(qmr_loader_menu_add(&menu, fd, 0, 1, NULL), 0);
	entry = qmr_loader_menu_default(&menu, NULL);
	return entry ? entry->file : "";
}

/* The try is taken, and the entry is not started again; it goes away, whatever became of it. */
static void test_life(void **state)
{
	char folder[32];
	cleanup_close int fd = make_esp(folder);
	cleanup_close int entries = openat(fd, "loader/entries", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct qmr_error err = {0};

	assert_int_equal(qmr_loader_once_remove(fd, &err), 0);
	assert_int_equal(examine(fd, NULL), 0);
	assert_string_equal(default_of(fd), "system+4-1.conf");
	assert_int_equal(qmr_loader_once_write(fd, &err), 0);
	assert_string_equal(is_there(fd), "unused ");
	assert_string_equal(default_of(fd), "qmr-recovery-once+1.conf");
	assert_int_equal(renameat(entries, "qmr-recovery-once+1.conf", entries, "qmr-recovery-once+0-1.conf"), 0);
	assert_string_equal(default_of(fd), "system+4-1.conf");
	assert_int_equal(examine(fd, NULL), 0);
	/* Recovery looks only at the system's entries, and gives this one nothing back. */
	assert_int_equal(qmr_loader_is_exhausted(fd, &err), 0);
	assert_int_equal(qmr_loader_restore(fd, 0, 0, &err), 1);
	assert_string_equal(is_there(fd), "used ");
	assert_int_equal(qmr_loader_once_write(fd, &err), 0);
	assert_string_equal(is_there(fd), "unused ");
	/* What a cut may leave, and how FAT or the firmware may write it. */
	put_text(fd, "loader/entries/.qmr-once.new", "tit");
	put_text(fd, "loader/entries/QMR-RECOVERY-ONCE+0-1.CONF", "title");
	assert_int_equal(qmr_loader_once_remove(fd, &err), 3);
	assert_string_equal(is_there(fd), "");
	assert_false(exists(fd, "loader/entries/QMR-RECOVERY-ONCE+0-1.CONF"));
	assert_true(exists(fd, "loader/entries/system+5.conf"));
	remove_esp(folder);
}

/* loader.conf, and what is set in the firmware. */
static void test_defaults(void **state)
{
	static const struct {
		const char *config, *preferred;
		int r;
	} cases[] = {
		{"timeout 3\n", NULL, 0},
		{"default gone*\n", NULL, 0},
		{"default *\n", NULL, 0}, /* the first in the menu, as without it */
		{"default system*\n", NULL, -EOPNOTSUPP},
		{"default SYSTEM.conf\n", NULL, -EOPNOTSUPP},
		{"default qmr-recovery-once*\n", NULL, -EOPNOTSUPP},
		{"default qmr-recovery*\n", NULL, -EOPNOTSUPP},
		{"default @saved\n", NULL, -EOPNOTSUPP},
		{"default system*\ndefault gone*\n", NULL, 0},
		{"", "system.conf", -EOPNOTSUPP},
		{"", "@saved", -EOPNOTSUPP},
		{"", "gone.conf", 0},
	};
	char folder[32];
	cleanup_close int fd = make_esp(folder);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		put_text(fd, "loader/loader.conf", cases[i].config);
		if (examine(fd, cases[i].preferred) != cases[i].r)
			fail_msg("case %zu: '%s'", i, cases[i].config);
	}
	remove_esp(folder);
}

static int examine_entry(int fd, const char *name, const char *text)
{
	char path[300];
	int r;

	snprintf(path, sizeof(path), "loader/entries/%s", name);
	put_text(fd, path, text);
	r = examine(fd, NULL);
	assert_int_equal(unlinkat(fd, path, 0), 0);
	return r;
}

/* systemd-boot has to have started this boot, from here, and to be able to rename. */
static void test_counted(void **state)
{
	char folder[32];
	cleanup_close int fd = make_esp(folder);
	struct qmr_loader_boot boot = {"initrd=\\other root=1", NULL, 0};

	assert_int_equal(unlinkat(fd, "loader/entries/system+4-1.conf", 0), 0);
	assert_int_equal(examine_entry(fd, "system+4-1.conf", SYSTEM), 0);
	assert_int_equal(examine_entry(fd, "system+5.conf", SYSTEM), -EOPNOTSUPP);
	assert_int_equal(examine_entry(fd, "system.conf", SYSTEM), -EOPNOTSUPP);
	/* Its last try: at the start after recovery there would be recovery alone. */
	assert_int_equal(examine_entry(fd, "system+0-5.conf", SYSTEM), -EOPNOTSUPP);
	assert_int_equal(examine_entry(fd, "system+4-1.conf", "title T\nsort-key debian\nlinux /abc/6.1/linux\ninitrd /abc/6.1/initrd.img.old\n"),
			 -EOPNOTSUPP);
	assert_int_equal(examine_entry(fd, "system+4-1.conf", "title T\nsort-key debian\nlinux /abc/6.1/linux\n"), -EOPNOTSUPP);
	/* Its place in the menu is another's. */
	assert_int_equal(examine_entry(fd, "system+4-1.conf", "title T\nsort-key +a\nlinux /abc/6.1/linux\ninitrd \\ABC/6.1\\initrd.img\n"),
			 -EOPNOTSUPP);
	put_text(fd, "loader/entries/system+4-1.conf", SYSTEM);
	assert_int_equal(qmr_loader_once_examine(fd, &boot, NULL), -EOPNOTSUPP);
	boot.is_counted = 1;
	assert_int_equal(qmr_loader_once_examine(fd, &boot, NULL), 0);
	boot = (struct qmr_loader_boot){"quiet xinitrd=\\abc\\6.1\\initrd.img", NULL, 0};
	assert_int_equal(qmr_loader_once_examine(fd, &boot, NULL), -EOPNOTSUPP);
	assert_int_equal(unlinkat(fd, "EFI/BOOT/BOOTX64.EFI", 0), 0);
	assert_int_equal(examine(fd, NULL), -EOPNOTSUPP);
	remove_esp(folder);
}

static void test_image(void **state)
{
	char folder[32];
	cleanup_close int fd = make_esp(folder);
	uint8_t image[512];
	size_t size = make_image(image, ".linux", ".initrd", "x");

	for (size_t cut = 0; cut < size; cut++) {
		put(fd, QMR_LOADER_IMAGE, image, cut);
		if (examine(fd, NULL) != -EOPNOTSUPP)
			fail_msg("cut to %zu bytes", cut);
	}
	put(fd, QMR_LOADER_IMAGE, image, size);
	assert_int_equal(examine(fd, NULL), 0);
	le(image + 68, 0xaa64, 2);
	put(fd, QMR_LOADER_IMAGE, image, size);
	assert_int_equal(examine(fd, NULL), -EOPNOTSUPP);
	size = make_image(image, ".linux", ".cmdline", "x");
	put(fd, QMR_LOADER_IMAGE, image, size);
	assert_int_equal(examine(fd, NULL), -EOPNOTSUPP);
	assert_int_equal(unlinkat(fd, QMR_LOADER_IMAGE, 0), 0);
	assert_int_equal(examine(fd, NULL), -EOPNOTSUPP);
	remove_esp(folder);
}

/* Without variables: what was started, and only that. */
static void test_renew(void **state)
{
	static const char *const left[] = {"system+3.conf", "same+3.conf", "other+1-2.conf", "none.conf"};
	char folder[32], path[64];
	cleanup_close int fd = make_esp(folder);
	struct qmr_error err = {0};

	put_text(fd, "loader/entries/same+0-3.conf", SYSTEM);
	put_text(fd, "loader/entries/other+1-2.conf", "title O\nlinux /abc/6.1/linux\ninitrd /abc/6.0/initrd.img\n");
	put_text(fd, "loader/entries/none.conf", SYSTEM);
	put_text(fd, "loader/entries/qmr-recovery-once+0-1.conf", SYSTEM);
	assert_int_equal(qmr_loader_renew_started(fd, CMDLINE, 3, &err), 2);
	for (size_t i = 0; i < sizeof(left) / sizeof(*left); i++) {
		snprintf(path, sizeof(path), "loader/entries/%s", left[i]);
		assert_true(exists(fd, path));
	}
	assert_string_equal(is_there(fd), "used ");
	assert_int_equal(qmr_loader_renew_started(fd, CMDLINE, 3, &err), 0);
	remove_esp(folder);
}

/* A folder that cannot be written: nothing with a try is left behind. */
static void test_failures(void **state)
{
	char folder[32];
	cleanup_close int fd = make_esp(folder);

	if (geteuid() != 0) {
		assert_int_equal(fchmodat(fd, "loader/entries", 0555, 0), 0);
		assert_true(qmr_loader_once_write(fd, NULL) < 0);
		assert_int_equal(fchmodat(fd, "loader/entries", 0755, 0), 0);
	}
	assert_int_equal(mkdirat(fd, "loader/entries/.qmr-once.new", 0755), 0);
	assert_true(qmr_loader_once_write(fd, NULL) < 0);
	assert_string_equal(is_there(fd), "unfinished ");
	assert_int_equal(unlinkat(fd, "loader/entries/.qmr-once.new", AT_REMOVEDIR), 0);
	assert_int_equal(qmr_file_remove_tree(fd, "loader", NULL), 0);
	assert_true(qmr_loader_once_write(fd, NULL) < 0);
	assert_int_equal(qmr_loader_once_remove(fd, NULL), 0);
	remove_esp(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),  cmocka_unit_test(test_defaults), cmocka_unit_test(test_counted),
		cmocka_unit_test(test_image), cmocka_unit_test(test_renew),    cmocka_unit_test(test_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
