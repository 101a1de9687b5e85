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

#include "changes.h"
#include "file.h"
#include "json.h"

#define MODULE_FILE "/usr/lib/modules/6.1.0/updates/acme.ko"

static char root[] = "/tmp/qmr-test-changes-XXXXXX";
static int root_fd = -1;
static struct qmr_config config;
static struct qmr_restore_point point;
static struct qmr_changes changes;
static json_t *notes;

static void write_file(const char *path, const char *text)
{
	char folder[256];

	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path - 1), path + 1);
	assert_int_equal(0, qmr_file_mkdirs(root_fd, folder, 0755, NULL));
	assert_int_equal(0, qmr_file_replace(root_fd, path + 1, text, strlen(text), 0644, NULL));
}

/* What the restore point knows of a file; content NULL: a link to target. Call in order of path. */
static void save_file(const char *path, const char *content, const char *target)
{
	struct qmr_saved_file *file;

	point.files = realloc(point.files, (point.n_files + 1) * sizeof(*point.files));
	assert_non_null(point.files);
	file = &point.files[point.n_files++];
	memset(file, 0, sizeof(*file));
	file->path = strdup(path);
	if (content)
		assert_int_equal(0, qmr_sha256(content, strlen(content), file->sha256, NULL));
	else
		file->target = strdup(target);
}

static int set_up(void **state)
{
	strcpy(root + sizeof(root) - 7, "XXXXXX");
	if (!mkdtemp(root))
		return -1;
	root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	qmr_config_defaults(&config);
	config.n_watch = 3;
	strcpy(config.watch[0], "/opt");
	strcpy(config.watch[1], "/etc/modprobe.d");
	strcpy(config.watch[2], "/usr/lib/modules/*/updates");
	config.watch_file_max_mib = 1;
	notes = json_array();
	point.id = 3;
	return root_fd < 0;
}

static int tear_down(void **state)
{
	close(root_fd);
	json_decref(notes);
	qmr_changes_done(&changes);
	qmr_restore_point_done(&point);
	return qmr_file_remove_tree(AT_FDCWD, root, NULL);
}

