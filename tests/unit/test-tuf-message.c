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
#include <unistd.h>

#include <cmocka.h>

#include "fetch-message.h"

/* What was sent through a pipe, which takes the few bytes of these tests. */
static size_t sent(int fd, char *buffer, size_t max)
{
	ssize_t n = read(fd, buffer, max);

	assert_true(n >= 0);
	return (size_t)n;
}

static void what_is_sent_arrives(void **unused)
{
	struct qmr_fetch_files files = {0};
	struct qmr_error result = {0};
	char buffer[4096], *data = NULL;
	size_t size, n;
	int fds[2];

	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	assert_int_equal(qmr_fetch_send_file(fds[1], "metadata/timestamp.json", "a\0b", 3, NULL),
			 0);
	assert_int_equal(qmr_fetch_send_file(fds[1], "empty", "", 0, NULL), 0);
	assert_int_equal(qmr_fetch_send_result(fds[1], -EBADMSG, "timestamp: no\n", NULL), 0);
	n = sent(fds[0], buffer, sizeof(buffer));
	assert_int_equal(qmr_fetch_stream_parse(buffer, n, &files, &result, NULL), 0);
	assert_int_equal(files.n, 2);
	assert_string_equal(files.items[0].name, "metadata/timestamp.json");
	assert_int_equal(files.items[0].size, 3);
	assert_memory_equal(files.items[0].data, "a\0b", 3);
	assert_int_equal(files.items[1].size, 0);
	assert_int_equal(result.code, -EBADMSG);
	assert_string_equal(result.text, "timestamp: no?");
	assert_int_equal(
		qmr_fetch_files_fetch(&files, "metadata/timestamp.json", 3, &data, &size, NULL), 0);
	assert_memory_equal(data, "a\0b", 3);
	free(data);
	assert_int_equal(
		qmr_fetch_files_fetch(&files, "metadata/timestamp.json", 2, &data, &size, NULL),
		-EFBIG);
	assert_int_equal(qmr_fetch_files_fetch(&files, "other", 2, &data, &size, NULL), -ENOENT);
	qmr_fetch_files_done(&files);
	/* Cut off anywhere it is refused, and gives nothing. */
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(qmr_fetch_stream_parse(buffer, i, &files, &result, NULL), -EPROTO);
		assert_int_equal(files.n, 0);
	}
	close(fds[0]);
	close(fds[1]);
}

static void results_keep_their_kind(void **unused)
{
	static const struct {
		int sent, received;
	} cases[] = {{0, 0},
		     {-EBADMSG, -EBADMSG},
		     {-EKEYREJECTED, -EBADMSG},
		     {-ETIMEDOUT, -ETIMEDOUT},
		     {-ENOMEM, -EIO},
		     {-EPROTO, -EIO}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_fetch_files files = {0};
		struct qmr_error result = {0};
		char buffer[4096];
		int fds[2];

		assert_int_equal(pipe(fds), 0);
		assert_int_equal(qmr_fetch_send_result(fds[1], cases[i].sent, "why", NULL), 0);
		assert_int_equal(qmr_fetch_stream_parse(buffer,
							sent(fds[0], buffer, sizeof(buffer)),
							&files, &result, NULL),
				 0);
		assert_int_equal(result.code, cases[i].received);
		close(fds[0]);
		close(fds[1]);
	}
}

#define MESSAGE(type, name_size, size) type name_size size
#define OK MESSAGE("R", "\2\0", "\0\0\0\0") "ok"

static void what_is_no_stream_is_refused(void **unused)
{
#define CASE(text, why)                                                                            \
	{                                                                                          \
		text, sizeof(text) - 1, why                                                        \
	}
	static const struct {
		const char *data;
		size_t size;
		const char *why;
	} cases[] = {
		CASE("", "ends before"),
		CASE("F", "ends before"),
		CASE(MESSAGE("X", "\1\0", "\0\0\0\0") "a" OK, "unknown message"),
		CASE(MESSAGE("F", "\0\0", "\0\0\0\0") OK, "size"),
		CASE(MESSAGE("F", "\1\4", "\0\0\0\0") "a", "size"),
		CASE(MESSAGE("F", "\377\377", "\0\0\0\0") "a", "size"),
		CASE(MESSAGE("F", "\1\0", "\377\377\377\377") "a" OK, "size"),
		CASE(MESSAGE("F", "\1\0", "\2\0\0\0") "ab", "size"),
		CASE(MESSAGE("F", "\2\0", "\0\0\0\0") "a\0" OK, "NUL"),
		CASE(MESSAGE("F", "\1\0", "\0\0\0\0") "a", "ends before"),
		CASE(OK "x", "more after"),
		CASE(OK OK, "more after"),
		CASE(MESSAGE("R", "\2\0", "\0\0\0\0") "oK", "unknown result"),
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_fetch_files files = {0};
		struct qmr_error result = {0}, err = {0};

		assert_int_equal(
			qmr_fetch_stream_parse(cases[i].data, cases[i].size, &files, &result, &err),
			-EPROTO);
		if (!strstr(err.text, cases[i].why))
			fail_msg("case %zu: '%s'", i, err.text);
		assert_int_equal(files.n, 0);
	}
}

static void the_number_of_files_is_bounded(void **unused)
{
	struct qmr_fetch_files files = {0};
	char name[16];

	for (int i = 0; i < QMR_FETCH_FILES_MAX; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(qmr_fetch_files_add(&files, name, "", 0, NULL), 0);
	}
	assert_int_equal(qmr_fetch_files_add(&files, "one more", "", 0, NULL), -E2BIG);
	qmr_fetch_files_done(&files);
}

static void their_size_is_bounded(void **unused)
{
	struct qmr_fetch_files files = {0};
	char *data = calloc(1, QMR_FETCH_STREAM_MAX / 2 + 1);

	assert_int_equal(qmr_fetch_files_add(&files, "a", data, QMR_FETCH_STREAM_MAX / 2, NULL), 0);
	assert_int_equal(qmr_fetch_files_add(&files, "b", data, QMR_FETCH_STREAM_MAX / 2 + 1, NULL),
			 -E2BIG);
	assert_int_equal(qmr_fetch_files_add(&files, "b", data, QMR_FETCH_STREAM_MAX / 2, NULL), 0);
	assert_int_equal(qmr_fetch_files_add(&files, "c", data, 1, NULL), -E2BIG);
	qmr_fetch_files_done(&files);
	free(data);
}

static void a_closed_pipe_is_an_error(void **unused)
{
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	assert_int_equal(qmr_fetch_send_file(fds[1], "a", "b", 1, NULL), -EPIPE);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_sent_arrives),
		cmocka_unit_test(results_keep_their_kind),
		cmocka_unit_test(what_is_no_stream_is_refused),
		cmocka_unit_test(the_number_of_files_is_bounded),
		cmocka_unit_test(their_size_is_bounded),
		cmocka_unit_test(a_closed_pipe_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
