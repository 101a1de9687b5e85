/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "file.h"
#include "tree.h"
#include "watchdog.h"

static void put_device(const char *bootstatus, const char *held, const char *nowayout)
{
	put("watchdog0/identity", "i6300ESB timer\n");
	put("watchdog0/bootstatus", bootstatus);
	put("watchdog0/state", held);
	put("watchdog0/nowayout", nowayout);
}

static void test_find(void **state)
{
	struct qmr_watchdog w;
	struct qmr_error err = {0};

	assert_int_equal(qmr_watchdog_find(root_fd, &w, &err), -ENODEV);
	put_device("0\n", "inactive\n", "0\n");
	assert_int_equal(qmr_watchdog_find(root_fd, &w, &err), 0); /* as Linux 6.1 shows it: no device */
	assert_string_equal(w.driver, "");
	put("watchdog0/identity", "Software Watchdog\n");
	assert_int_equal(qmr_watchdog_find(root_fd, &w, &err), -ENODEV);
	assert_non_null(strstr(err.text, "no hardware"));
	put_device("0\n", "inactive\n", "0\n");
	assert_int_equal(qmr_file_mkdirs(root_fd, "watchdog0/device", 0755, NULL), 0);
	assert_int_equal(symlinkat("../../../bus/pci/drivers/i6300ESB timer", root_fd, "watchdog0/device/driver"), 0);
	assert_int_equal(qmr_watchdog_find(root_fd, &w, &err), 0);
	assert_string_equal(w.identity, "i6300ESB timer");
	assert_string_equal(w.driver, "i6300ESB timer");
	assert_false(w.was_reset);
	assert_null(qmr_watchdog_obstacle(&w));
	put_device("32\n", "active\n", "0\n");
	assert_int_equal(qmr_watchdog_find(root_fd, &w, &err), 0);
	assert_true(w.was_reset);
	assert_non_null(qmr_watchdog_obstacle(&w));
	put_device("33024\n", "inactive\n", "1\n"); /* other bits: not its reset */
	assert_int_equal(qmr_watchdog_find(root_fd, &w, &err), 0);
	assert_false(w.was_reset);
	assert_non_null(qmr_watchdog_obstacle(&w));
	assert_int_equal(unlinkat(root_fd, "watchdog0/nowayout", 0), 0);
	assert_int_equal(qmr_watchdog_find(root_fd, &w, &err), 0);
	assert_non_null(qmr_watchdog_obstacle(&w));
}

