/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "file.h"
#include "systemd-conf.h"
#include "tree.h"

static void test_systemd_values(void **state)
{
	static const struct {
		const char *text;
		enum qmr_systemd_choice runtime;
		int other_device;
	} cases[] = {
		{"", QMR_SYSTEMD_UNSET, 0},
		{"[Manager]\n#RuntimeWatchdogSec=off\n", QMR_SYSTEMD_UNSET, 0},
		{"RuntimeWatchdogSec=30\n", QMR_SYSTEMD_UNSET, 0},
		{"[Other]\nRuntimeWatchdogSec=30\n", QMR_SYSTEMD_UNSET, 0},
		{"[Manager]\nRuntimeWatchdogSecs=30\n", QMR_SYSTEMD_UNSET, 0},
		{"[Manager]\nRuntimeWatchdogSec=nonsense\n", QMR_SYSTEMD_UNSET, 0},
		{"[Manager]\nRuntimeWatchdogSec=30", QMR_SYSTEMD_ON, 0},
		{"[Manager]\r\n \tRuntimeWatchdogSec =  2min \r\n", QMR_SYSTEMD_ON, 0},
		{"[Manager]\nRuntimeWatchdogSec=default\n", QMR_SYSTEMD_ON, 0},
		{"[Manager]\nRuntimeWatchdogSec=0\n", QMR_SYSTEMD_OFF, 0},
		{"[Manager]\nRuntimeWatchdogSec=0s\n", QMR_SYSTEMD_OFF, 0},
		{"[Manager]\nRuntimeWatchdogSec=off\n", QMR_SYSTEMD_OFF, 0},
		{"[Manager]\nRuntimeWatchdogSec=30\nRuntimeWatchdogSec=\n", QMR_SYSTEMD_OFF, 0},
		{"[Manager]\nRuntimeWatchdogSec=off\nRuntimeWatchdogSec=5\n", QMR_SYSTEMD_ON, 0},
		{"[Manager]\nWatchdogDevice=/dev/watchdog1\n", QMR_SYSTEMD_UNSET, 1},
		{"[Manager]\nWatchdogDevice=/dev/watchdog\n", QMR_SYSTEMD_UNSET, 0},
		{"[Manager]\nRuntimeWatchdogSec=\\\n# why\n ; and more\n  30\n", QMR_SYSTEMD_ON, 0},
		{"[Manager]\n# RuntimeWatchdogSec=\\\nRuntimeWatchdogSec=30\\", QMR_SYSTEMD_ON, 0},
		{"[Manager]\nRuntimeWatchdogSec=30\\\n# the end", QMR_SYSTEMD_ON, 0},
		{"[Manager\nWatchdogDevice=/dev/watchdog1\n=\n[", QMR_SYSTEMD_UNSET, 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_systemd_watchdog w = {0};

		put("etc/systemd/system.conf", cases[i].text);
		assert_int_equal(qmr_systemd_read(root_fd, &w, NULL), 0);
		assert_int_equal(w.runtime, cases[i].runtime);
		assert_int_equal(w.other_device, cases[i].other_device);
	}
}

static enum qmr_systemd_choice read_runtime(void)
{
	struct qmr_systemd_watchdog w = {0};
	struct qmr_error err = {0};

	assert_int_equal(qmr_systemd_read(root_fd, &w, &err), 0);
	return w.runtime;
}

#define ON "[Manager]\nRuntimeWatchdogSec=30\n"
#define OFF "[Manager]\nRuntimeWatchdogSec=0\n"

static void test_systemd_files(void **state)
{
	struct qmr_systemd_watchdog w = {0};

	assert_int_equal(read_runtime(), QMR_SYSTEMD_UNSET);
	put("run/systemd/system.conf.d/50-x.conf", ON); /* what the initramfs left, not the owner */
	assert_int_equal(read_runtime(), QMR_SYSTEMD_UNSET);
	put("etc/systemd/system.conf", ON);
	assert_int_equal(read_runtime(), QMR_SYSTEMD_ON);
	put("usr/lib/systemd/system.conf.d/10-vendor.conf", OFF);
	assert_int_equal(read_runtime(), QMR_SYSTEMD_OFF);
	put("etc/systemd/system.conf.d/05-owner.conf", ON); /* by name, whatever the folder */
	assert_int_equal(read_runtime(), QMR_SYSTEMD_OFF);
	put("etc/systemd/system.conf.d/10-vendor.conf", "");
	assert_int_equal(read_runtime(), QMR_SYSTEMD_ON);
	put("etc/systemd/system.conf.d/90-last.conf", OFF);
	put("etc/systemd/system.conf.d/99-none.confx", ON);
	put("usr/lib/systemd/system.conf.d/20-vendor.conf", ON);
	assert_int_equal(read_runtime(), QMR_SYSTEMD_OFF);
	for (int i = 0; i < 64; i++) {
		char path[64];

		snprintf(path, sizeof(path), "usr/lib/systemd/system.conf.d/%02d.conf", i);
		put(path, "");
	}
	assert_int_equal(qmr_systemd_read(root_fd, &w, NULL), -E2BIG);
}

static void test_rivals(void **state)
{
	assert_null(qmr_systemd_find_rival(root_fd));
	put("usr/lib/systemd/system/sbd.service", ""); /* installed, not enabled */
	put("etc/systemd/system/multi-user.target.wants/ssh.service", "");
	assert_null(qmr_systemd_find_rival(root_fd));
	assert_int_equal(qmr_file_mkdirs(root_fd, "etc/systemd/system/corosync.service.requires", 0755, NULL), 0);
	assert_int_equal(symlinkat("/lib/systemd/system/sbd.service", root_fd,
				   "etc/systemd/system/corosync.service.requires/sbd.service"), 0); /* dangling, from here */
	assert_string_equal(qmr_systemd_find_rival(root_fd), "sbd.service");
}

static void test_init(void **state)
{
	put("usr/lib/systemd/systemd", "");
	put("usr/lib/sysvinit/init", "");
	assert_int_equal(qmr_file_mkdirs(root_fd, "sbin", 0755, NULL), 0);
	assert_false(qmr_systemd_is_init(root_fd, "/sbin/init"));
	assert_int_equal(symlinkat("/usr/lib/systemd/systemd", root_fd, "sbin/init"), 0);
	assert_true(qmr_systemd_is_init(root_fd, "/sbin/init"));
	assert_true(qmr_systemd_is_init(root_fd, "/usr/lib/systemd/systemd"));
	assert_false(qmr_systemd_is_init(root_fd, "/usr/lib/sysvinit/init"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_systemd_values, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_systemd_files, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_rivals, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_init, make_folder, remove_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
