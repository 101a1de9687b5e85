/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "file.h"
#include "hash.h"
#include "json.h"
#include "restore-point-take.h"
#include "restore-point.h"
#include "transaction.h"

/* What is collected while the restore points are gone through. */
struct report {
	json_t *points; /* owned */
	FILE *text;     /* NULL with --json */
	int root_fd, points_fd;
};

typedef int report_fn(struct report *report, const struct qmr_restore_point *point,
		      struct qmr_error *err);

static json_t *describe(const struct qmr_restore_point *point, uint64_t bytes)
{
	return json_pack("{s:I, s:I, s:s, s:I, s:I}", "id", (json_int_t)point->id, "taken_unix_s",
			 (json_int_t)point->taken_unix_s, "kernel", point->kernel, "files",
			 (json_int_t)point->n_files, "bytes", (json_int_t)bytes);
}

static int list_one(struct report *report, const struct qmr_restore_point *point,
		    struct qmr_error *err)
{
	time_t taken = (time_t)point->taken_unix_s;
	uint64_t bytes = 0;
	char when[32] = "?";
	struct tm tm;

	for (size_t i = 0; i < point->n_files; i++)
		bytes += point->files[i].size;
	if (gmtime_r(&taken, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
	if (report->text)
		fprintf(report->text, "%llu  %s  %s  %zu files  %llu bytes\n",
			(unsigned long long)point->id, when, point->kernel, point->n_files,
			(unsigned long long)bytes);
	if (json_array_append_new(report->points, describe(point, bytes)) < 0)
		return qmr_error_set(err, -ENOMEM, "out of memory");
	return 1;
}

static int is_intact(const struct report *report, uint64_t id, const struct qmr_saved_file *file,
		     struct qmr_error *why)
{
	char path[4200], sha256[65];
	cleanup_close int fd = -1;

	if (file->target)
		return 1;
	if (snprintf(path, sizeof(path), QMR_RESTORE_POINTS "/%llu/files%s", (unsigned long long)id,
		     file->path) >= (int)sizeof(path)) {
		(void)qmr_error_set(why, -ENAMETOOLONG,
				    "the path is too long"); /* it is told to the caller below */
		return 0;
	}
	fd = qmr_file_open_in_root(report->root_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0,
				   why);
	if (fd < 0 || qmr_sha256_fd(fd, path, sha256, NULL, why) < 0)
		return 0;
	if (!strcmp(sha256, file->sha256))
		return 1;
	(void)qmr_error_set(why, -EBADMSG, "the copy does not have the hash that was noted");
	return 0;
}

static int verify_one(struct report *report, const struct qmr_restore_point *point,
		      struct qmr_error *err)
{
	int faults = 0;

	for (size_t i = 0; i < point->n_files; i++) {
		struct qmr_error why = {0};

		if (is_intact(report, point->id, &point->files[i], &why))
			continue;
		faults++;
		if (report->text)
			fprintf(report->text, "%llu: '%s': %s\n", (unsigned long long)point->id,
				point->files[i].path, why.text);
		if (json_array_append_new(report->points,
					  json_pack("{s:I, s:s, s:s}", "id", (json_int_t)point->id,
						    "path", point->files[i].path, "why",
						    why.text)) < 0)
			return qmr_error_set(err, -ENOMEM, "out of memory");
	}
	return faults;
}

/* A folder that has a manifest which cannot be read is a fault; one without is merely unfinished.
 */
static int note_unreadable(struct report *report, uint64_t id, const struct qmr_error *why,
			   struct qmr_error *err)
{
	if (report->text)
		fprintf(report->text, "%llu: %s\n", (unsigned long long)id, why->text);
	if (json_array_append_new(report->points, json_pack("{s:I, s:s}", "id", (json_int_t)id,
							    "why", why->text)) < 0)
		return qmr_error_set(err, -ENOMEM, "out of memory");
	return 1;
}

static int for_each(struct report *report, report_fn *fn, int unreadable, struct qmr_error *err)
{
	cleanup_free uint64_t *ids = NULL;
	int n = qmr_numbered_list(report->points_fd, &ids, err), sum = 0;

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		struct qmr_restore_point point;
		struct qmr_error why = {0};
		int r = qmr_restore_point_load(report->root_fd, ids[i], &point, &why);

		if (r == 0) {
			r = fn(report, &point, err);
			qmr_restore_point_done(&point);
		} else {
			r = r == -ENOENT || !unreadable
				    ? 0
				    : note_unreadable(report, ids[i], &why, err);
		}
		if (r < 0)
			return r;
		sum += r;
	}
	return sum;
}

static int run(int root_fd, int json, FILE *out, report_fn *fn, const char *key, int unreadable,
	       struct qmr_error *err)
{
	cleanup_close int points_fd = qmr_restore_points_open(root_fd, 0, err);
	struct report report = {json_array(), json ? NULL : out, root_fd, points_fd};
	int r = points_fd;

	if (!report.points)
		return qmr_error_set(err, -ENOMEM, "out of memory");
	if (r == -ENOENT)
		r = 0;
	else if (r >= 0)
		r = for_each(&report, fn, unreadable, err);
	if (r >= 0 && json) {
		cleanup_json json_t *object =
			json_pack("{s:i, s:O}", "schema", 1, key, report.points);

		if (!object || json_dumpf(object, out, JSON_INDENT(2)) < 0 ||
		    fputc('\n', out) == EOF)
			r = qmr_error_set(err, -EIO, "printing the result");
	}
	json_decref(report.points);
	if (r >= 0 && fflush(out) < 0)
		r = qmr_error_errno(err, -errno, "printing the result");
	return r;
}

int qmr_restore_point_list(int root_fd, int json, FILE *out, struct qmr_error *err)
{
	return run(root_fd, json, out, list_one, "restore_points", 0, err);
}

int qmr_restore_point_verify(int root_fd, int json, FILE *out, struct qmr_error *err)
{
	return run(root_fd, json, out, verify_one, "faults", 1, err);
}