/* docs/detector.md, the table of reset reasons. */
static void test_judge(void **state)
{
	static const struct {
		uint32_t flags;
		int was_reset;
		enum qmr_outcome before;
		uint8_t attempt_flags;
		enum qmr_outcome after;
		uint32_t flags_after;
		int is_changed;
	} cases[] = {
		{0, 1, QMR_UNKNOWN, QMR_ATTEMPT_ATTENDED, QMR_HANG, 0, 1},
		{0, 1, QMR_OPEN, 0, QMR_HANG, 0, 1},
		{0, 1, QMR_HEALTHY, 0, QMR_HANG, 0, 1},
		{0, 1, QMR_PANIC, 0, QMR_PANIC, 0, 0},
		{0, 1, QMR_EMERGENCY, 0, QMR_EMERGENCY, 0, 0},
		{0, 1, QMR_CLEAN_SHUTDOWN, 0, QMR_CLEAN_SHUTDOWN, 0, 0},
		{0, 1, QMR_UNKNOWN, QMR_ATTEMPT_RECOVERED, QMR_UNKNOWN, 0, 0},
		{0, 0, QMR_UNKNOWN, 0, QMR_UNKNOWN, 0, 0},
		{QMR_STATE_WATCHDOG_SEEN, 1, QMR_UNKNOWN, 0, QMR_UNKNOWN, QMR_STATE_WATCHDOG_STICKY, 1},
		{QMR_STATE_WATCHDOG_SEEN, 0, QMR_UNKNOWN, 0, QMR_UNKNOWN, 0, 1},
		{QMR_STATE_WATCHDOG_STICKY, 1, QMR_UNKNOWN, 0, QMR_UNKNOWN, QMR_STATE_WATCHDOG_STICKY, 0},
		{QMR_STATE_WATCHDOG_STICKY | QMR_STATE_OBSERVED, 0, QMR_UNKNOWN, 0, QMR_UNKNOWN, QMR_STATE_OBSERVED, 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		for (unsigned int at = 0; at < 2; at++) {
			struct qmr_state s;

			qmr_state_init(&s, NULL);
			s.n_attempts = 2;
			s.flags = cases[i].flags;
			s.attempts[at].outcome = (uint8_t)cases[i].before;
			s.attempts[at].flags = cases[i].attempt_flags;
			assert_int_equal(qmr_watchdog_judge(&s, at, cases[i].was_reset), cases[i].is_changed);
			assert_int_equal(s.attempts[at].outcome, cases[i].after);
			assert_int_equal(s.attempts[at].evidence, cases[i].after == QMR_HANG ? QMR_BY_WATCHDOG : QMR_BY_NONE);
			assert_int_equal(s.attempts[at].flags & QMR_ATTEMPT_ATTENDED, 0);
			assert_int_equal(s.flags, cases[i].flags_after);
			assert_int_equal(s.attempts[!at].outcome, QMR_OPEN);
		}
}

/* Before any history it says nothing that could be understood. */
static void test_judge_empty(void **state)
{
	struct qmr_state s;

	qmr_state_init(&s, NULL);
	assert_int_equal(qmr_watchdog_judge(&s, 0, 1), 1);
	assert_int_equal(s.flags, QMR_STATE_WATCHDOG_STICKY);
	qmr_state_init(&s, NULL);
	s.n_attempts = 1;
	assert_int_equal(qmr_watchdog_judge(&s, 1, 1), 1);
	assert_int_equal(s.flags, QMR_STATE_WATCHDOG_STICKY);
	assert_int_equal(qmr_watchdog_judge(&s, 1, 1), 0);
}

static void write_armed(void *context, int timeout_s)
{
	(void)!write(*(int *)context, "a", 1);
}

/* A pipe in the place of the device: what is written there is what the hardware would see. */
struct fake {
	char device[96], owner[96];
	int fd, armed_fd;
	pid_t pid;
};

static void start(struct fake *fake)
{
	int fds[2];
	char byte;

	snprintf(fake->device, sizeof(fake->device), "%s/device", folder);
	snprintf(fake->owner, sizeof(fake->owner), "%s/owner", folder);
	(void)unlink(fake->device);
	(void)unlink(fake->owner);
	assert_int_equal(mkfifo(fake->device, 0600), 0);
	assert_int_equal(symlink("/bin/sh", fake->owner), 0);
	fake->fd = open(fake->device, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fake->fd >= 0 && pipe(fds) == 0);
	fake->armed_fd = fds[1];
	fake->pid = fork();
	if (fake->pid == 0) {
		const struct qmr_watchdog_feeder feeder = {.device = fake->device, .owner = fake->owner, .timeout_s = 60,
							   .armed = write_armed, .context = &fake->armed_fd};

		close(fake->fd);
		_exit(qmr_watchdog_feed(&feeder, NULL) < 0);
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	close(fds[0]);
}

/* Everything that was written till the end; one ping is one 0. */
static size_t finish(struct fake *fake, char *ret_bytes, size_t size)
{
	struct pollfd fd = {.fd = fake->fd, .events = POLLIN};
	size_t used = 0;
	ssize_t n = 1;
	int status;

	while (n != 0 && poll(&fd, 1, 10000) == 1 && used < size) {
		n = read(fake->fd, ret_bytes + used, size - used);
		assert_true(n >= 0);
		used += (size_t)n;
	}
	close(fake->fd);
	if (n != 0)
		(void)kill(fake->pid, SIGKILL); /* it does not end */
	assert_int_equal(waitpid(fake->pid, &status, 0), fake->pid);
	assert_int_equal(status, 0);
	return used;
}

static void test_feed(void **state)
{
	static const struct {
		int number;
		char last;
	} cases[] = {{SIGTERM, 'V'}, {SIGUSR1, '\0'}, {0, 'V'}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct pollfd fd = {.events = POLLIN};
		struct fake fake;
		char bytes[16], byte;
		size_t n;

		start(&fake);
		fd.fd = fake.fd;
		/* It pings by itself, and more than once. */
		for (int k = 0; k < 2; k++)
			assert_true(poll(&fd, 1, 10000) == 1 && read(fake.fd, &byte, 1) == 1 && byte == '\0');
		assert_int_equal(kill(fake.pid, SIGHUP), 0); /* no reason to stop */
		if (cases[i].number) {
			assert_int_equal(kill(fake.pid, cases[i].number), 0);
		} else {
			assert_int_equal(unlink(fake.owner), 0);
			assert_int_equal(symlink("/lib/systemd/systemd", fake.owner), 0);
		}
		n = finish(&fake, bytes, sizeof(bytes));
		assert_true(n > 0 || cases[i].last == '\0');
		for (size_t k = 0; k < n; k++)
			assert_int_equal(bytes[k], k + 1 == n ? cases[i].last : '\0');
	}
}

static void test_no_device(void **state)
{
	const struct qmr_watchdog_feeder feeder = {.device = "/nonexistent/watchdog0", .owner = "/proc/self/exe", .timeout_s = 60};
	struct qmr_error err = {0};
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(qmr_watchdog_feed(&feeder, NULL) == -ENOENT ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(qmr_watchdog_disarm(feeder.device, &err), -ENOENT);
}

static void test_disarm(void **state)
{
	char path[96], *text;
	size_t size;

	put("device", "");
	snprintf(path, sizeof(path), "%s/device", folder);
	assert_int_equal(qmr_watchdog_disarm(path, NULL), 0);
	assert_int_equal(qmr_file_read(root_fd, "device", 64, &text, &size, NULL), 0);
	assert_string_equal(text, "V");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_find, make_folder, remove_folder),
		cmocka_unit_test(test_judge),
		cmocka_unit_test(test_judge_empty),
		cmocka_unit_test_setup_teardown(test_feed, make_folder, remove_folder),
		cmocka_unit_test(test_no_device),
		cmocka_unit_test_setup_teardown(test_disarm, make_folder, remove_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
