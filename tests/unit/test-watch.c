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
#include <unistd.h>

#include <cmocka.h>

#include "file.h"
#include "restore-point.h"

static char folder[] = "/tmp/qmr-test-watch-XXXXXX";
static int root = -1;
static char seen[4096];

static void make(const char *path)
{
	char parent[256];

	snprintf(parent, sizeof(parent), "%s", path);
	*strrchr(parent, '/') = '\0';
	assert_int_equal(qmr_file_mkdirs(root, parent, 0755, NULL), 0);
	assert_int_equal(qmr_file_replace(root, path, path, strlen(path), 0644, NULL), 0);
}

static int set_up(void **unused)
{
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	root = mkdtemp(folder) ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	seen[0] = '\0';
	return root < 0 ? -1 : 0;
}

static int tear_down(void **unused)
{
	close(root);
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static int note(void *user, const char *path, int parent_fd, const char *name,
		struct qmr_error *err)
{
	struct stat st;

	assert_int_equal(fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	strcat(strcat(seen, path), " ");
	return user && !strcmp(user, path) ? -ECANCELED : 0;
}

static int walk(const char *const paths[], void *stop)
{
	struct qmr_config config = {0};
	struct qmr_error err = {0};

	for (; paths[config.n_watch]; config.n_watch++)
		strcpy(config.watch[config.n_watch], paths[config.n_watch]);
	return qmr_watch_walk(root, &config, note, stop, &err);
}

static void order_and_overlap(void **unused)
{
	make("opt/b/2");
	make("opt/b-c");
	make("opt/a");
	make("etc/x");
	assert_int_equal(walk((const char *const[]){"/opt", "/opt/b", "/etc/x", "/missing",
						    "/etc/x/below", NULL},
			      NULL),
			 0);
	assert_string_equal(seen, "/etc/x /opt/a /opt/b-c /opt/b/2 ");
}

static void patterns(void **unused)
{
	make("usr/lib/modules/6.1/updates/dkms/m.ko");
	make("usr/lib/modules/6.2/updates/n.ko");
	make("usr/lib/modules/6.2/kernel/k.ko");
	make("usr/lib/modules/.hidden/updates/h.ko");
	assert_int_equal(
		walk((const char *const[]){"/usr/lib/modules/*/updates", "/nowhere/*/x", NULL},
		     NULL),
		0);
	assert_string_equal(
		seen, "/usr/lib/modules/6.1/updates/dkms/m.ko /usr/lib/modules/6.2/updates/n.ko ");
}

static void links_are_named_not_followed(void **unused)
{
	make("opt/dir/f");
	make("usr/lib/m/f");
	assert_int_equal(symlinkat("/etc", root, "opt/away"), 0);
	assert_int_equal(symlinkat("dir", root, "opt/inside"), 0);
	assert_int_equal(symlinkat("usr/lib", root, "lib"), 0);
	assert_int_equal(mkfifoat(root, "opt/fifo", 0600), 0);
	assert_int_equal(walk((const char *const[]){"/opt", "/opt/inside", "/lib/m", NULL}, NULL),
			 0);
	assert_string_equal(seen, "/lib/m/f /opt/away /opt/dir/f /opt/inside ");
}

static void own_folder_is_left_out(void **unused)
{
	make("var/lib/qmr/restore-points/1/files/x");
	make("var/lib/qmrx");
	assert_int_equal(
		walk((const char *const[]){"/var", "/var/lib/qmr/restore-points", NULL}, NULL), 0);
	assert_string_equal(seen, "/var/lib/qmrx ");
}

static void a_negative_return_stops(void **unused)
{
	make("opt/a");
	make("opt/b");
	make("opt/c");
	assert_int_equal(walk((const char *const[]){"/opt", NULL}, (void *)"/opt/b"), -ECANCELED);
	assert_string_equal(seen, "/opt/a /opt/b ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(order_and_overlap, set_up, tear_down),
		cmocka_unit_test_setup_teardown(patterns, set_up, tear_down),
		cmocka_unit_test_setup_teardown(links_are_named_not_followed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(own_folder_is_left_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_negative_return_stops, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
