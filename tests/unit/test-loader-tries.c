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
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "file.h"
#include "loader-tries.h"

#define MACHINE "0123456789abcdef0123456789abcdef"

static const struct qmr_loader_own own = {MACHINE, "booted.conf"};

static void test_names(void **state)
{
	static const struct {
		const char *file;
		int left, done;
		const char *name;
	} cases[] = {
		{"a.conf", 3, 0, "a+3.conf"},	      {"a+2-1.conf", 3, 0, "a+3.conf"},	 {"a+0-3.CONF", 3, 0, "a+3.CONF"},
		{"a+3.conf", -1, -1, "a.conf"},	      {"a.conf", -1, -1, "a.conf"},	 {"a+b.efi", 1, 2, "a+b+1-2.efi"},
		{"6.1+deb12.conf", 3, 0, "6.1+deb12+3.conf"}, {"6.1+deb12+1-2.conf", -1, 0, "6.1+deb12.conf"},
	};
	static const char *const bad[] = {"a", "a.txt", ".a.conf", ""};
	char name[QMR_LOADER_FILE], longest[QMR_LOADER_FILE];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(qmr_loader_name_count(cases[i].file, cases[i].left, cases[i].done, name), 0);
		assert_string_equal(name, cases[i].name);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(qmr_loader_name_count(bad[i], 3, 0, name), -EINVAL);
	memset(longest, 'a', sizeof(longest) - 6);
	strcpy(longest + sizeof(longest) - 6, ".conf");
	assert_int_equal(qmr_loader_name_count(longest, 3, 0, name), -ENAMETOOLONG);
}

static void test_paths(void **state)
{
	static const struct {
		const char *path;
		int left;
	} cases[] = {
		{"\\loader\\entries\\a+2-1.conf", 2}, {"\\EFI\\Linux\\a+0-3.efi", 0},	      {"\\LOADER\\ENTRIES\\A+1-2.CONF", 1},
		{"\\loader\\entries\\a.conf", -1},    {"\\loader\\entries\\a+2-1.efi", -1},   {"a+2-1.conf", -1},
		{"\\a+2-1.conf", -1},		      {"\\loader\\entries\\x/a+2-1.conf", -1}, {"\\loader\\entries\\..\\a+2-1.conf", -1},
		{"", -1},			      {"\\", -1},			      {"/loader/entries/a+2-1.conf", -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(qmr_loader_path_left(cases[i].path), cases[i].left);
}

/* An ESP of files; its descriptor. */
static int make_esp(char folder[32])
{
	int fd;

	strcpy(folder, "/tmp/qmr-esp-XXXXXX");
	assert_non_null(mkdtemp(folder));
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(qmr_file_mkdirs(fd, "loader/entries", 0755, NULL), 0);
	assert_int_equal(qmr_file_replace(fd, "vmlinuz", "k", 1, 0644, NULL), 0);
	return fd;
}

static void put(int fd, const char *file, const char *machine_id, const char *more)
{
	char path[300], text[300];

	snprintf(path, sizeof(path), "loader/entries/%s", file);
	snprintf(text, sizeof(text), "title T\nlinux /vmlinuz\n%s%s\n%s", machine_id ? "machine-id " : "", machine_id ? machine_id : "", more);
	assert_int_equal(qmr_file_replace(fd, path, text, strlen(text), 0644, NULL), 0);
}

static int exists(int fd, const char *file)
{
	char path[300];

	snprintf(path, sizeof(path), "loader/entries/%s", file);
	return faccessat(fd, path, F_OK, 0) == 0;
}

/* Ours are counted, others' are not; and taken back. */
static void test_counting(void **state)
{
	char folder[32], file[QMR_LOADER_FILE];
	cleanup_close int fd = make_esp(folder);
	struct qmr_error err = {0};

	put(fd, "ours.conf", MACHINE, "");
	put(fd, "used+1-2.conf", MACHINE, "");
	put(fd, "other+5.conf", MACHINE, ""); /* of another configuration */
	put(fd, "theirs.conf", "f123456789abcdef0123456789abcdef", "");
	put(fd, "nobodys.conf", NULL, "");
	put(fd, "booted.conf", NULL, "");
	put(fd, "auto-windows.conf", MACHINE, "");
	assert_int_equal(qmr_loader_count_missing(fd, &(struct qmr_loader_own){0}, 3, file, &err), 0); /* who we are is not known */
	assert_int_equal(qmr_loader_count_missing(fd, &own, 3, file, &err), 3);
	assert_int_equal(qmr_loader_count_entries(fd, &own, 3, &err), 3);
	assert_true(exists(fd, "ours+3.conf") && exists(fd, "used+1-2.conf") && exists(fd, "other+3.conf") && exists(fd, "theirs.conf") &&
		    exists(fd, "nobodys.conf") && exists(fd, "booted+3.conf") && exists(fd, "auto-windows.conf"));
	assert_int_equal(qmr_loader_count_missing(fd, &own, 3, file, &err), 0);
	assert_int_equal(qmr_loader_count_entries(fd, &own, 3, &err), 0);
	assert_int_equal(qmr_loader_count_entries(fd, &own, 0, &err), 4);
	assert_true(exists(fd, "ours.conf") && exists(fd, "used.conf") && exists(fd, "other.conf") && exists(fd, "booted.conf"));
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, folder, NULL), 0);
}

