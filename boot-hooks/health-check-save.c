/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "health-check.h"
#include "json.h"
#include "log.h"

#define FOLDER "checks"
#define FOLDER_NEW FOLDER ".qmr-new"
#define LOG_NAME_BYTES 100

static const char *const result_names[] = {"not-run", "passed", "failed", "late"};

/* A file name may be anything; JSON is UTF-8. */
static json_t *text_or_plain(const char *text)
{
	cleanup_free char *plain = NULL;
	json_t *json = json_string(text);

	if (json)
		return json;
	plain = strdup(text);
	for (char *p = plain; p && *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	return plain ? json_string(plain) : NULL;
}

static void plain_name(const char *name, char ret_plain[LOG_NAME_BYTES])
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	snprintf(ret_plain, LOG_NAME_BYTES, "%s", name);
	for (char *p = ret_plain; *p; p++)
		if (!strchr(plain, *p))
			*p = '_';
}

/* NAME.log with what is plain of the name, so that it is no surprise for whoever lists the folder; NAME~N.log where another one has it. */
static void log_name(const struct qmr_checks *checks, size_t i, char ret_name[LOG_NAME_BYTES + 32])
{
	char name[LOG_NAME_BYTES], other[LOG_NAME_BYTES], number[24] = "";

	plain_name(checks->items[i].name, name);
	for (size_t k = 0; k < i && !number[0]; k++) {
		plain_name(checks->items[k].name, other);
		if (!strcmp(name, other))
			snprintf(number, sizeof(number), "~%zu", i + 1);
	}
	snprintf(ret_name, LOG_NAME_BYTES + 32, "%s%s.log", name, number);
}

static json_t *check_json(const struct qmr_checks *checks, size_t i)
{
	const struct qmr_check *check = &checks->items[i];
	char output[LOG_NAME_BYTES + 32];

	log_name(checks, i, output);
	return json_pack("{s:o, s:o, s:s, s:s, s:o, s:I, s:i, s:o, s:o}", "name", text_or_plain(check->name), "path",
			 text_or_plain(check->path), "kind", check->required ? "required" : "wanted", "result",
			 result_names[check->result], "exit_code", check->exit_code >= 0 ? json_integer(check->exit_code) : json_null(),
			 "milliseconds", (json_int_t)check->duration_ms, "attempts", check->attempts, "output",
			 check->attempts ? json_string(output) : json_null(), "why",
			 check->why[0] ? text_or_plain(check->why) : json_null());
}

/* Of this boot, "" where the kernel does not say. */
static void read_boot_id(char ret_id[64])
{
	cleanup_free char *text = NULL;
	size_t size;

	ret_id[0] = '\0';
	if (qmr_file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 63, &text, &size, NULL) == 0)
		snprintf(ret_id, 64, "%.*s", (int)strcspn(text, "\n"), text);
}

json_t *qmr_checks_json(const struct qmr_checks *checks, int64_t started_unix_s)
{
	json_t *list = json_array();
	int passed = 1;
	char id[64];

	for (size_t i = 0; i < checks->n; i++) {
		passed &= !qmr_check_is_failure(&checks->items[i]);
		if (json_array_append_new(list, check_json(checks, i)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	read_boot_id(id);
	return json_pack("{s:i, s:s, s:I, s:b, s:o}", "schema", 1, "boot_id", id, "started_unix_s", (json_int_t)started_unix_s, "passed",
			 passed, "checks", list);
}

static int write_log(int folder, const char *name, const struct qmr_check *check, struct qmr_error *err)
{
	cleanup_close int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return qmr_error_errno(err, -errno, "creating '" FOLDER "/%s'", name);
	r = qmr_file_write_all(fd, name, check->output, check->output_size, err);
	if (r == 0 && fsync(fd) < 0)
		r = qmr_error_errno(err, -errno, "syncing '" FOLDER "/%s'", name);
	return r;
}

static int fill(int parent, const struct qmr_checks *checks, const json_t *json, struct qmr_error *err)
{
	cleanup_close int folder = -1;

	if (mkdirat(parent, FOLDER_NEW, 0700) < 0)
		return qmr_error_errno(err, -errno, "creating '" FOLDER_NEW "'");
	folder = openat(parent, FOLDER_NEW, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (folder < 0)
		return qmr_error_errno(err, -errno, "opening '" FOLDER_NEW "'");
	for (size_t i = 0; i < checks->n; i++) {
		char name[LOG_NAME_BYTES + 32];
		int r;

		if (!checks->items[i].attempts)
			continue;
		log_name(checks, i, name);
		r = write_log(folder, name, &checks->items[i], err);
		if (r < 0)
			return r;
	}
	return qmr_json_save(folder, "last.json", json, 0600, err); /* syncs the folder too */
}

/* What was there before, if anything, is under the name of the new one then. */
static int put_in_place(int parent, struct qmr_error *err)
{
	int r = renameat2(parent, FOLDER_NEW, parent, FOLDER, RENAME_EXCHANGE);

	if (r < 0 && errno == ENOENT)
		r = renameat(parent, FOLDER_NEW, parent, FOLDER);
	if (r < 0)
		return qmr_error_errno(err, -errno, "putting '" FOLDER "' in place");
	return qmr_file_sync_dir(parent, ".", err);
}

int qmr_checks_save(const char *root, const struct qmr_checks *checks, const json_t *json, struct qmr_error *err)
{
	cleanup_close int parent = -1;
	struct qmr_error left = {0};
	char path[4096];
	int r;

	if (snprintf(path, sizeof(path), "%s/var/lib/qmr", root) >= (int)sizeof(path))
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", root);
	r = qmr_file_mkdirs(AT_FDCWD, path, 0755, err);
	if (r < 0)
		return r;
	parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", path);
	if (flock(parent, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? qmr_error_set(err, -EBUSY, "another run is saving its results in '%s'", path)
					    : qmr_error_errno(err, -errno, "locking '%s'", path);
	r = qmr_file_remove_tree(parent, FOLDER_NEW, err);
	if (r == 0)
		r = fill(parent, checks, json, err);
	if (r == 0)
		r = put_in_place(parent, err);
	/* The old one, or half a new one. */
	if (qmr_file_remove_tree(parent, FOLDER_NEW, &left) < 0)
		qmr_warning("%s; the next run takes it away", left.text);
	return r;
}