static void find(size_t expected)
{
	struct qmr_error err = {0};

	if (qmr_changes_find(root_fd, &config, &point, notes, &changes, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(expected, changes.n);
}

static void link_changes(const char *module, const char *module_file)
{
	struct qmr_linker *linker = qmr_linker_new(root_fd, module, module_file, notes);

	assert_non_null(linker);
	qmr_changes_link(&changes, linker);
	qmr_linker_free(linker);
}

static void assert_change(size_t i, const char *path, enum qmr_change_kind kind, enum qmr_link link)
{
	assert_string_equal(path, changes.items[i].path);
	assert_int_equal(kind, changes.items[i].kind);
	assert_int_equal(link, changes.items[i].link);
}

static void test_nothing_changed(void **state)
{
	write_file("/opt/v/c.bin", "same");
	save_file("/opt/v/c.bin", "same", NULL);
	find(0);
	assert_int_equal(0, json_array_size(notes));
}

static void test_kinds_of_change(void **state)
{
	write_file("/opt/v/a", "added");
	write_file("/opt/v/m", "new");
	assert_int_equal(0, symlinkat("b", root_fd, "opt/v/n"));
	save_file("/opt/v/gone/r", "removed", NULL);
	save_file("/opt/v/m", "old", NULL);
	save_file("/opt/v/n", NULL, "a");
	save_file("/srv/not-watched-any-more", "x", NULL);
	write_file("/srv/not-watched-any-more", "y");
	find(4);
	assert_change(0, "/opt/v/a", QMR_CHANGE_ADDED, QMR_LINK_NONE);
	assert_change(1, "/opt/v/gone/r", QMR_CHANGE_REMOVED, QMR_LINK_NONE);
	assert_change(2, "/opt/v/m", QMR_CHANGE_MODIFIED, QMR_LINK_NONE);
	assert_change(3, "/opt/v/n", QMR_CHANGE_MODIFIED, QMR_LINK_NONE);
	assert_string_equal("", changes.items[0].old_sha256);
	assert_int_equal(64, strlen(changes.items[2].old_sha256));
	assert_int_equal(64, strlen(changes.items[2].new_sha256));
}

/* Too large for the restore point then, small enough now: not new. */
static void test_left_out_is_not_added(void **state)
{
	write_file("/opt/v/a", "was there");
	write_file("/opt/v/b", "was not");
	point.skipped = json_pack("[{s:s, s:s}]", "path", "/opt/v/a", "why", "larger than 16 MiB");
	find(1);
	assert_change(0, "/opt/v/b", QMR_CHANGE_ADDED, QMR_LINK_NONE);
	assert_int_equal(1, json_array_size(notes));
}

static void test_same_size_and_time_is_still_compared(void **state)
{
	struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

	write_file("/opt/v/c.bin", "new1");
	assert_int_equal(0, utimensat(root_fd, "opt/v/c.bin", times, 0));
	save_file("/opt/v/c.bin", "old1", NULL);
	point.files[0].size = 4;
	point.files[0].mtime_ns = 1000000000000;
	find(1);
}

static void test_large_files(void **state)
{
	int fd;

	write_file("/opt/v/grown", "");
	write_file("/opt/v/large", "");
	for (int i = 0; i < 2; i++) {
		fd = openat(root_fd, i ? "opt/v/grown" : "opt/v/large", O_WRONLY | O_CLOEXEC);
		assert_int_equal(0, ftruncate(fd, (1 << 20) + 1));
		close(fd);
	}
	save_file("/opt/v/grown", "small", NULL);
	find(1);
	assert_change(0, "/opt/v/grown", QMR_CHANGE_MODIFIED, QMR_LINK_NONE);
	assert_string_equal("", changes.items[0].new_sha256);
	assert_int_equal(1, json_array_size(notes));
}

static void test_links(void **state)
{
	write_file(MODULE_FILE, "new module with /opt/acme/channels/%s in it");
	write_file("/opt/acme/channels/1.bin", "new");
	write_file("/opt/other/file", "new");
	write_file("/opt/param/calib.bin", "new");
	write_file("/etc/modprobe.d/acme.conf", "options acme calib=/opt/param/calib.bin\n");
	find(5);
	link_changes("acme", MODULE_FILE);
	assert_change(0, "/etc/modprobe.d/acme.conf", QMR_CHANGE_ADDED, QMR_LINK_MODULE_OPTION);
	assert_change(1, "/opt/acme/channels/1.bin", QMR_CHANGE_ADDED, QMR_LINK_MODULE_STRING);
	assert_change(2, "/opt/other/file", QMR_CHANGE_ADDED, QMR_LINK_NONE);
	assert_change(3, "/opt/param/calib.bin", QMR_CHANGE_ADDED, QMR_LINK_MODULE_OPTION);
	assert_change(4, MODULE_FILE, QMR_CHANGE_ADDED, QMR_LINK_MODULE_FILE);
}

static void test_sole_change(void **state)
{
	write_file("/opt/other/file", "new");
	find(1);
	link_changes(NULL, NULL);
	assert_int_equal(QMR_LINK_NONE, changes.items[0].link);
	link_changes("acme", NULL);
	assert_int_equal(QMR_LINK_SOLE_CHANGE, changes.items[0].link);
}

static void test_other_modules_options_do_not_count(void **state)
{
	write_file("/etc/modprobe.d/a.conf", "options acme2 p=/opt/v/c\noptions  ac-me \\\n p=/opt/w/c\n#options acme x\n");
	write_file("/opt/v/c", "new");
	write_file("/opt/w/c", "new");
	save_file("/etc/modprobe.d/a.conf",
		  "options acme2 p=/opt/v/c\noptions  ac-me \\\n p=/opt/w/c\n#options acme x\n", NULL);
	find(2);
	link_changes("ac_me", NULL);
	assert_int_equal(QMR_LINK_NONE, changes.items[0].link);
	assert_int_equal(QMR_LINK_MODULE_OPTION, changes.items[1].link);
}

static void test_json_has_strongest_first_and_is_bounded(void **state)
{
	cleanup_json json_t *list = NULL;
	char path[64];
	int truncated = 0;

	for (int i = 0; i < 1005; i++) {
		snprintf(path, sizeof(path), "/opt/many/%04d", i);
		write_file(path, "");
	}
	write_file("/opt/zlast/x.bin", "");
	write_file(MODULE_FILE, "/opt/zlast");
	save_file(MODULE_FILE, "/opt/zlast", NULL);
	find(1006);
	link_changes("acme", MODULE_FILE);
	list = qmr_changes_to_json(&changes, &truncated);
	assert_true(truncated);
	assert_int_equal(1000, json_array_size(list));
	assert_string_equal("/opt/zlast/x.bin", qmr_json_string(json_array_get(list, 0), "path"));
	assert_string_equal("module-string", qmr_json_string(json_array_get(list, 0), "link"));
	assert_string_equal("added", qmr_json_string(json_array_get(list, 1), "change"));
	assert_true(json_is_null(json_object_get(json_array_get(list, 1), "link")));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_nothing_changed), T(test_kinds_of_change), T(test_left_out_is_not_added),
		T(test_same_size_and_time_is_still_compared),
		T(test_large_files), T(test_links), T(test_sole_change), T(test_other_modules_options_do_not_count),
		T(test_json_has_strongest_first_and_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
