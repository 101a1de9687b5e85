/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "file.h"
#include "healthy.h"
#include "json.h"

static char work[64], pstore[80], archive[128];

static int set_up(void **s)
{
	strcpy(work, "/tmp/qmr-healthy-XXXXXX");
	assert_non_null(mkdtemp(work));
	snprintf(pstore, sizeof(pstore), "%s/pstore", work);
	snprintf(archive, sizeof(archive), "%s/var/archive", work);
	return mkdir(pstore, 0700);
}

static int tear_down(void **s)
{
	return qmr_file_remove_tree(AT_FDCWD, work, NULL);
}

static void put(const char *name, size_t size)
{
	cleanup_free char *data = calloc(1, size + 1);
	char path[200];
	int fd;

	memset(data, 'x', size);
	snprintf(path, sizeof(path), "%s/%s", pstore, name);
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0400);
	assert_true(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	close(fd);
}

static int has(const char *folder, const char *name)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return access(path, F_OK) == 0;
}

static void test_moves(void **s)
{
	struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct qmr_error err = {0};
	char path[200];
	struct stat st;

	put("dmesg-efi-1", 5);
	put("dmesg-efi-2", 0);
	snprintf(path, sizeof(path), "%s/dmesg-efi-1", pstore);
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	assert_int_equal(qmr_archive_records(pstore, archive, 1700000000, &err), 2);
	assert_false(has(pstore, "dmesg-efi-1") || has(pstore, "dmesg-efi-2"));
	assert_true(has(archive, "1700000000/dmesg-efi-2"));
	snprintf(path, sizeof(path), "%s/1700000000/dmesg-efi-1", archive);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 5);
	assert_int_equal(st.st_mtime, 1000);
}

static void test_nothing(void **s)
{
	struct qmr_error err = {0};

	assert_int_equal(qmr_archive_records(pstore, archive, 1, &err), 0);
	assert_false(has(work, "var"));
	assert_int_equal(qmr_archive_records("/nonexistent/pstore", archive, 1, &err), 0);
}

/* What was not copied whole stays where it is, and no half a copy is left. */
static void test_failure_keeps(void **s)
{
	struct qmr_error err = {0};

	put("dmesg-efi-1", 5);
	put("dmesg-efi-2", QMR_ARCHIVE_RECORD_BYTES + 1);
	put("dmesg-efi-3", 5);
	assert_int_equal(qmr_archive_records(pstore, archive, 1700000000, &err), -EFBIG);
	assert_false(has(pstore, "dmesg-efi-1"));
	assert_true(has(archive, "1700000000/dmesg-efi-1"));
	assert_true(has(pstore, "dmesg-efi-2") && has(pstore, "dmesg-efi-3"));
	assert_false(has(archive, "1700000000/dmesg-efi-2"));
}

/* The archive cannot be made. */
static void test_no_archive(void **s)
{
	struct qmr_error err = {0};

	put("dmesg-efi-1", 5);
	put("file", 1);
	snprintf(archive, sizeof(archive), "%s/file/archive", pstore);
	assert_true(qmr_archive_records(pstore, archive, 1, &err) < 0);
	assert_true(has(pstore, "dmesg-efi-1"));
}

static void test_keeps_newest(void **s)
{
	struct qmr_error err = {0};
	char name[32];

	for (int i = 1; i <= QMR_ARCHIVE_KEEP + 2; i++) {
		put("dmesg-efi-1", 5);
		assert_int_equal(qmr_archive_records(pstore, archive, 1700000000 + i, &err), 1);
	}
	for (int i = 1; i <= QMR_ARCHIVE_KEEP + 2; i++) {
		snprintf(name, sizeof(name), "%d", 1700000000 + i);
		assert_int_equal(has(archive, name), i > 2);
	}
}

static void test_report(void **s)
{
	struct qmr_state state = {.failed_boots = 2, .recovery_runs = 1, .incident = {0xab}};
	const char *remediations[] = {"", "plan-1", "a\"b"}, *wanted[] = {NULL, "plan-1", ""};

	for (int i = 0; i < 3; i++) {
		cleanup_json json_t *json = NULL;
		struct qmr_error err = {0};
		char path[200];

		strcpy(state.remediation, remediations[i]);
		assert_int_equal(qmr_report_write(work, &state, "healed", 1700000000, &err), 0);
		snprintf(path, sizeof(path), "%s/ab000000-0000-0000-0000-000000000000/report.json", work);
		assert_int_equal(qmr_json_load(AT_FDCWD, path, 4096, &json, &err), 0);
		assert_int_equal(json_integer_value(json_object_get(json, "schema")), 1);
		assert_string_equal(qmr_json_string(json, "incident"), "ab000000-0000-0000-0000-000000000000");
		assert_string_equal(qmr_json_string(json, "final"), "healed");
		if (wanted[i])
			assert_string_equal(qmr_json_string(json, "remediation"), wanted[i]);
		else
			assert_true(json_is_null(json_object_get(json, "remediation")));
		assert_int_equal(json_integer_value(json_object_get(json, "failed_boots")), 2);
		assert_int_equal(json_integer_value(json_object_get(json, "healthy_unix_s")), 1700000000);
	}
}

/* A clock without a battery: the new folder has the oldest name, and is all there is of the records. */
static void test_clock_of_1970(void **s)
{
	struct qmr_error err = {0};
	char path[200];

	for (int i = 0; i < QMR_ARCHIVE_KEEP; i++) {
		snprintf(path, sizeof(path), "%s/%010d", archive, 1790000000 + i);
		assert_int_equal(qmr_file_mkdirs(AT_FDCWD, path, 0700, &err), 0);
	}
	put("dmesg-efi-1", 10);
	assert_int_equal(qmr_archive_records(pstore, archive, 150, &err), 1);
	snprintf(path, sizeof(path), "%s/%010d", archive, 1790000000 + QMR_ARCHIVE_KEEP);
	assert_true(has(path, "dmesg-efi-1"));
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(test_moves),	  TEST(test_nothing),	   TEST(test_failure_keeps),
					   TEST(test_no_archive), TEST(test_keeps_newest), TEST(test_report),
					   TEST(test_clock_of_1970)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