static void test_renewing(void **state)
{
	static const char path[] = "\\loader\\entries\\a+2-1.conf";
	char folder[32];
	cleanup_close int fd = make_esp(folder);
	struct qmr_error err = {0};

	put(fd, "a+2-1.conf", MACHINE, "");
	assert_int_equal(qmr_loader_renew(fd, path, 3, &err), 1);
	assert_true(exists(fd, "a+3.conf") && !exists(fd, "a+2-1.conf"));
	assert_int_equal(qmr_loader_renew(fd, path, 3, &err), 0); /* the initramfs did it */
	/* kernel-install wrote it anew meanwhile: the same text, or another. */
	put(fd, "a+2-1.conf", MACHINE, "");
	assert_int_equal(qmr_loader_renew(fd, path, 3, &err), 1);
	assert_true(exists(fd, "a+3.conf") && !exists(fd, "a+2-1.conf"));
	put(fd, "a+2-1.conf", MACHINE, "options old\n");
	assert_int_equal(qmr_loader_renew(fd, path, 3, &err), -EEXIST);
	assert_true(exists(fd, "a+3.conf") && exists(fd, "a+2-1.conf"));
	assert_int_equal(qmr_loader_renew(fd, "\\loader\\entries\\b+2-1.conf", 3, &err), -ENOENT);
	assert_int_equal(qmr_loader_renew(fd, "\\EFI\\Linux\\b+2-1.efi", 3, &err), -ENOENT);
	assert_int_equal(qmr_loader_renew(fd, "nonsense", 3, &err), -EINVAL);
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, folder, NULL), 0);
}

/* Recovery: when is it the loader that came here, and what it leaves behind. */
static void test_exhausted(void **state)
{
	char folder[32];
	cleanup_close int fd = make_esp(folder);
	struct qmr_error err = {0};

	assert_int_equal(qmr_loader_is_exhausted(fd, &err), 1); /* nothing is left to start */
	put(fd, "a+0-3.conf", MACHINE, "");
	put(fd, "b+1-2.conf", MACHINE, "");
	assert_int_equal(qmr_loader_is_exhausted(fd, &err), 0);
	assert_int_equal(qmr_loader_restore(fd, 0, 1, &err), 0); /* b is still there to be started */
	assert_true(exists(fd, "a+0-3.conf"));
	assert_int_equal(qmr_loader_restore(fd, 0, 0, &err), 2);
	assert_true(exists(fd, "a+3.conf") && exists(fd, "b+3.conf"));
	assert_int_equal(qmr_loader_restore(fd, 0, 0, &err), 0);
	assert_int_equal(qmr_file_remove_tree(fd, "loader/entries/a+3.conf", NULL), 0);
	assert_int_equal(qmr_file_remove_tree(fd, "loader/entries/b+3.conf", NULL), 0);
	put(fd, "a+0-3.conf", MACHINE, "");
	put(fd, "b+0-4.conf", MACHINE, "");
	put(fd, "c.conf", NULL, ""); /* the owner's entry without a counter is started first */
	assert_int_equal(qmr_loader_is_exhausted(fd, &err), 0);
	assert_int_equal(qmr_loader_restore(fd, 0, 1, &err), 0);
	assert_int_equal(qmr_file_remove_tree(fd, "loader/entries/c.conf", NULL), 0);
	assert_int_equal(qmr_loader_is_exhausted(fd, &err), 1);
	assert_int_equal(qmr_loader_restore(fd, 0, 1, &err), 2);
	assert_true(exists(fd, "a+1-2.conf") && exists(fd, "b+1-3.conf"));
	assert_int_equal(qmr_loader_restore(fd, 0, 1, &err), 0);
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, folder, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),	 cmocka_unit_test(test_paths),	   cmocka_unit_test(test_counting),
		cmocka_unit_test(test_renewing), cmocka_unit_test(test_exhausted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
