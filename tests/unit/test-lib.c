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
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "cleanup.h"
#include "crc32.h"
#include "file.h"
#include "hash.h"
#include "json.h"
#include "uuid.h"

static char folder[] = "/tmp/qmr-test-lib-XXXXXX";
static int dir = -1;

static int set_up(void **unused)
{
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	dir = mkdtemp(folder) ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	return dir < 0 ? -1 : 0;
}

static int tear_down(void **unused)
{
	close(dir);
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static void known_checksums(void **unused)
{
	char hex[QMR_SHA256_HEX];

	assert_int_equal(qmr_crc32(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(qmr_crc32(qmr_crc32(0, "1234", 4), "56789", 5), 0xcbf43926);
	assert_int_equal(qmr_sha256("abc", 3, hex, NULL), 0);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void uuids(void **unused)
{
	uint8_t a[16], b[16];
	char text[QMR_UUID_TEXT];

	qmr_uuid_random(a);
	qmr_uuid_format(a, text);
	assert_int_equal(text[14], '4');
	assert_int_equal(qmr_uuid_parse(text, b), 0);
	assert_memory_equal(a, b, 16);
	assert_int_equal(qmr_uuid_parse("", b), -EINVAL);
	assert_int_equal(qmr_uuid_parse("0123", b), -EINVAL);
	assert_int_equal(qmr_uuid_parse("00000000-0000-0000-0000-0000000000001", b), -EINVAL);
	assert_int_equal(qmr_uuid_parse("00000000x0000-0000-0000-000000000000", b), -EINVAL);
}

static void replacing_and_reading(void **unused)
{
	char *data;
	size_t size;

	assert_int_equal(qmr_file_replace(dir, "f", "one", 3, 0600, NULL), 0);
	assert_int_equal(qmr_file_replace(dir, "f", "second", 6, 0600, NULL), 0);
	assert_int_equal(qmr_file_read(dir, "f", 6, &data, &size, NULL), 0);
	assert_int_equal(size, 6);
	assert_string_equal(data, "second");
	free(data);
	assert_int_equal(qmr_file_read(dir, "f", 5, &data, &size, NULL), -EFBIG);
	assert_int_equal(qmr_file_read(dir, "none", 5, &data, &size, NULL), -ENOENT);
	assert_int_equal(faccessat(dir, "f.qmr-new", F_OK, 0), -1);
	assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
	assert_int_equal(qmr_file_read(dir, "fifo", 5, &data, &size, NULL), -EINVAL);
	assert_int_equal(symlinkat("f", dir, "link"), 0);
	assert_int_equal(qmr_file_read(dir, "link", 6, &data, &size, NULL), -ELOOP);
	/* A planted link in the place of the temporary file is removed, not followed. */
	assert_int_equal(symlinkat("/dev/full", dir, "g.qmr-new"), 0);
	assert_int_equal(qmr_file_replace(dir, "g", "x", 1, 0600, NULL), 0);
}

static void paths_stay_inside_the_root(void **unused)
{
	cleanup_close int parent = -1, fd = -1, up = -1;
	char name[256];

	assert_int_equal(qmr_file_mkdirs(dir, "etc/sub", 0755, NULL), 0);
	assert_int_equal(qmr_file_replace(dir, "etc/passwd", "mine", 4, 0600, NULL), 0);
	assert_int_equal(symlinkat("/etc", dir, "absolute"), 0);
	assert_int_equal(symlinkat("../../../../etc", dir, "etc/up"), 0);
	for (int i = 0; i < 2; i++) {
		cleanup_free char *data = NULL;
		cleanup_close int file = qmr_file_open_in_root(dir, i ? "/etc/up/passwd" : "/absolute/passwd", O_RDONLY, 0, NULL);
		size_t size;

		assert_true(file >= 0);
		assert_int_equal(qmr_file_read_fd(file, "passwd", 100, &data, &size, NULL), 0);
		assert_string_equal(data, "mine");
	}
	parent = qmr_file_open_parent_in_root(dir, "/absolute/new/deep/file", 1, name, NULL);
	assert_true(parent >= 0);
	assert_string_equal(name, "file");
	assert_int_equal(faccessat(dir, "etc/new/deep", F_OK, 0), 0);
	assert_int_equal(qmr_file_open_parent_in_root(dir, "/etc/..", 0, name, NULL), -EINVAL);
	assert_int_equal(qmr_file_open_parent_in_root(dir, "/none/x", 0, name, NULL), -ENOENT);
	fd = qmr_file_open_parent_in_root(dir, "/top", 0, name, NULL);
	assert_true(fd >= 0);
	up = qmr_file_open_in_root(dir, "../../etc/passwd", O_RDONLY, 0, NULL);
	assert_true(up >= 0);
}

static void removing_does_not_follow_links(void **unused)
{
	assert_int_equal(qmr_file_mkdirs(dir, "keep", 0755, NULL), 0);
	assert_int_equal(qmr_file_replace(dir, "keep/f", "x", 1, 0600, NULL), 0);
	assert_int_equal(qmr_file_mkdirs(dir, "gone/a/b", 0755, NULL), 0);
	assert_int_equal(symlinkat("../keep", dir, "gone/link"), 0);
	assert_int_equal(qmr_file_remove_tree(dir, "gone", NULL), 0);
	assert_int_equal(faccessat(dir, "gone", F_OK, 0), -1);
	assert_int_equal(faccessat(dir, "keep/f", F_OK, 0), 0);
	assert_int_equal(qmr_file_remove_tree(dir, "gone", NULL), 0);
}

static void folders_are_opened_without_following_links(void **unused)
{
	cleanup_closedir DIR *first = NULL, *second = NULL;
	int fd;

	assert_int_equal(qmr_file_mkdirs(dir, "folder", 0755, NULL), 0);
	assert_int_equal(qmr_file_replace(dir, "folder/entry", "x", 1, 0600, NULL), 0);
	assert_int_equal(symlinkat("folder", dir, "link"), 0);
	first = qmr_file_open_dir(dir, "folder");
	assert_non_null(first);
	while (readdir(first))
		;
	second = qmr_file_open_dir(dirfd(first), ".");
	assert_non_null(second);
	assert_non_null(readdir(second)); /* from the beginning */
	assert_null(qmr_file_open_dir(dir, "link"));
	assert_int_equal(errno, ENOTDIR);
	assert_null(qmr_file_open_dir(dir, "none"));
	assert_int_equal(errno, ENOENT);
	fd = openat(dir, "folder/entry", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_null(qmr_file_take_dir(fd));
	assert_int_equal(errno, ENOTDIR);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed */
}

static int is_old(const char *name)
{
	return !strncmp(name, "old-", 4);
}

static void some_files_are_removed(void **unused)
{
	assert_int_equal(qmr_file_mkdirs(dir, "some", 0755, NULL), 0);
	assert_int_equal(symlinkat("some", dir, "other"), 0);
	assert_int_equal(qmr_file_replace(dir, "some/old-1", "x", 1, 0600, NULL), 0);
	assert_int_equal(qmr_file_replace(dir, "some/new", "x", 1, 0600, NULL), 0);
	assert_int_equal(symlinkat("new", dir, "some/old-link"), 0);
	assert_int_equal(qmr_file_remove_some(dir, "other", is_old, "old files", NULL), -ENOTDIR);
	assert_int_equal(qmr_file_remove_some(dir, "none", is_old, "old files", NULL), -ENOENT);
	assert_int_equal(qmr_file_remove_some(dir, "some", is_old, "old files", NULL), 0);
	assert_int_equal(faccessat(dir, "some/old-1", F_OK, 0), -1);
	assert_int_equal(faccessat(dir, "some/old-link", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	assert_int_equal(faccessat(dir, "some/new", F_OK, 0), 0);
	assert_int_equal(qmr_file_mkdirs(dir, "some/old-folder", 0755, NULL), 0);
	assert_true(qmr_file_remove_some(dir, "some", is_old, "old files", NULL) < 0);
}

static void a_full_disk_is_an_error(void **unused)
{
	cleanup_close int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_int_equal(qmr_file_write_all(full, "full", "x", 1, NULL), -ENOSPC);
}

static void children_end(void **unused)
{
	char *say[] = {"/bin/sh", "-c", "echo hello; exit 3", NULL};
	char *much[] = {"/bin/sh", "-c", "yes | head -c 1000000", NULL};
	char *crash[] = {"/bin/sh", "-c", "kill -9 $$", NULL};
	char *stuck[] = {"/bin/sh", "-c", "trap '' TERM; sleep 600 & sleep 600", NULL};
	char *none[] = {"/no/such/program", NULL};
	char *output = NULL;
	time_t begin = time(NULL);

	assert_int_equal(qmr_child_run(say, 60000, &output, 100, NULL), 3);
	assert_int_equal(qmr_child_require(say, 60000, 3, NULL), 0);
	assert_int_equal(qmr_child_require(say, 60000, 0, NULL), -EIO);
	assert_int_equal(qmr_child_require(none, 60000, 3, NULL), -ENOENT);
	assert_string_equal(output, "hello\n");
	free(output);
	assert_int_equal(qmr_child_run(much, 60000, &output, 100, NULL), 0);
	assert_int_equal(strlen(output), 100);
	free(output);
	assert_int_equal(qmr_child_run(crash, 60000, NULL, 0, NULL), 128 + 9);
	assert_int_equal(qmr_child_run(none, 60000, NULL, 0, NULL), -ENOENT);
	assert_int_equal(qmr_child_run(stuck, 100, NULL, 0, NULL), -ETIMEDOUT);
	assert_true(time(NULL) - begin < 300);
}

static void a_tail_is_kept(void **unused)
{
	char *both[] = {"/bin/sh", "-c", "echo out; echo err >&2; exit 4", NULL};
	char *much[] = {"/bin/sh", "-c", "yes | head -c 1000000; echo; echo the end", NULL};
	char *late[] = {"/bin/sh", "-c", "echo before; trap 'echo on the way; exit 0' TERM; sleep 600 & wait", NULL};
	char *noisy[] = {"/bin/sh", "-c", "yes & exit 5", NULL};
	char *for_ever[] = {"/bin/sh", "-c", "exec yes", NULL};
	char tail[100];
	size_t size = 0;
	time_t begin = time(NULL);

	assert_int_equal(qmr_child_run_tail(both, 60000, tail, sizeof(tail), &size, NULL), 4);
	assert_int_equal(qmr_child_run_tail(both, 60000, tail, sizeof(tail), &size, NULL), 4);
	assert_int_equal(size, 16);
	assert_memory_equal(tail, "out\nerr\nout\nerr\n", 16);
	assert_int_equal(qmr_child_run_tail(much, 60000, tail, sizeof(tail), &size, NULL), 0);
	assert_int_equal(size, sizeof(tail));
	assert_memory_equal(tail + sizeof(tail) - 9, "\nthe end\n", 9);
	size = 0;
	assert_int_equal(qmr_child_run_tail(late, 1000, tail, sizeof(tail), &size, NULL), -ETIMEDOUT);
	assert_int_equal(size, 18);
	assert_memory_equal(tail, "before\non the way\n", 18);
	/* What a program leaves behind does not keep us, and neither does one that never stops to write. */
	assert_int_equal(qmr_child_run_tail(noisy, 60000, tail, sizeof(tail), &size, NULL), 5);
	assert_int_equal(qmr_child_run_tail(for_ever, 100, tail, sizeof(tail), &size, NULL), -ETIMEDOUT);
	assert_true(time(NULL) - begin < 50);
}

/* The program itself goes at the first signal, its children do not. */
static void the_whole_group_is_ended(void **unused)
{
	char *stubborn[] = {"/bin/sh", "-c", "sh -c 'trap \"\" TERM; echo $$; exec sleep 600' & sleep 600", NULL};
	char tail[32] = "";
	size_t size = 0;
	int gone = 0;
	pid_t pid;

	assert_int_equal(qmr_child_run_tail(stubborn, 2000, tail, sizeof(tail) - 1, &size, NULL), -ETIMEDOUT);
	pid = atoi(tail);
	assert_true(pid > 1);
	/* An orphan's zombie may wait for init for a moment. */
	for (int i = 0; i < 100 && !gone; i++) {
		char path[64], state = 'Z';
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		f = fopen(path, "re");
		if (f && fscanf(f, "%*d %*s %c", &state) != 1)
			state = 'Z';
		if (f)
			fclose(f);
		gone = state == 'Z';
		if (!gone)
			usleep(50000);
	}
	assert_true(gone);
}

static void json_is_strict(void **unused)
{
	json_t *json = NULL;

	assert_int_equal(qmr_json_parse("t", "{\"a\":1}", 7, &json, NULL), 0);
	json_decref(json);
	assert_int_equal(qmr_json_parse("t", "{\"a\":1,\"a\":2}", 13, &json, NULL), -EINVAL);
	assert_int_equal(qmr_json_parse("t", "[]", 2, &json, NULL), -EINVAL);
	assert_int_equal(qmr_json_parse("t", "{} x", 4, &json, NULL), -EINVAL);
}

static void messages_cannot_write_to_the_terminal(void **unused)
{
	struct qmr_error err = {0};

	assert_int_equal(qmr_error_errno(&err, -ENOENT, "opening '%s'", "a\033[2Jb\n"), -ENOENT);
	assert_string_equal(err.text, "opening 'a?[2Jb?': No such file or directory");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(known_checksums), T(uuids), T(replacing_and_reading), T(paths_stay_inside_the_root),
		T(removing_does_not_follow_links), T(folders_are_opened_without_following_links), T(some_files_are_removed),
		T(a_full_disk_is_an_error), T(children_end), T(a_tail_is_kept),
		T(the_whole_group_is_ended), T(json_is_strict),
		T(messages_cannot_write_to_the_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
