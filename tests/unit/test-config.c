/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "config.h"
#include "file.h"

static char folder[] = "/tmp/qmr-test-config-XXXXXX";
static char path[64];

static void write_file(const char *name, const char *text)
{
	char file[128];
	FILE *f;

	snprintf(file, sizeof(file), "%s/%s", folder, name);
	f = fopen(file, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int set_up(void **unused)
{
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/qmr.conf", folder);
	return 0;
}

static int tear_down(void **unused)
{
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static void a_missing_file_gives_safe_defaults(void **unused)
{
	struct qmr_config c;

	assert_int_equal(qmr_config_load(path, &c, NULL), 0);
	assert_int_equal(c.mode, QMR_MODE_OBSERVE);
	assert_int_equal(c.failures, 2);
	assert_int_equal(c.stability_s, 120);
	assert_int_equal(c.local_rollback, 0);
	assert_int_equal(c.vaccinate, 0);
	assert_string_equal(c.upload_url, "");
	assert_string_equal(c.ca, "/etc/qmr/trust/ca.pem");
	assert_true(c.n_watch > 3);
}

static void sources_are_a_list_that_can_be_emptied(void **unused)
{
	struct qmr_config c;
	char dropins[80];

	write_file("qmr.conf", "[repository]\nurl = https://a/r\nurl = media:r\n[machine]\nbuilt = 4294967296\n");
	assert_int_equal(qmr_config_load(path, &c, NULL), 0);
	assert_int_equal(c.n_repository_urls, 2);
	assert_string_equal(c.repository_url[0], "https://a/r");
	assert_string_equal(c.repository_url[1], "media:r");
	assert_int_equal(c.built_unix_s, 4294967296);
	snprintf(dropins, sizeof(dropins), "%s/conf.d", folder);
	assert_int_equal(mkdir(dropins, 0755), 0);
	write_file("conf.d/1.conf", "[repository]\nurl =\nurl = https://b/r\n");
	assert_int_equal(qmr_config_load(path, &c, NULL), 0);
	assert_int_equal(c.n_repository_urls, 1);
	assert_string_equal(c.repository_url[0], "https://b/r");
	write_file("conf.d/1.conf", "[repository]\nurl = 3\nurl = 4\nurl = 5\nurl = 6\nurl = 7\nurl = 8\nurl = 9\n");
	assert_int_equal(qmr_config_load(path, &c, NULL), -EINVAL);
	write_file("conf.d/1.conf", "[machine]\nbuilt = -1\n");
	assert_int_equal(qmr_config_load(path, &c, NULL), -EINVAL);
	write_file("conf.d/1.conf", "[repository]\nurl =\n");
	assert_int_equal(qmr_config_load(path, &c, NULL), 0);
	assert_int_equal(c.n_repository_urls, 0);
}

static void dropins_win_in_order_of_name(void **unused)
{
	struct qmr_config c;
	char conf_d[80];

	snprintf(conf_d, sizeof(conf_d), "%s/conf.d", folder);
	assert_int_equal(mkdir(conf_d, 0755), 0);
	write_file("qmr.conf", "[policy]\nmode = collect\nfailures = 3\n");
	write_file("conf.d/20-b.conf", "[policy]\nmode = automatic\n[watch]\npath = /srv/a\npath = /srv/b\n");
	write_file("conf.d/10-a.conf", "[policy]\nmode = off\nlocal_rollback = yes\n");
	write_file("conf.d/99-ignored.txt", "nonsense");
	write_file("machine.conf", "[machine]\nroot_uuid = 0123\n");
	assert_int_equal(qmr_config_load(path, &c, NULL), 0);
	assert_int_equal(c.mode, QMR_MODE_AUTOMATIC);
	assert_int_equal(c.failures, 3);
	assert_int_equal(c.local_rollback, 1);
	assert_int_equal(c.n_watch, 2);
	assert_string_equal(c.watch[1], "/srv/b");
	assert_string_equal(c.root_uuid, "0123");
}

static void lists_are_added_to(void **unused)
{
	struct qmr_config c;

	write_file("qmr.conf", "[policy]\nprotect = module vendor-sensor\nprotect = package libc6\nprotect = path /opt/v\n"
			       "[fleet]\nlabel = canary\nlabel = a.b_c-9\nminimum_age = canary 0\nminimum_age = * 8760\n");
	assert_int_equal(qmr_config_load(path, &c, NULL), 0);
	assert_int_equal(c.n_protect, 3);
	assert_int_equal(c.protect[0].type, QMR_PROTECTED_MODULE);
	assert_string_equal(c.protect[0].name, "vendor-sensor");
	assert_int_equal(c.protect[1].type, QMR_PROTECTED_PACKAGE);
	assert_string_equal(c.protect[1].name, "libc6");
	assert_int_equal(c.protect[2].type, QMR_PROTECTED_PATH);
	assert_string_equal(c.protect[2].name, "/opt/v");
	assert_int_equal(c.n_label, 2);
	assert_string_equal(c.label[1], "a.b_c-9");
	assert_int_equal(c.n_minimum_age, 2);
	assert_string_equal(c.minimum_age[0].label, "canary");
	assert_int_equal(c.minimum_age[0].hours, 0);
	assert_string_equal(c.minimum_age[1].label, "*");
	assert_int_equal(c.minimum_age[1].hours, 8760);
}

static void bad_lines_name_file_line_and_key(void **unused)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"[policy]\nmode = always\n", "qmr.conf:2: [policy] mode: none of off"},
		{"[policy]\n\nfailures = 0\n", "qmr.conf:3: [policy] failures: not a number"},
		{"[policy]\nfailures = 2x\n", "qmr.conf:2: [policy] failures"},
		{"[policy]\nfailures = 99999999999999999999\n", "[policy] failures"},
		{"[policy]\nmoed = observe\n", "qmr.conf:2: [policy] moed: unknown key"},
		{"[network]\nca = relative.pem\n", "[network] ca: not an absolute path"},
		{"[watch]\npath = /a/../b\n", "[watch] path"},
		{"[policy]\nlocal_rollback = maybe\n", "neither yes nor no"},
		{"[policy]\nprotect = module\n", "[policy] protect"},
		{"[policy]\nprotect = module a b\n", "[policy] protect"},
		{"[policy]\nprotect = file /x\n", "[policy] protect"},
		{"[policy]\nprotect = path x\n", "[policy] protect"},
		{"[policy]\nprotect = path /\n", "[policy] protect"},
		{"[policy]\nprotect = path /a/../b\n", "[policy] protect"},
		{"[policy]\nprotect = package a/b\n", "[policy] protect"},
		{"[fleet]\nlabel =\n", "[fleet] label"},
		{"[fleet]\nlabel = a b\n", "[fleet] label"},
		{"[fleet]\nminimum_age = 24\n", "[fleet] minimum_age"},
		{"[fleet]\nminimum_age = a -1\n", "[fleet] minimum_age"},
		{"[fleet]\nminimum_age = a 8761\n", "[fleet] minimum_age"},
		{"[fleet]\nminimum_age = *a 1\n", "[fleet] minimum_age"},
		{"[policy]\nthis is no pair\n", "qmr.conf:2"},
		{"[policy]\nmode = off\n  automatic\n", "qmr.conf:3"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_error err = {0};
		struct qmr_config c;

		write_file("qmr.conf", cases[i].text);
		assert_int_equal(qmr_config_load(path, &c, &err), -EINVAL);
		if (!strstr(err.text, cases[i].message))
			fail_msg("'%s' lacks '%s'", err.text, cases[i].message);
		assert_int_equal(c.mode, QMR_MODE_OBSERVE);
		assert_int_equal(c.failures, 2);
		assert_true(c.n_watch > 3);
	}
}

static void a_long_line_is_refused_not_split(void **unused)
{
	char text[400] = "[upload]\nurl = https://";
	struct qmr_error err = {0};
	struct qmr_config c;

	memset(text + strlen(text), 'a', 300);
	write_file("qmr.conf", text);
	assert_int_equal(qmr_config_load(path, &c, &err), -EINVAL);
	assert_non_null(strstr(err.text, "qmr.conf:2"));
	assert_string_equal(c.upload_url, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_missing_file_gives_safe_defaults, set_up, tear_down),
		cmocka_unit_test_setup_teardown(sources_are_a_list_that_can_be_emptied, set_up, tear_down),
		cmocka_unit_test_setup_teardown(dropins_win_in_order_of_name, set_up, tear_down),
		cmocka_unit_test_setup_teardown(lists_are_added_to, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bad_lines_name_file_line_and_key, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_long_line_is_refused_not_split, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
