/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evidence.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "notes.h"

#define ENTRIES_MAX 20000 /* names looked at in one source */
#define JOINED_NAME "dmesg.txt" /* systemd-pstore's, src/pstore/pstore.c */

struct reading {
	const struct qmr_evidence_places *places;
	struct qmr_records *records;
	json_t *notes;
	unsigned int entries;
	unsigned int empty, old;
	int full;
};

struct source {
	const char *name;  /* in notes */
	int (*open)(const struct qmr_evidence_places *places, struct qmr_error *err);
	int depth;         /* folders below */
	int is_copy;       /* not pstore itself: may be of other incidents */
};

static int open_pstore(const struct qmr_evidence_places *places, struct qmr_error *err)
{
	int fd = places->pstore_fd < 0 ? -1 : openat(places->pstore_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? qmr_error_set(err, -ENOENT, "it cannot be opened") : fd;
}

static int open_systemd(const struct qmr_evidence_places *places, struct qmr_error *err)
{
	if (places->root_fd < 0)
		return -ENOENT;
	return qmr_file_open_in_root(places->root_fd, "/var/lib/systemd/pstore", O_RDONLY | O_DIRECTORY, 0, err);
}

static int open_saved(const struct qmr_evidence_places *places, struct qmr_error *err)
{
	char path[128];

	if (places->root_fd < 0 || !places->incident)
		return -ENOENT;
	snprintf(path, sizeof(path), "/var/lib/qmr/incidents/%.36s/records", places->incident);
	return qmr_file_open_in_root(places->root_fd, path, O_RDONLY | O_DIRECTORY, 0, err);
}

/*
 * pstore first: where a copy has the same bytes, its times are the better ones. Not /var/lib/qmr/pstore: what boot-guard archived there was
 * over when a boot was healthy, and must not name a culprit again.
 */
static const struct source sources[] = {
	{"pstore", open_pstore, 0, 0},
	{"/var/lib/systemd/pstore", open_systemd, 3, 1},
	{"records of an earlier run", open_saved, 0, 0},
};

int qmr_evidence_read_record(int folder_fd, const char *name, struct qmr_record *ret_record, struct qmr_error *err)
{
	cleanup_close int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	cleanup_free char *data = NULL;
	size_t size;
	struct stat st;
	int r;

	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening record '%s'", name);
	if (fstat(fd, &st) < 0)
		return qmr_error_errno(err, -errno, "examining record '%s'", name);
	r = qmr_file_read_fd(fd, name, QMR_RECORD_BYTES_MAX, &data, &size, err);
	if (r < 0)
		return r;
	return qmr_record_make(name, data, size, st.st_mtime > 0 ? (uint64_t)st.st_mtime : 0, ret_record, err);
}

static void add_record(struct reading *reading, const struct source *source, struct qmr_record *record)
{
	struct qmr_error err = {0};

	if (source->is_copy && record->time_unix_s && record->time_unix_s < reading->places->oldest_unix_s) {
		reading->old++;
		qmr_record_done(record);
		return;
	}
	if (!record->size)
		reading->empty++;
	if (qmr_records_add(reading->records, record, &err) < 0) {
		qmr_note(reading->notes, "%s: %s; the other records are left out", source->name, err.text);
		reading->full = 1;
	}
}

static int has_records(int fd)
{
	cleanup_closedir DIR *dir = qmr_file_open_dir(fd, ".");
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		struct stat st;

		if (!strncmp(entry->d_name, "dmesg-", 6) &&
		    fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0)
			return 1;
	}
	return 0;
}

/* systemd-pstore puts "dmesg-...:" and the kernel's header before each part of the text that it joins. */
static void drop_headers(struct qmr_record *record)
{
	char *to = record->data, *end = record->data + record->size;

	for (char *line = record->data, *next; line < end; line = next) {
		char *newline = memchr(line, '\n', (size_t)(end - line));
		unsigned int part;

		next = newline ? newline + 1 : end;
		if (!strncmp(line, "dmesg-", 6) && newline && newline[-1] == ':')
			continue;
		if (qmr_record_header(line, (size_t)(next - line), record->reason, &record->count, &part))
			continue;
		memmove(to, line, (size_t)(next - line));
		to += next - line;
	}
	record->size = (size_t)(to - record->data);
	record->data[record->size] = '\0';
}

/* The joined text is of use only where the records it was made from are gone. */
static void read_joined(struct reading *reading, const struct source *source, int fd)
{
	struct qmr_record record = {.is_dump = 1, .joined = 1, .part = 1, .source = "systemd"};
	struct qmr_error err = {0};
	struct stat st;

	if (has_records(fd))
		return;
	if (fstatat(fd, JOINED_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtime > 0)
		record.time_unix_s = (uint64_t)st.st_mtime;
	if (qmr_file_read(fd, JOINED_NAME, QMR_RECORD_BYTES_MAX, &record.data, &record.size, &err) < 0) {
		qmr_note(reading->notes, "%s: %s", source->name, err.text);
		return;
	}
	snprintf(record.name, sizeof(record.name), "dmesg-systemd-%llu", (unsigned long long)record.time_unix_s);
	drop_headers(&record);
	add_record(reading, source, &record);
}

static void read_folder(struct reading *reading, const struct source *source, int fd, int depth);

static void read_entry(struct reading *reading, const struct source *source, int fd, const char *name, int depth)
{
	struct qmr_record record = {0};
	struct qmr_error err = {0};
	struct stat st;
	int r;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (S_ISDIR(st.st_mode) && depth > 0) {
		read_folder(reading, source, openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), depth - 1);
		return;
	}
	if (source->is_copy && !strcmp(name, JOINED_NAME)) {
		read_joined(reading, source, fd);
		return;
	}
	r = qmr_evidence_read_record(fd, name, &record, &err);
	if (r < 0 && r != -EINVAL) /* other files are not ours to judge */
		qmr_note(reading->notes, "%s: %s", source->name, err.text);
	if (r == 0 || r == -EBADMSG)
		add_record(reading, source, &record);
}

/* Takes over fd; below 0: nothing is read. */
static void read_folder(struct reading *reading, const struct source *source, int fd, int depth)
{
	cleanup_closedir DIR *dir = qmr_file_take_dir(fd);
	struct dirent *entry;

	while (dir && !reading->full && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (++reading->entries > ENTRIES_MAX) {
			qmr_note(reading->notes, "%s: more than %d entries; the rest was not read", source->name,
				 ENTRIES_MAX);
			reading->full = 1;
			return;
		}
		read_entry(reading, source, dirfd(dir), entry->d_name, depth);
	}
}

int qmr_evidence_read(const struct qmr_evidence_places *places, struct qmr_records *records, json_t *notes,
		      struct qmr_error *err)
{
	for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
		const struct source *source = &sources[i];
		struct reading reading = {.places = places, .records = records, .notes = notes};
		struct qmr_error why = {0};
		int fd = source->open(places, &why);

		if (fd < 0) {
			if (fd == -ENOMEM)
				return qmr_error_set(err, fd, "%s", why.text);
			if (fd != -ENOENT && fd != -ENOTDIR)
				qmr_note(notes, "%s: %s", source->name, why.text);
			continue;
		}
		read_folder(&reading, source, fd, source->depth);
		if (reading.empty)
			qmr_note(notes, "%s: %u records are empty", source->name, reading.empty);
		if (reading.old)
			qmr_note(notes, "%s: %u records are older than this incident and were left out",
				 source->name, reading.old);
	}
	return 0;
}
