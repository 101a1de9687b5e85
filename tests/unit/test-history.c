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
#include "history.h"

static char work[64], path[96];
static const uint8_t root[16] = {0xab, 1}, other_root[16] = {0xab, 2};

static int set_up(void **s)
{
	strcpy(work, "/tmp/qmr-history-XXXXXX");
	assert_non_null(mkdtemp(work));
	snprintf(path, sizeof(path), "%s/var/qmr/history.jsonl", work);
	return 0;
}

static int tear_down(void **s)
{
	return qmr_file_remove_tree(AT_FDCWD, work, NULL);
}

/* A boot as boot-guard start begins it. */
static void boot(struct qmr_state *state, uint64_t started_unix_s)
{
	memmove(&state->attempts[1], &state->attempts[0], sizeof(state->attempts) - sizeof(state->attempts[0]));
	state->attempts[0] = (struct qmr_attempt){.number = ++state->boots, .started_unix_s = started_unix_s, .outcome = QMR_HEALTHY,
						  .phase = QMR_PHASE_HEALTHY, .uptime_s = UINT32_MAX, .kernel_crc32 = UINT32_MAX};
	if (state->n_attempts < QMR_STATE_ATTEMPTS)
		state->n_attempts++;
}

static size_t load(const uint8_t of[16], struct qmr_attempt **ret)
{
	cleanup_free char *text = NULL;
	size_t size, n;

	assert_int_equal(qmr_file_read(AT_FDCWD, path, QMR_HISTORY_BYTES_MAX, &text, &size, NULL), 0);
	assert_int_equal(qmr_history_parse(text, size, of, ret, &n, NULL), 0);
	return n;
}

static void append(const struct qmr_state *state)
{
	struct qmr_error err = {0};

	assert_int_equal(qmr_history_append(path, state, &err), 0);
}

/* What is written is what is read, and each attempt once, however often and after whatever gap it is written. */
static void test_each_once(void **s)
{
	cleanup_free struct qmr_attempt *list = NULL;
	struct qmr_attempt failed;
	struct qmr_state state;

	qmr_state_init(&state, root);
	boot(&state, 1000);
	append(&state); /* the newest may still crash */
	assert_int_equal(access(path, F_OK), -1);
	boot(&state, 0);
	state.attempts[0].outcome = QMR_EMERGENCY;
	state.attempts[0].phase = QMR_PHASE_INITRAMFS;
	state.attempts[0].evidence = QMR_BY_INITRAMFS_SHELL;
	state.attempts[0].flags = 0xff;
	failed = state.attempts[0];
	boot(&state, UINT32_MAX);
	append(&state);
	append(&state);
	boot(&state, 5);
	append(&state);
	assert_int_equal(load(root, &list), 3);
	for (int i = 0; i < 3; i++)
		assert_memory_equal(&list[i], &state.attempts[3 - i], sizeof(list[i]));
	assert_memory_equal(&list[1], &failed, sizeof(failed));
}

/* A boot state that was lost begins at number 1 again: these are other attempts. And so are those of another root. */
static void test_told_apart(void **s)
{
	cleanup_free struct qmr_attempt *list = NULL, *others = NULL;
	struct qmr_state state;

	for (int i = 0; i < 2; i++) {
		qmr_state_init(&state, root);
		boot(&state, 1000 + (uint64_t)i);
		boot(&state, 2000);
		append(&state);
	}
	memcpy(state.root, other_root, 16);
	append(&state);
	assert_int_equal(load(root, &list), 2);
	assert_int_equal(list[0].started_unix_s, 1000);
	assert_int_equal(list[1].started_unix_s, 1001);
	assert_int_equal(load(other_root, &others), 1);
}

static void test_bounded(void **s)
{
	cleanup_free struct qmr_attempt *list = NULL;
	struct qmr_state state;
	struct stat before, after;

	qmr_state_init(&state, root);
	for (int i = 0; i < QMR_HISTORY_LINES + 50; i++) {
		boot(&state, (uint64_t)i);
		if (i % 7 == 0 || i > QMR_HISTORY_LINES + 40)
			append(&state);
	}
	assert_int_equal(load(root, &list), QMR_HISTORY_LINES);
	assert_int_equal(list[QMR_HISTORY_LINES - 1].number, state.boots - 1);
	assert_int_equal(list[0].number, state.boots - QMR_HISTORY_LINES);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(before.st_mode & 0777, 0600);
	append(&state);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino); /* nothing to add: not written */
}

/* A line without its end, lines that are none, and a file that is far too large. */
static void test_damage(void **s)
{
	cleanup_free struct qmr_attempt *list = NULL, *again = NULL;
	struct qmr_error err = {0};
	struct qmr_state state;
	int fd;

	qmr_state_init(&state, root);
	boot(&state, 1);
	boot(&state, 2);
	append(&state);
	fd = open(path, O_WRONLY | O_APPEND);
	assert_int_equal(dprintf(fd, "nonsense\n{\"schema\":1"), 20);
	close(fd);
	boot(&state, 3);
	append(&state);
	assert_int_equal(load(root, &list), 2);
	assert_int_equal(truncate(path, QMR_HISTORY_BYTES_MAX + 1), 0);
	append(&state);
	assert_int_equal(load(root, &again), 2);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_true(qmr_history_append(path, &state, &err) < 0);
}

/* A full disk leaves what was there. */
static void test_no_room(void **s)
{
	struct qmr_error err = {0};
	struct qmr_state state;

	qmr_state_init(&state, root);
	boot(&state, 1);
	boot(&state, 2);
	snprintf(path, sizeof(path), "/dev/full/history.jsonl");
	assert_true(qmr_history_append(path, &state, &err) < 0);
	assert_true(err.text[0]);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(test_each_once), TEST(test_told_apart), TEST(test_bounded), TEST(test_damage),
					   TEST(test_no_room)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
