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

#include "file.h"
#include "json.h"
#include "package-log.h"

#define CURRENT "var/log/dpkg.log"
#define ROTATED "var/log/dpkg.log.1"
#define LINE(time, n) "2026-11-" time " upgrade p" n ":amd64 1 2\n"

static char folder[] = "/tmp/qmr-test-packages-XXXXXX";
static int root = -1;
static json_t *position;
static char seen[4096]; /* names of what was found, without their architecture */

static int set_up(void **unused)
{
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	root = mkdtemp(folder) ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	position = NULL;
	return root < 0 ? -1 : qmr_file_mkdirs(root, "var/log", 0755, NULL);
}

static int tear_down(void **unused)
{
	json_decref(position);
	close(root);
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static void write_log(const char *path, const char *text)
{
	assert_int_equal(qmr_file_replace(root, path, text, strlen(text), 0644, NULL), 0);
}

static void append(const char *text)
{
	int fd = openat(root, CURRENT, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static int note(void *user, const struct qmr_package_change *change, struct qmr_error *err)
{
	size_t length = strcspn(change->package, ":");

	assert_true(strlen(seen) + length + 2 < sizeof(seen));
	strncat(seen, change->package, length);
	strcat(seen, " ");
	return 0;
}

static int read_log(void)
{
	json_t *next = NULL;
	int r;

	seen[0] = '\0';
	r = qmr_package_log_read(root, &qmr_package_logs[0], position, note, NULL, &next, NULL);
	if (r == 0) {
		json_decref(position);
		position = next;
	}
	return r;
}

static void assert_seen(const char *names)
{
	assert_int_equal(read_log(), 0);
	assert_string_equal(seen, names);
}

static void lines_of_all_kinds(void **unused)
{
	static const struct {
		const char *line;
		int is_change;
		struct qmr_package_change change;
	} cases[] = {
		{"2026-11-20 06:10:11 upgrade a:amd64 1 2", 1, {"2026-11-20 06:10:11", "upgrade", "a:amd64", "1", "2"}},
		{"2026-11-20 06:10:11 install a <none> 1:2~b", 1, {"2026-11-20 06:10:11", "install", "a", "", "1:2~b"}},
		{"2026-11-20 06:10:11 remove a:all 1 <none>", 1, {"2026-11-20 06:10:11", "remove", "a:all", "1", ""}},
		{"2026-11-20 06:10:11 purge a:all 1 <none>", 1, {"2026-11-20 06:10:11", "purge", "a:all", "1", ""}},
		{.line = "2026-11-20 06:10:11 status installed a:amd64 2"},
		{.line = "2026-11-20 06:10:11 configure a:amd64 2 <none>"},
		{.line = "2026-11-20 06:10:11 startup archives unpack"},
		{.line = "2026-11-20 06:10:11 upgrade a:amd64 1"},
		{.line = "2026-11-20 06:10:11 upgrade a:amd64 1 2 3"},
		{.line = "2026-11-20 06:10:11 upgrade ../a 1 2"},
		{.line = "2026-11-20T06:10:11 upgrade a 1 2"},
		{.line = "2026-11-20 06:10:11 "},
		{.line = ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_package_change change = {0};
		int r = qmr_package_logs[0].parse(cases[i].line, strlen(cases[i].line), &change);

		if (r != cases[i].is_change)
			fail_msg("'%s' gives %d", cases[i].line, r);
		assert_string_equal(change.time, cases[i].change.time);
		assert_string_equal(change.action, cases[i].change.action);
		assert_string_equal(change.package, cases[i].change.package);
		assert_string_equal(change.from, cases[i].change.from);
		assert_string_equal(change.to, cases[i].change.to);
	}
}

static void only_what_is_new(void **unused)
{
	append(LINE("20 06:10:11", "1"));
	assert_seen(""); /* the first run notes where it ends */
	assert_seen("");
	append(LINE("20 06:10:12", "2") LINE("20 06:10:12", "2") "2026-11-21 00:00:00 upgrade p3:am");
	assert_seen("p2 p2 "); /* the same line twice is two lines */
	append("d64 1 2\n");
	assert_seen("p3 ");
	assert_seen("");
}

static void a_clock_that_jumps(void **unused)
{
	append(LINE("20 06:10:11", "1"));
	assert_seen("");
	append(LINE("01 06:10:11", "2"));
	assert_seen("p2 ");
	append(LINE("30 06:10:11", "3"));
	assert_seen("p3 ");
	append(LINE("02 06:10:11", "4"));
	assert_seen("p4 ");
	assert_seen("");
}

static void rotated(void **unused)
{
	append(LINE("20 06:10:11", "1"));
	assert_seen("");
	append(LINE("20 06:10:12", "2"));
	assert_int_equal(renameat(root, CURRENT, root, ROTATED), 0);
	append("");
	assert_seen("p2 ");
	assert_seen(""); /* the place stays in what was rotated while its successor is empty */
	append(LINE("20 06:10:13", "3"));
	assert_seen("p3 ");
	assert_seen("");
	append(LINE("20 06:10:14", "4"));
	assert_int_equal(renameat(root, CURRENT, root, ROTATED), 0);
	append(LINE("20 06:10:15", "5"));
	assert_seen("p4 p5 ");
	assert_seen("");
}

static void rotated_and_longer_than_before(void **unused)
{
	append(LINE("20 06:10:11", "1"));
	assert_seen("");
	assert_int_equal(renameat(root, CURRENT, root, ROTATED), 0);
	append(LINE("20 06:10:12", "2") LINE("20 06:10:12", "3"));
	assert_seen("p2 p3 ");
}

static void rotated_twice(void **unused)
{
	append(LINE("20 06:10:11", "1"));
	assert_seen("");
	write_log(ROTATED, LINE("20 06:10:12", "2"));
	write_log(CURRENT, LINE("20 06:10:13", "3"));
	assert_seen("p2 p3 ");
	assert_seen("");
}

static void emptied_and_begun_again(void **unused)
{
	write_log(ROTATED, LINE("19 06:10:12", "0"));
	append(LINE("20 06:10:11", "1") LINE("20 06:10:11", "2"));
	assert_seen("");
	write_log(CURRENT, LINE("20 06:10:13", "3"));
	assert_seen("p3 "); /* what was rotated is older than the place that was lost */
	assert_seen("");
}

static void cut_at_its_head(void **unused)
{
	append(LINE("20 06:10:11", "1") LINE("20 06:10:12", "2"));
	for (int i = 0; i < 20; i++)
		append("2026-11-20 06:10:12 status installed filler:amd64 1\n");
	append(LINE("20 06:10:13", "3"));
	assert_seen("");
	write_log(CURRENT, LINE("20 06:10:12", "2")
		  "2026-11-20 06:10:12 status installed filler:amd64 1\n2026-11-20 06:10:12 status installed filler:amd64 1\n"
		  "2026-11-20 06:10:12 status installed filler:amd64 1\n2026-11-20 06:10:12 status installed filler:amd64 1\n"
		  "2026-11-20 06:10:12 status installed filler:amd64 1\n2026-11-20 06:10:12 status installed filler:amd64 1\n"
		  "2026-11-20 06:10:12 status installed filler:amd64 1\n2026-11-20 06:10:12 status installed filler:amd64 1\n"
		  "2026-11-20 06:10:12 status installed filler:amd64 1\n2026-11-20 06:10:12 status installed filler:amd64 1\n"
		  LINE("20 06:10:13", "3") LINE("20 06:10:14", "4"));
	assert_seen("p4 ");
	assert_seen("");
}

static void logs_that_are_not_there(void **unused)
{
	assert_seen("");
	append(LINE("20 06:10:11", "1"));
	assert_seen("p1 "); /* there was none, so all of it is new */
	assert_int_equal(unlinkat(root, CURRENT, 0), 0);
	assert_seen("");
	append(LINE("20 06:10:11", "1") LINE("20 06:10:12", "2"));
	assert_seen("p2 "); /* its file system was not mounted */
}

static void a_position_that_is_damaged(void **unused)
{
	static const char *const bad[] = {"{}", "{\"offset\": -1, \"mark\": \"\"}", "{\"offset\": 3, \"mark\": \"long mark\"}",
					  "{\"offset\": \"x\", \"mark\": \"\"}", "{\"offset\": 1, \"mark\": 2}"};

	append(LINE("20 06:10:11", "1"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		json_decref(position);
		position = json_loads(bad[i], 0, NULL);
		assert_seen("");
		assert_seen("");
	}
}

static void bounded(void **unused)
{
	char line[128];
	int fd;

	append(LINE("20 06:10:11", "1"));
	assert_seen("");
	append(LINE("20 06:10:11", "2"));
	fd = openat(root, CURRENT, O_WRONLY | O_APPEND | O_CLOEXEC);
	for (int i = 0; i < 5 << 20;) {
		memset(line, 'x', sizeof(line));
		line[sizeof(line) - 1] = '\n';
		assert_int_equal(write(fd, line, sizeof(line)), sizeof(line));
		i += sizeof(line);
	}
	close(fd);
	append(LINE("20 06:10:11", "3"));
	assert_seen("p3 "); /* p2 is further back than what is read */
	assert_seen("");
	append(LINE("20 06:10:12", "4"));
	assert_seen("p4 ");
}

static void hostile_files(void **unused)
{
	assert_int_equal(mkfifoat(root, CURRENT, 0600), 0);
	assert_int_equal(read_log(), -EINVAL); /* and does not wait */
	assert_int_equal(unlinkat(root, CURRENT, 0), 0);
	assert_int_equal(symlinkat("/../../../../../../etc/passwd", root, CURRENT), 0);
	assert_seen("");
	assert_int_equal(json_integer_value(json_object_get(position, "offset")), 0); /* it stayed inside the root */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(lines_of_all_kinds), T(only_what_is_new),	T(a_clock_that_jumps),	    T(rotated),
		T(rotated_twice),      T(emptied_and_begun_again), T(cut_at_its_head),	    T(rotated_and_longer_than_before),
		T(bounded),	       T(hostile_files),	T(logs_that_are_not_there), T(a_position_that_is_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
