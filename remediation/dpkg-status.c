/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dpkg-status.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"

#define FOLDER "/var/lib/dpkg"
#define STATUS_BYTES_MAX (64u << 20)
#define UPDATE_BYTES_MAX (1u << 20)
#define UPDATES_MAX 1000
#define INSTANCES_MAX 16

static int is_word(const char *text, size_t size, const char *word)
{
	return size == strlen(word) && !memcmp(text, word, size);
}

/* "want flag state"; only the third word says what is on the disk. */
static int parse_status(const char *value, size_t size, struct qmr_dpkg_entry *entry)
{
	static const struct {
		const char *name;
		int is_there, is_unknown;
	} states[] = {
		{"not-installed", 0, 0},   {"config-files", 0, 0},     {"half-installed", 0, 1},    {"unpacked", 1, 0},
		{"half-configured", 1, 0}, {"triggers-awaited", 1, 0}, {"triggers-pending", 1, 0}, {"installed", 1, 0},
	};
	const char *last = memrchr(value, ' ', size);

	if (!last)
		return -EBADMSG;
	last++;
	for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++)
		if (is_word(last, size - (size_t)(last - value), states[i].name)) {
			entry->is_there = states[i].is_there;
			entry->is_unknown = states[i].is_unknown;
			return 0;
		}
	return -EBADMSG;
}

/* One line; 1 if it was the status. */
static int parse_line(const char *line, size_t length, struct qmr_dpkg_entry *entry)
{
	const char *colon = memchr(line, ':', length), *value;
	size_t name, size;

	if (!colon || colon == line)
		return -EBADMSG;
	name = (size_t)(colon - line);
	value = colon + 1;
	size = length - name - 1;
	while (size && (*value == ' ' || *value == '\t')) {
		value++;
		size--;
	}
	while (size && isspace((unsigned char)value[size - 1]))
		size--;
	if (is_word(line, name, "Status"))
		return parse_status(value, size, entry) < 0 ? -EBADMSG : 1;
	if (is_word(line, name, "Package")) {
		entry->package = value;
		entry->package_size = size;
	} else if (is_word(line, name, "Version")) {
		entry->version = value;
		entry->version_size = size;
	} else if (is_word(line, name, "Architecture")) {
		entry->architecture = value;
		entry->architecture_size = size;
	}
	return 0;
}

int qmr_dpkg_next(const char **text, size_t *size, struct qmr_dpkg_entry *ret_entry, struct qmr_error *err)
{
	struct qmr_dpkg_entry entry = {0};
	int lines = 0, has_status = 0, r = 0;

	while (*size && r >= 0) {
		const char *end = memchr(*text, '\n', *size);
		size_t length = end ? (size_t)(end - *text) : *size;
		const char *line = *text;

		*text += length + (end != NULL);
		*size -= length + (end != NULL);
		if (length == 0 && lines)
			break;
		if (length == 0)
			continue;
		if ((*line == ' ' || *line == '\t') && lines)
			continue; /* goes on with a field of no interest */
		lines++;
		r = parse_line(line, length, &entry);
		has_status |= r == 1;
	}
	if (r >= 0 && !lines)
		return 0;
	if (r < 0 || !has_status || !entry.package_size)
		return qmr_error_set(err, -EBADMSG, "dpkg's database: a stanza is damaged");
	*ret_entry = entry;
	return 1;
}

/* The instances of one package; entries point into texts. */
struct search {
	const char *package;
	struct qmr_dpkg_entry entries[INSTANCES_MAX];
	size_t n;
	char *texts[UPDATES_MAX + 1]; /* owned */
	size_t n_texts;
};

static int is_same_instance(const struct qmr_dpkg_entry *a, const struct qmr_dpkg_entry *b)
{
	return a->architecture_size == b->architecture_size &&
	       (!a->architecture_size || !memcmp(a->architecture, b->architecture, a->architecture_size));
}

static int note(struct search *search, const struct qmr_dpkg_entry *entry, struct qmr_error *err)
{
	for (size_t i = 0; i < search->n; i++)
		if (is_same_instance(&search->entries[i], entry)) {
			search->entries[i] = *entry;
			return 0;
		}
	if (search->n == INSTANCES_MAX)
		return qmr_error_set(err, -EBADMSG, "dpkg's database: '%s' is there too often", search->package);
	search->entries[search->n++] = *entry;
	return 0;
}

static int read_text(struct search *search, int fd, const char *name, size_t max, struct qmr_error *err)
{
	struct qmr_dpkg_entry entry;
	char *data = NULL;
	const char *rest;
	size_t size;
	int r = qmr_file_read_fd(fd, name, max, &data, &size, err);

	if (r < 0)
		return r;
	search->texts[search->n_texts++] = data;
	rest = data;
	while ((r = qmr_dpkg_next(&rest, &size, &entry, err)) > 0)
		if (is_word(entry.package, entry.package_size, search->package) && (r = note(search, &entry, err)) < 0)
			break;
	return r;
}

static int is_update(const struct dirent *entry)
{
	return entry->d_name[0] && strspn(entry->d_name, "0123456789") == strlen(entry->d_name);
}

static int read_updates(struct search *search, int root_fd, struct qmr_error *err)
{
	cleanup_close int dir = qmr_file_open_in_root(root_fd, FOLDER "/updates", O_RDONLY | O_DIRECTORY, 0, err);
	struct dirent **names = NULL;
	int n, r = 0;

	if (dir == -ENOENT)
		return 0;
	if (dir < 0)
		return dir;
	n = scandirat(dir, ".", &names, is_update, alphasort);
	if (n < 0)
		return qmr_error_errno(err, -errno, "reading '" FOLDER "/updates'");
	if (n > UPDATES_MAX)
		r = qmr_error_set(err, -EFBIG, "'" FOLDER "/updates' holds %d files", n);
	for (int i = 0; i < n; i++) {
		cleanup_close int fd =
			r < 0 ? -1 : openat(dir, names[i]->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);

		if (r == 0 && fd < 0)
			r = qmr_error_errno(err, -errno, "opening '" FOLDER "/updates/%s'", names[i]->d_name);
		if (r == 0)
			r = read_text(search, fd, names[i]->d_name, UPDATE_BYTES_MAX, err);
		free(names[i]);
	}
	free(names);
	return r;
}

int qmr_dpkg_find(int root_fd, const char *package, qmr_dpkg_fn *fn, void *user, struct qmr_error *err)
{
	cleanup_close int fd = qmr_file_open_in_root(root_fd, FOLDER "/status", O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, err);
	cleanup_free struct search *search = calloc(1, sizeof(*search));
	int r;

	if (fd < 0)
		return fd;
	if (!search)
		return qmr_error_set(err, -ENOMEM, "reading dpkg's database: out of memory");
	search->package = package;
	r = read_text(search, fd, FOLDER "/status", STATUS_BYTES_MAX, err);
	if (r == 0)
		r = read_updates(search, root_fd, err);
	for (size_t i = 0; r == 0 && i < search->n; i++)
		r = fn(user, &search->entries[i], err);
	for (size_t i = 0; i < search->n_texts; i++)
		free(search->texts[i]);
	return r;
}
