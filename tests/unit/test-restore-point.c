/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "file.h"
#include "restore-point.h"

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define FILE_ENTRY(path)                                                                           \
	"{\"path\": \"" path                                                                       \
	"\", \"type\": \"file\", \"mode\": 2541, \"uid\": 1, \"gid\": 2, \"size\": 3, "            \
	"\"mtime_ns\": -4, \"sha256\": \"" HASH "\"}"
#define MANIFEST(id, files)                                                                        \
	"{\"schema\": 1, \"id\": " id                                                              \
	", \"taken_unix_s\": 5, \"kernel\": \"6.1\", \"files\": [" files "], \"skipped\": [], "    \
	"\"later\": true}"

static char folder[] = "/tmp/qmr-test-point-XXXXXX";
static int root = -1;

static int set_up(void **unused)
{
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	root = mkdtemp(folder) ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	return root < 0 ? -1 : 0;
}

static int tear_down(void **unused)
{
	close(root);
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static void write_manifest(int id, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "var/lib/qmr/restore-points/%d", id);
	assert_int_equal(qmr_file_mkdirs(root, path, 0700, NULL), 0);
	strcat(path, "/manifest.json");
	assert_int_equal(qmr_file_replace(root, path, text, strlen(text), 0600, NULL), 0);
}

static void reads_all_fields(void **unused)
{
	struct qmr_restore_point point;
	const struct qmr_saved_file *file;

	write_manifest(7, MANIFEST("7", FILE_ENTRY("/opt/z") ", {\"path\": \"/opt/a\", \"type\": "
							     "\"symlink\", \"target\": \"z\", "
							     "\"uid\": 0, \"gid\": 0}"));
	assert_int_equal(qmr_restore_point_load(root, 7, &point, NULL), 0);
	assert_int_equal(point.n_files, 2);
	assert_int_equal(point.taken_unix_s, 5);
	assert_string_equal(point.kernel, "6.1");
	assert_string_equal(point.files[0].path, "/opt/a"); /* sorted */
	assert_string_equal(point.files[0].target, "z");
	file = qmr_restore_point_find(&point, "/opt/z");
	assert_non_null(file);
	assert_int_equal(file->mode, 04755);
	assert_int_equal(file->mtime_ns, -4);
	assert_string_equal(file->sha256, HASH);
	assert_null(file->target);
	assert_null(qmr_restore_point_find(&point, "/opt"));
	qmr_restore_point_done(&point);
	qmr_restore_point_done(&point);
	assert_null(qmr_restore_point_find(&point, "/opt/z"));
}

static void refuses_what_cannot_be_trusted(void **unused)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		MANIFEST("2", ""),
		"{\"schema\": 2, \"id\": 1, \"taken_unix_s\": 5, \"files\": []}",
		"{\"schema\": 1, \"id\": 1, \"taken_unix_s\": 5}",
		"{\"schema\": 1, \"id\": 1, \"files\": []}",
		MANIFEST("1", "7"),
		MANIFEST("1", "{}"),
		MANIFEST("1", FILE_ENTRY("opt/z")),
		MANIFEST("1", FILE_ENTRY("/opt/../z")),
		MANIFEST("1", FILE_ENTRY("/opt//z")),
		MANIFEST("1", FILE_ENTRY("/opt/./z")),
		MANIFEST("1", FILE_ENTRY("/opt/")),
		MANIFEST("1", FILE_ENTRY("/")),
		MANIFEST("1", FILE_ENTRY("/a") "," FILE_ENTRY("/a")),
		MANIFEST("1", "{\"path\": \"/a\", \"type\": \"file\", \"mode\": 65535, \"uid\": 1, "
			      "\"gid\": 2, \"size\": 3, "
			      "\"mtime_ns\": 4, \"sha256\": \"" HASH "\"}"),
		MANIFEST("1", "{\"path\": \"/a\", \"type\": \"file\", \"mode\": 420, \"uid\": -1, "
			      "\"gid\": 2, \"size\": 3, "
			      "\"mtime_ns\": 4, \"sha256\": \"" HASH "\"}"),
		MANIFEST("1", "{\"path\": \"/a\", \"type\": \"file\", \"mode\": 420, \"uid\": 1, "
			      "\"gid\": 2, \"size\": 3, "
			      "\"mtime_ns\": 4, \"sha256\": \"abc\"}"),
		MANIFEST("1", "{\"path\": \"/a\", \"type\": \"device\", \"uid\": 1, \"gid\": 2}"),
		MANIFEST("1", "{\"path\": \"/a\", \"type\": \"symlink\", \"uid\": 1, \"gid\": 2}"),
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct qmr_restore_point point = {.id = 99};
		struct qmr_error err = {0};
		int r;

		write_manifest(1, bad[i]);
		r = qmr_restore_point_load(root, 1, &point, &err);
		if (r != -EBADMSG && r != -EINVAL)
			fail_msg("case %zu gives %d", i, r);
		assert_true(err.text[0]);
		assert_int_equal(point.id, 99);
	}
}

static void newest_is_the_newest_valid_one(void **unused)
{
	struct qmr_restore_point point;

	assert_int_equal(qmr_restore_point_load_newest(root, &point, NULL), -ENOENT);
	write_manifest(2, MANIFEST("2", ""));
	write_manifest(10, MANIFEST("10", FILE_ENTRY("/a")));
	write_manifest(11, "{\"schema\": 1, \"id\": 11");
	assert_int_equal(qmr_file_mkdirs(root, "var/lib/qmr/restore-points/12/files", 0700, NULL),
			 0); /* unfinished */
	assert_int_equal(qmr_file_mkdirs(root, "var/lib/qmr/restore-points/013", 0700, NULL), 0);
	assert_int_equal(qmr_restore_point_load_newest(root, &point, NULL), 0);
	assert_int_equal(point.id, 10);
	qmr_restore_point_done(&point);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_all_fields, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refuses_what_cannot_be_trusted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(newest_is_the_newest_valid_one, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
