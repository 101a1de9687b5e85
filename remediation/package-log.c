/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "package-log.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "json.h"

#define READ_BYTES_MAX (4 << 20)
#define MARK_BYTES 512
#define TIME_BYTES 19

/* The end of a log: complete lines, printable. */
struct tail {
	char *data;
	size_t size;
	uint64_t offset; /* of data in the file */
	size_t fresh;    /* what follows the position begins here */
	int found;       /* the position was found */
};

static void tail_done(struct tail *tail)
{
	free(tail->data);
	memset(tail, 0, sizeof(*tail));
}
#define cleanup_tail QMR_CLEANUP(tail_done)

static int next_field(const char **line, const char *end, char *field, size_t room)
{
	const char *start = *line;
	size_t length;

	while (*line < end && **line != ' ')
		(*line)++;
	length = (size_t)(*line - start);
	if (!length || length >= room)
		return 0;
	memcpy(field, start, length);
	field[length] = '\0';
	if (*line < end)
		(*line)++;
	return 1;
}

static int is_time(const char *line, size_t length)
{
	static const char form[] = "dddd-dd-dd dd:dd:dd ";

	if (length < sizeof(form))
		return 0;
	for (size_t i = 0; form[i]; i++)
		if (form[i] == 'd' ? !isdigit((unsigned char)line[i]) : line[i] != form[i])
			return 0;
	return 1;
}

static int is_package(const char *name)
{
	if (!isalnum((unsigned char)*name))
		return 0;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("+-._:", *name))
			return 0;
	return 1;
}

/* "TIME ACTION NAME:ARCHITECTURE OLD NEW" (dpkg, lib/dpkg/log.c and src/main); "<none>" is no version. */
static int parse_dpkg(const char *line, size_t length, struct qmr_package_change *ret_change)
{
	static const char *const actions[] = {"install", "upgrade", "remove", "purge"};
	struct qmr_package_change change;
	const char *p = line + TIME_BYTES + 1, *end = line + length;

	if (!is_time(line, length) || !next_field(&p, end, change.action, sizeof(change.action)) ||
	    !next_field(&p, end, change.package, sizeof(change.package)) ||
	    !next_field(&p, end, change.from, sizeof(change.from)) || !next_field(&p, end, change.to, sizeof(change.to)) ||
	    p != end || !is_package(change.package))
		return 0;
	memcpy(change.time, line, TIME_BYTES);
	change.time[TIME_BYTES] = '\0';
	if (!strcmp(change.from, "<none>"))
		change.from[0] = '\0';
	if (!strcmp(change.to, "<none>"))
		change.to[0] = '\0';
	for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++)
		if (!strcmp(change.action, actions[i])) {
			*ret_change = change;
			return 1;
		}
	return 0;
}

const struct qmr_package_log qmr_package_logs[] = {
	{"dpkg", "/var/log/dpkg.log", "/var/log/dpkg.log.1", parse_dpkg},
};
const size_t qmr_n_package_logs = sizeof(qmr_package_logs) / sizeof(*qmr_package_logs);

/* A missing file gives -1 and *ret_size 0. */
static int open_log(int root_fd, const char *path, uint64_t *ret_size, int *ret_fd, struct qmr_error *err)
{
	cleanup_close int fd = qmr_file_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, err);
	struct stat st;

	*ret_size = 0;
	*ret_fd = -1;
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return qmr_error_errno(err, -errno, "examining '%s'", path);
	if (!S_ISREG(st.st_mode))
		return qmr_error_set(err, -EINVAL, "'%s' is not a regular file", path);
	*ret_size = (uint64_t)st.st_size;
	*ret_fd = fd;
	fd = -1;
	return 0;
}

/* Keeps whole lines: drops the last one if it has no newline, and the first if asked. What is not printable becomes '?', as in
 * the mark. Returns the size, and how many bytes were dropped in front. */
static size_t keep_lines(char *data, size_t size, int without_first, size_t *ret_start)
{
	const char *newline;

	for (size_t i = 0; i < size; i++)
		if (data[i] != '\n' && (data[i] < ' ' || data[i] > '~'))
			data[i] = '?';
	newline = memrchr(data, '\n', size);
	size = newline ? (size_t)(newline - data) + 1 : 0;
	*ret_start = without_first && size ? (size_t)((char *)memchr(data, '\n', size) - data) + 1 : 0;
	memmove(data, data + *ret_start, size - *ret_start);
	return size - *ret_start;
}

/* From offset on, or the last READ_BYTES_MAX. */
static int read_tail(int fd, const char *path, uint64_t offset, uint64_t size, struct tail *ret_tail, struct qmr_error *err)
{
	uint64_t from = size - offset > READ_BYTES_MAX ? size - READ_BYTES_MAX : offset;
	cleanup_free char *data = malloc((size_t)(size - from) + 1);
	size_t used = 0, start;

	if (!data)
		return qmr_error_set(err, -ENOMEM, "reading '%s': out of memory", path);
	while (used < size - from) {
		ssize_t n = pread(fd, data + used, (size_t)(size - from) - used, (off_t)(from + used));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return qmr_error_errno(err, -errno, "reading '%s'", path);
		if (n == 0)
			break; /* it was cut since it was looked at */
		used += (size_t)n;
	}
	ret_tail->size = keep_lines(data, used, from != offset, &start);
	ret_tail->offset = from + start;
	ret_tail->data = data;
	data = NULL;
	return 0;
}

