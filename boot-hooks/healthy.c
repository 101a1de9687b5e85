/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "healthy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "uuid.h"

#define RECORDS_MAX 4096

static int copy_record(int from, int to, const char *name, struct qmr_error *err)
{
	cleanup_close int in = openat(from, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	cleanup_close int out = -1;
	struct timespec times[2];
	struct stat st;
	int r;

	if (in < 0 || fstat(in, &st) < 0)
		return qmr_error_errno(err, -errno, "reading crash record '%s'", name);
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (out < 0)
		return qmr_error_errno(err, -errno, "archiving crash record '%s'", name);
	r = qmr_file_copy_fd(in, out, QMR_ARCHIVE_RECORD_BYTES, name, err);
	if (r < 0)
		return r;
	times[0] = times[1] = st.st_mtim; /* when it crashed */
	(void)futimens(out, times);	  /* the name of an EFI record says it too */
	return fsync(out) < 0 ? qmr_error_errno(err, -errno, "archiving crash record '%s'", name) : 0;
}

static int only_records(const struct dirent *entry)
{
	return entry->d_type == DT_REG || (entry->d_type == DT_UNKNOWN && entry->d_name[0] != '.');
}

static int only_numbers(const struct dirent *entry)
{
	return entry->d_name[strspn(entry->d_name, "0123456789")] == '\0';
}

static void free_names(struct dirent **names, int n)
{
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

/* Folders are named by a time of ten digits, so the order of names is that of age. */
static int64_t newest(const char *archive)
{
	cleanup_close int fd = open(archive, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent **names = NULL;
	int n = fd < 0 ? 0 : scandirat(fd, ".", &names, only_numbers, alphasort);
	int64_t time = n > 0 ? strtoll(names[n - 1]->d_name, NULL, 10) : 0;

	free_names(names, n < 0 ? 0 : n);
	return time;
}

static void remove_oldest(int archive_fd)
{
	struct dirent **names = NULL;
	int n = scandirat(archive_fd, ".", &names, only_numbers, alphasort);
	struct qmr_error err = {0};

	for (int i = 0; i < n - QMR_ARCHIVE_KEEP; i++)
		if (qmr_file_remove_tree(archive_fd, names[i]->d_name, &err) < 0)
			qmr_warning("%s; old crash records stay", err.text);
	free_names(names, n < 0 ? 0 : n);
}

static int move_records(int pstore_fd, struct dirent **names, int n, const char *folder, struct qmr_error *err)
{
	cleanup_close int to = -1;
	int r = qmr_file_mkdirs(AT_FDCWD, folder, 0700, err);
	int copied = 0, moved = 0;

	if (r < 0)
		return r;
	to = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (to < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", folder);
	while (copied < n && (r = copy_record(pstore_fd, to, names[copied]->d_name, err)) >= 0)
		copied++;
	if (r < 0)
		(void)unlinkat(to, names[copied]->d_name, 0); /* half a copy, if there is one at all */
	if (fsync(to) < 0 || qmr_file_sync_dir(to, "..", err) < 0)
		return qmr_error_errno(err, -EIO, "syncing '%s'", folder);
	for (int i = 0; i < copied; i++)
		if (unlinkat(pstore_fd, names[i]->d_name, 0) == 0)
			moved++;
	return r < 0 ? r : moved;
}

int qmr_archive_records(const char *pstore, const char *archive, int64_t now_unix_s, struct qmr_error *err)
{
	cleanup_close int pstore_fd = open(pstore, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int archive_fd = -1;
	struct dirent **names = NULL;
	char folder[512];
	int64_t last;
	int n, r;

	if (pstore_fd < 0)
		return errno == ENOENT ? 0 : qmr_error_errno(err, -errno, "opening '%s'", pstore);
	n = scandirat(pstore_fd, ".", &names, only_records, alphasort);
	if (n <= 0)
		return n < 0 ? qmr_error_errno(err, -errno, "reading '%s'", pstore) : 0;
	/* A clock without a battery must not make the new folder the oldest, which is removed. */
	last = newest(archive);
	if (now_unix_s <= last)
		now_unix_s = last + 1;
	snprintf(folder, sizeof(folder), "%s/%010" PRId64, archive, now_unix_s);
	r = move_records(pstore_fd, names, n > RECORDS_MAX ? RECORDS_MAX : n, folder, err);
	free_names(names, n);
	archive_fd = open(archive, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (archive_fd >= 0)
		remove_oldest(archive_fd);
	return r;
}

/* A word of the boot state for JSON: a damaged one is left out. */
static const char *plain(const char *text)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	return text[strspn(text, allowed)] ? "" : text;
}

int qmr_report_write(const char *incidents, const struct qmr_state *state, const char *final, int64_t now_unix_s,
		     struct qmr_error *err)
{
	char folder[512], path[600], id[QMR_UUID_TEXT], text[512];
	int r;

	qmr_uuid_format(state->incident, id);
	snprintf(folder, sizeof(folder), "%s/%s", incidents, id);
	snprintf(path, sizeof(path), "%s/report.json", folder);
	r = qmr_file_mkdirs(AT_FDCWD, folder, 0700, err);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text),
		 "{\n  \"schema\": 1,\n  \"incident\": \"%s\",\n  \"final\": \"%s\",\n  \"remediation\": %s%s%s,\n"
		 "  \"failed_boots\": %d,\n  \"recovery_runs\": %d,\n  \"healthy_unix_s\": %" PRId64 "\n}\n",
		 id, final, state->remediation[0] ? "\"" : "", state->remediation[0] ? plain(state->remediation) : "null",
		 state->remediation[0] ? "\"" : "", state->failed_boots, state->recovery_runs, now_unix_s);
	return qmr_file_replace(AT_FDCWD, path, text, strlen(text), 0600, err);
}
