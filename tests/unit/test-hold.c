/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utmp.h>

#include <cmocka.h>

#include "file.h"
#include "hold.h"
#include "tree.h"

static void nothing_speaks_against_it(void **unused)
{
	assert_null(qmr_hold_find(root_fd));
	put("run/systemd/ask-password/sck.1", "");
	put("run/systemd/sessions/c1", "UID=0\nCLASS=greeter\n");
	put("proc/12/comm", "fscker\n");
	put("proc/self/comm", "fsck\n"); /* a link to a number in the real one */
	assert_int_equal(mkdirat(root_fd, "run/systemd/generator.early", 0755), 0);
	assert_int_equal(symlinkat("/lib/systemd/system/multi-user.target", root_fd, "run/systemd/generator.early/default.target"), 0);
	assert_null(qmr_hold_find(root_fd));
	assert_int_equal(qmr_hold_is_asked(root_fd), 0);
}

static void a_question(void **unused)
{
	put("run/systemd/ask-password/ask.xyz", "[Ask]\n");
	assert_int_equal(qmr_hold_is_asked(root_fd), 1);
	assert_string_equal(qmr_hold_find(root_fd), "somebody is asked for a passphrase");
	assert_null(qmr_hold_find_person(root_fd));
}

static void a_session(void **unused)
{
	put("run/systemd/sessions/3", "UID=1000\nACTIVE=1\nCLASS=user\nTYPE=tty\n");
	assert_int_equal(mkfifoat(root_fd, "run/systemd/sessions/3.ref", 0600), 0);
	assert_string_equal(qmr_hold_find_person(root_fd), "somebody is logged in");
	assert_string_equal(qmr_hold_find(root_fd), "somebody is logged in");
}

static void somebody_in_utmp(void **unused)
{
	struct utmp entries[2] = {{.ut_type = BOOT_TIME}, {.ut_type = USER_PROCESS}};

	put_bytes("run/utmp", entries, sizeof(entries[0]));
	assert_null(qmr_hold_find_person(root_fd));
	put_bytes("run/utmp", entries, sizeof(entries));
	assert_non_null(qmr_hold_find_person(root_fd));
	/* systemd-logind knows better. */
	assert_int_equal(qmr_file_mkdirs(root_fd, "run/systemd/sessions", 0755, NULL), 0);
	assert_null(qmr_hold_find_person(root_fd));
}

static void repairs(void **unused)
{
	static const char *const names[] = {"fsck\n", "e2fsck\n", "fsck.vfat\n", "xfs_repair\n", "fsck.ext4"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		put("proc/123/comm", names[i]);
		assert_string_equal(qmr_hold_find(root_fd), "a file system is checked");
	}
}

static void an_offline_update(void **unused)
{
	assert_int_equal(qmr_file_mkdirs(root_fd, "run/systemd/generator.early", 0755, NULL), 0);
	assert_int_equal(symlinkat("/usr/lib/systemd/system/system-update.target", root_fd, "run/systemd/generator.early/default.target"), 0);
	assert_string_equal(qmr_hold_find(root_fd), "an offline update runs");
}

static void crypttab(void **unused)
{
	static const struct {
		const char *text;
		int asks;
	} cases[] = {
		{"", 0}, {"\n\n", 0}, {"# a b none\n", 0}, {"root UUID=1 none luks\n", 1}, {"root UUID=1", 1}, {"root\n", 0},
		{"swap /dev/sda2 /dev/urandom swap\n", 0}, {"root UUID=1 /etc/key luks\n", 0}, {"root UUID=1 - luks\n", 1},
		{"root UUID=1 /etc/key luks,keyscript=/lib/decrypt\n", 1}, {"  root  UUID=1\tnone\n", 1},
		{"a b /k\nroot UUID=1 none luks", 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char text[128];

		strcpy(text, cases[i].text);
		if (qmr_hold_will_ask(text) != cases[i].asks)
			fail_msg("'%s'", cases[i].text);
	}
}

static void a_locked_disk(void **unused)
{
	static const struct {
		const char *text;
		int locked;
	} cases[] = {
		{"", 0}, {"root UUID=1 none luks\n", 1}, {"open UUID=1 none luks\n", 0}, {"root UUID=2 none luks\n", 0},
		{"root /dev/vda2 none luks\n", 1}, {"root /dev/vda3\n", 0}, {"root UUID=1 /etc/key luks\n", 0}, {"root PARTUUID=1 none\n", 0},
		{"open UUID=1\nswap UUID=1 none luks,swap\n", 1}, {"root UUID= none\n", 0}, {"root vda2 none\n", 0},
	};

	put("dev/disk/by-uuid/1", "");
	put("dev/vda2", "");
	put("dev/mapper/open", "");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char text[128];

		strcpy(text, cases[i].text);
		if (qmr_hold_is_locked(root_fd, text) != cases[i].locked)
			fail_msg("'%s'", cases[i].text);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_speaks_against_it), TEST(a_question), TEST(a_session),		TEST(somebody_in_utmp),
		TEST(repairs),			 TEST(an_offline_update), cmocka_unit_test(crypttab),
		TEST(a_locked_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