/* Behind the last place where mark stands, 0 if it does not. */
static size_t find_mark(const struct tail *tail, const char *mark, size_t length)
{
	const char *end = tail->data + tail->size, *last = NULL;

	for (const char *p = tail->data; length && (p = memmem(p, (size_t)(end - p), mark, length)); p++)
		last = p;
	return last ? (size_t)(last - tail->data) + length : 0;
}

/* Reads what follows position, or if it is not there, all of the file. */
static int locate(int root_fd, const char *path, uint64_t offset, const char *mark, struct tail *ret_tail,
		  struct qmr_error *err)
{
	size_t length = strlen(mark);
	cleanup_close int fd = -1;
	uint64_t size;
	int r = open_log(root_fd, path, &size, &fd, err);

	if (r < 0)
		return r;
	if (fd >= 0 && size >= offset) {
		r = read_tail(fd, path, offset - length, size, ret_tail, err);
		if (r < 0)
			return r;
		if (ret_tail->offset == offset - length && ret_tail->size >= length &&
		    !memcmp(ret_tail->data, mark, length)) {
			ret_tail->fresh = length;
			ret_tail->found = 1;
			return 0;
		}
		tail_done(ret_tail);
	}
	if (fd < 0)
		return 0;
	r = read_tail(fd, path, 0, size, ret_tail, err);
	if (r < 0)
		return r;
	ret_tail->fresh = find_mark(ret_tail, mark, length);
	ret_tail->found = ret_tail->fresh > 0;
	return 0;
}

static int call_each(const struct qmr_package_log *log, const struct tail *tail, qmr_package_change_fn *fn, void *user,
		     struct qmr_error *err)
{
	const char *end = tail->data + tail->size;

	for (const char *line = tail->data + tail->fresh, *next; line < end; line = next + 1) {
		struct qmr_package_change change;

		next = memchr(line, '\n', (size_t)(end - line)); /* a tail ends with one */
		if (log->parse(line, (size_t)(next - line), &change)) {
			int r = fn(user, &change, err);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Whole lines where they are not longer than all of it. */
static json_t *position_of(const struct tail *tail)
{
	size_t start = tail->size > MARK_BYTES ? tail->size - MARK_BYTES : 0;
	const char *newline = start ? memchr(tail->data + start, '\n', tail->size - start - 1) : NULL;

	if (newline)
		start = (size_t)(newline - tail->data) + 1;
	return json_pack("{s:I, s:s%}", "offset", (json_int_t)(tail->offset + tail->size), "mark",
			 tail->data ? tail->data + start : "", tail->size - start);
}

static int end_of(int root_fd, const char *path, struct tail *ret_tail, struct qmr_error *err)
{
	cleanup_close int fd = -1;
	uint64_t size;
	int r = open_log(root_fd, path, &size, &fd, err);

	if (r == 0 && fd >= 0)
		r = read_tail(fd, path, size > 2 * MARK_BYTES ? size - 2 * MARK_BYTES : 0, size, ret_tail, err);
	return r;
}

static int begin(int root_fd, const struct qmr_package_log *log, json_t **ret_position, struct qmr_error *err)
{
	cleanup_tail struct tail tail = {0}, rotated = {0};
	int r = end_of(root_fd, log->current, &tail, err);

	if (r == 0 && !tail.size) /* it was rotated just now */
		r = end_of(root_fd, log->rotated, &rotated, err);
	if (r < 0)
		return r;
	*ret_position = position_of(tail.size ? &tail : &rotated);
	return *ret_position ? 0 : qmr_error_set(err, -ENOMEM, "reading '%s': out of memory", log->current);
}

/* The time of the mark's last line: what is all later than that was written since. */
static int is_later(const struct tail *tail, const char *mark)
{
	size_t length = strlen(mark);
	const char *line = length > 1 ? memrchr(mark, '\n', length - 1) : NULL;

	line = line ? line + 1 : mark;
	return tail->size && is_time(tail->data, tail->size) && is_time(line, strlen(line)) &&
	       memcmp(tail->data, line, TIME_BYTES) > 0;
}

static int is_position(const json_t *position)
{
	const char *mark = qmr_json_string(position, "mark");
	const json_t *offset = json_object_get(position, "offset");

	return mark && strlen(mark) <= MARK_BYTES && json_is_integer(offset) &&
	       json_integer_value(offset) >= (json_int_t)strlen(mark);
}

int qmr_package_log_read(int root_fd, const struct qmr_package_log *log, const json_t *position, qmr_package_change_fn *fn,
			 void *user, json_t **ret_position, struct qmr_error *err)
{
	cleanup_tail struct tail current = {0}, rotated = {0};
	const char *mark;
	uint64_t offset;
	int r;

	if (!is_position(position))
		return begin(root_fd, log, ret_position, err);
	mark = qmr_json_string(position, "mark");
	offset = (uint64_t)json_integer_value(json_object_get(position, "offset"));
	r = locate(root_fd, log->current, offset, mark, &current, err);
	if (r == 0 && !current.found) {
		r = locate(root_fd, log->rotated, offset, mark, &rotated, err);
		if (r == 0 && !rotated.found && !is_later(&rotated, mark))
			rotated.fresh = rotated.size;
	}
	if (r == 0)
		r = call_each(log, &rotated, fn, user, err);
	if (r == 0)
		r = call_each(log, &current, fn, user, err);
	if (r < 0)
		return r;
	/* An empty log after a rotation: the place stays in its predecessor, where the next run finds it. Where nothing could be
	 * seen, as if the logs' file system were not mounted, it stays as it was. */
	*ret_position = current.size ? position_of(&current) : rotated.found ? position_of(&rotated) : json_deep_copy(position);
	return *ret_position ? 0 : qmr_error_set(err, -ENOMEM, "reading '%s': out of memory", log->current);
}
