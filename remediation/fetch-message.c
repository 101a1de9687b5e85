/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-message.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"

#define HEADER_BYTES 7
#define NAME_MAX_BYTES 2048

int qmr_fetch_files_add(struct qmr_fetch_files *files, const char *name, const char *data,
			size_t size, struct qmr_error *err)
{
	struct qmr_fetch_file *items, file = {.size = size};

	if (files->n == QMR_FETCH_FILES_MAX || size > QMR_FETCH_STREAM_MAX - files->total_bytes)
		return qmr_error_set(err, -E2BIG, "'%s': more than %d files or %u bytes", name,
				     QMR_FETCH_FILES_MAX, QMR_FETCH_STREAM_MAX);
	items = reallocarray(files->items, files->n + 1, sizeof(*items));
	if (items)
		files->items = items;
	file.name = strdup(name);
	file.data = malloc(size + 1);
	if (!items || !file.name || !file.data) {
		free(file.name);
		free(file.data);
		return qmr_error_set(err, -ENOMEM, "'%s': out of memory", name);
	}
	memcpy(file.data, data, size);
	file.data[size] = '\0';
	files->items[files->n++] = file;
	files->total_bytes += size;
	return 0;
}

void qmr_fetch_files_done(struct qmr_fetch_files *files)
{
	for (size_t i = 0; i < files->n; i++) {
		free(files->items[i].name);
		free(files->items[i].data);
	}
	free(files->items);
	memset(files, 0, sizeof(*files));
}

int qmr_fetch_files_fetch(void *user, const char *name, size_t max_bytes, char **ret_data,
			  size_t *ret_size, struct qmr_error *err)
{
	const struct qmr_fetch_files *files = user;

	for (size_t i = 0; i < files->n; i++) {
		const struct qmr_fetch_file *file = &files->items[i];
		char *copy;

		if (strcmp(file->name, name))
			continue;
		if (file->size > max_bytes)
			return qmr_error_set(err, -EFBIG, "'%s' has more than %zu bytes", name,
					     max_bytes);
		copy = malloc(file->size + 1);
		if (!copy)
			return qmr_error_set(err, -ENOMEM, "'%s': out of memory", name);
		memcpy(copy, file->data, file->size + 1);
		*ret_data = copy;
		*ret_size = file->size;
		return 0;
	}
	return qmr_error_set(err, -ENOENT, "there is no '%s'", name);
}

static const struct {
	const char *name;
	int code; /* what the parent makes of it */
} results[] = {
	{"ok", 0},
	{"refused", -EBADMSG},
	{"network", -ETIMEDOUT},
	{"busy", -EBUSY},
	{"failed", -EIO},
};

const char *qmr_fetch_result_name(int code)
{
	switch (code) {
	case 0:
		return "ok";
	case -EBADMSG:
	case -EKEYREJECTED:
		return "refused";
	case -ETIMEDOUT:
		return "network";
	case -EBUSY:
		return "busy";
	default:
		return "failed";
	}
}

static int send_message(int fd, char type, const char *name, const char *data, size_t size,
			struct qmr_error *err)
{
	size_t name_size = strlen(name);
	unsigned char header[HEADER_BYTES] = {
		(unsigned char)type,
		(unsigned char)name_size,
		(unsigned char)(name_size >> 8),
		(unsigned char)size,
		(unsigned char)(size >> 8),
		(unsigned char)(size >> 16),
		(unsigned char)(size >> 24),
	};
	int r;

	if (name_size > NAME_MAX_BYTES || size > QMR_FETCH_STREAM_MAX)
		return qmr_error_set(err, -E2BIG, "passing on '%s': it is too large", name);
	r = qmr_file_write_all(fd, "pipe", header, sizeof(header), err);
	if (r == 0)
		r = qmr_file_write_all(fd, "pipe", name, name_size, err);
	return r < 0 ? r : qmr_file_write_all(fd, "pipe", data, size, err);
}

int qmr_fetch_send_file(int fd, const char *name, const char *data, size_t size,
			struct qmr_error *err)
{
	return send_message(fd, 'F', name, data, size, err);
}

int qmr_fetch_send_result(int fd, int code, const char *text, struct qmr_error *err)
{
	return send_message(fd, 'R', qmr_fetch_result_name(code), text, strlen(text), err);
}

static int refuse(struct qmr_error *err, const char *why)
{
	return qmr_error_set(err, -EPROTO,
			     "what the downloading process said cannot be understood: %s", why);
}

static int take_result(const char *name, const char *text, size_t size,
		       struct qmr_error *ret_result, struct qmr_error *err)
{
	for (size_t i = 0; i < sizeof(results) / sizeof(*results); i++)
		if (!strcmp(results[i].name, name)) {
			/* qmr_error_set() takes the control characters out. */
			(void)qmr_error_set(ret_result, results[i].code, "%.*s",
					    size < 500 ? (int)size : 500, text);
			return 0;
		}
	return refuse(err, "an unknown result");
}

static int parse_messages(const unsigned char *p, size_t left, struct qmr_fetch_files *files,
			  struct qmr_error *ret_result, struct qmr_error *err)
{
	while (left >= HEADER_BYTES) {
		size_t name_size = p[1] | (size_t)p[2] << 8;
		size_t size = p[3] | (size_t)p[4] << 8 | (size_t)p[5] << 16 | (size_t)p[6] << 24;
		char name[NAME_MAX_BYTES + 1];
		char type = (char)p[0];
		const char *data;
		int r;

		p += HEADER_BYTES;
		left -= HEADER_BYTES;
		if (name_size == 0 || name_size > NAME_MAX_BYTES || name_size > left ||
		    size > left - name_size)
			return refuse(err, "a size that cannot be");
		if (memchr(p, '\0', name_size))
			return refuse(err, "a name with a NUL byte");
		memcpy(name, p, name_size);
		name[name_size] = '\0';
		data = (const char *)p + name_size;
		p += name_size + size;
		left -= name_size + size;
		if (type == 'R')
			return left == 0 ? take_result(name, data, size, ret_result, err)
					 : refuse(err, "more after the result");
		if (type != 'F')
			return refuse(err, "an unknown message");
		r = qmr_fetch_files_add(files, name, data, size, err);
		if (r < 0)
			return r == -E2BIG ? refuse(err, "too many files") : r;
	}
	return refuse(err, "it ends before its result");
}

int qmr_fetch_stream_parse(const char *data, size_t size, struct qmr_fetch_files *ret_files,
			   struct qmr_error *ret_result, struct qmr_error *err)
{
	struct qmr_fetch_files files = {0};
	struct qmr_error result = {0};
	int r = parse_messages((const unsigned char *)data, size, &files, &result, err);

	if (r < 0) {
		qmr_fetch_files_done(&files);
		return r;
	}
	*ret_files = files;
	*ret_result = result;
	return 0;
}
