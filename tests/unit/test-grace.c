/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "grace.h"
#include "tree.h"

static char fifo[128], said[4096];
static const char *writes; /* by somebody, once there is something to write to */
static int stops;

static void listen(void *context, const char *text)
{
	int fd;

	strcat(said, text);
	strcat(said, "\n");
	if (stops)
		raise(SIGTERM);
	if (!writes)
		return;
	fd = open(fifo, O_WRONLY | O_NONBLOCK);
	assert_true(fd >= 0 && write(fd, writes, strlen(writes)) == (ssize_t)strlen(writes));
	close(fd);
	writes = NULL;
}

static int wait_ms(int grace_ms, int64_t defer_ms, const char *text, int64_t *ret_took_ms)
{
	const struct qmr_grace grace = {.fifo = fifo, .grace_ms = grace_ms, .defer_ms = defer_ms, .tell = listen};
	const int64_t begin = qmr_clock_ms();
	int r;

	snprintf(fifo, sizeof(fifo), "%s/defer", folder);
	*said = '\0';
	writes = text;
	r = qmr_grace_wait(&grace, NULL);
	*ret_took_ms = qmr_clock_ms() - begin;
	assert_int_equal(access(fifo, F_OK), -1);
	return r;
}

static void nobody_minds(void **unused)
{
	int64_t took;

	assert_int_equal(wait_ms(0, 0, NULL, &took), 0);
	assert_string_equal(said, "in 0 min\n");
	assert_int_equal(wait_ms(30, 0, NULL, &took), 0);
	assert_true(took >= 30);
	assert_string_equal(said, "in 1 min\n");
}

static void put_off_within_its_bound(void **unused)
{
	int64_t took;

	assert_int_equal(wait_ms(30, 120, "5\n", &took), 0);
	assert_true(took >= 150);
	assert_string_equal(said, "in 1 min; it cannot be put off any further\nin 1 min; it cannot be put off any further\n");
	assert_int_equal(wait_ms(30, 0, "5\n", &took), 0);
	assert_true(took >= 30);
	assert_string_equal(said, "in 1 min\nin 1 min\n");
}

static void what_is_no_number_is_nothing(void **unused)
{
	int64_t took;

	assert_int_equal(wait_ms(30, 86400000, "\nabc\n-5\n0\n10081\n1x\n99999999999999999999\n \n", &took), 0);
	assert_string_equal(said, "in 1 min; 'qmrctl defer MINUTES' puts it off, by 1440 min at most\n");
}

static void stopped(void **unused)
{
	sigset_t now;
	int64_t took;

	stops = 1;
	assert_int_equal(wait_ms(3600000, 3600000, "1\n", &took), -EINTR);
	stops = 0;
	sigprocmask(SIG_SETMASK, NULL, &now);
	assert_int_equal(sigismember(&now, SIGTERM), 0);
	assert_non_null(strstr(said, "in 60 min; 'qmrctl defer MINUTES' puts it off, by 60 min at most\n"));
}

static void anybody_may_write_and_nobody_read(void **unused)
{
	struct qmr_error err = {0};
	int64_t took;

	snprintf(fifo, sizeof(fifo), "%s/defer", folder);
	assert_int_equal(qmr_grace_defer(fifo, 5, &err), -ENOENT);
	assert_int_equal(mkfifo(fifo, 0600), 0); /* of one that was killed */
	assert_int_equal(qmr_grace_defer(fifo, 5, &err), -ENOENT);
	assert_int_equal(wait_ms(1, 0, NULL, &took), 0);
}

static void mode_of(void *context, const char *text)
{
	struct stat st;

	assert_int_equal(stat(fifo, &st), 0);
	assert_int_equal(st.st_mode, S_IFIFO | 0622);
	assert_int_equal(qmr_grace_defer(fifo, 1, NULL), 0);
}

static void its_mode(void **unused)
{
	struct qmr_grace grace = {.fifo = fifo, .grace_ms = 1, .tell = mode_of};

	snprintf(fifo, sizeof(fifo), "%s/defer", folder);
	assert_int_equal(qmr_grace_wait(&grace, NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nobody_minds), TEST(put_off_within_its_bound), TEST(what_is_no_number_is_nothing), TEST(stopped),
		TEST(anybody_may_write_and_nobody_read), TEST(its_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
