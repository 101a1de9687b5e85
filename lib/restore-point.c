/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "restore-point.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "form.h"
#include "json.h"

#define MANIFEST_BYTES_MAX (64u << 20)
#define FILES_MAX 100000
#define PATH_BYTES_MAX 4095
#define IDS_MAX 4096

static int bad(struct qmr_error *err, size_t index, const char *what)
{
	return qmr_error_set(err, -EBADMSG, "manifest.json: files[%zu].%s", index, what);
}

/* A path leads into the copies' folder and later into the root: nothing but plain components. */
static int path_is_clean(const char *path)
{
	size_t length;

	if (!path || path[0] != '/' || strlen(path) > PATH_BYTES_MAX)
		return 0;
	for (const char *p = path; *p; p += length) {
		p++;
		length = strcspn(p, "/");
		if (length == 0 || length > 255 || (length == 1 && p[0] == '.') ||
		    (length == 2 && p[0] == '.' && p[1] == '.'))
			return 0;
	}
	return 1;
}

static int parse_owner(const json_t *entry, size_t index, struct qmr_saved_file *file,
		       struct qmr_error *err)
{
	json_int_t uid, gid;

	if (qmr_json_get_integer(entry, "uid", 0, UINT32_MAX - 1, &uid) < 0)
		return bad(err, index, "uid: not a user id");
	if (qmr_json_get_integer(entry, "gid", 0, UINT32_MAX - 1, &gid) < 0)
		return bad(err, index, "gid: not a group id");
	file->uid = (uint32_t)uid;
	file->gid = (uint32_t)gid;
	return 0;
}

static int parse_regular(const json_t *entry, size_t index, struct qmr_saved_file *file,
			 struct qmr_error *err)
{
	const char *sha256 = qmr_json_string(entry, "sha256");
	json_int_t mode, size, mtime;

	if (!sha256 || !qmr_form_is_sha256(sha256))
		return bad(err, index, "sha256: not 64 lower-case hexadecimal digits");
	if (qmr_json_get_integer(entry, "mode", 0, 07777, &mode) < 0)
		return bad(err, index, "mode: not permission bits");
	if (qmr_json_get_integer(entry, "size", 0, INT64_MAX, &size) < 0)
		return bad(err, index, "size: not a size");
	if (qmr_json_get_integer(entry, "mtime_ns", INT64_MIN, INT64_MAX, &mtime) < 0)
		return bad(err, index, "mtime_ns: not a time");
	strcpy(file->sha256, sha256);
	file->mode = (uint32_t)mode;
	file->size = (uint64_t)size;
	file->mtime_ns = mtime;
	return 0;
}

static int parse_file(const json_t *entry, size_t index, struct qmr_saved_file *file,
		      struct qmr_error *err)
{
	const char *path = qmr_json_string(entry, "path"), *type = qmr_json_string(entry, "type");
	const char *target = qmr_json_string(entry, "target");
	int r;

	if (!path_is_clean(path))
		return bad(err, index,
			   "path: not an absolute path without '.', '..' or empty components");
	file->path = strdup(path);
	if (!file->path)
		return qmr_error_set(err, -ENOMEM, "reading manifest.json: out of memory");
	r = parse_owner(entry, index, file, err);
	if (r < 0)
		return r;
	if (type && !strcmp(type, "file"))
		return parse_regular(entry, index, file, err);
	if (!type || strcmp(type, "symlink"))
		return bad(err, index, "type: neither 'file' nor 'symlink'");
	if (!target || !*target || strlen(target) > PATH_BYTES_MAX)
		return bad(err, index, "target: missing or too long");
	file->target = strdup(target);
	return file->target ? 0
			    : qmr_error_set(err, -ENOMEM, "reading manifest.json: out of memory");
}

static int compare_files(const void *a, const void *b)
{
	return strcmp(((const struct qmr_saved_file *)a)->path,
		      ((const struct qmr_saved_file *)b)->path);
}

static int parse_files(const json_t *files, struct qmr_restore_point *point, struct qmr_error *err)
{
	size_t n = json_array_size(files);

	if (!json_is_array(files) || n > FILES_MAX)
		return qmr_error_set(err, -EBADMSG,
				     "manifest.json: files: not a list of at most %d", FILES_MAX);
	point->files = calloc(n ? n : 1, sizeof(*point->files));
	if (!point->files)
		return qmr_error_set(err, -ENOMEM, "reading manifest.json: out of memory");
	for (size_t i = 0; i < n; i++) {
		int r;

		point->n_files = i + 1;
		r = parse_file(json_array_get(files, i), i, &point->files[i], err);
		if (r < 0)
			return r;
	}
	qsort(point->files, n, sizeof(*point->files), compare_files);
	for (size_t i = 1; i < n; i++)
		if (!compare_files(&point->files[i - 1], &point->files[i]))
			return qmr_error_set(err, -EBADMSG,
					     "manifest.json: files: '%s' is listed twice",
					     point->files[i].path);
	return 0;
}

static int parse_manifest(const json_t *manifest, uint64_t id, struct qmr_restore_point *point,
			  struct qmr_error *err)
{
	const char *kernel = qmr_json_string(manifest, "kernel");
	json_int_t number;

	if (qmr_json_get_integer(manifest, "schema", 1, 1, &number) < 0)
		return qmr_error_set(err, -EBADMSG, "manifest.json: schema: not 1");
	if (qmr_json_get_integer(manifest, "id", 1, INT64_MAX, &number) < 0 || (uint64_t)number != id)
		return qmr_error_set(err, -EBADMSG, "manifest.json: id: not that of the folder");
	if (qmr_json_get_integer(manifest, "taken_unix_s", INT64_MIN, INT64_MAX, &number) < 0)
		return qmr_error_set(err, -EBADMSG, "manifest.json: taken_unix_s: not a time");
	point->id = id;
	point->taken_unix_s = number;
	snprintf(point->kernel, sizeof(point->kernel), "%s", kernel ? kernel : "");
	point->skipped = json_incref(json_object_get(manifest, "skipped"));
	return parse_files(json_object_get(manifest, "files"), point, err);
}

void qmr_restore_point_done(struct qmr_restore_point *point)
{
	for (size_t i = 0; i < point->n_files; i++) {
		free(point->files[i].path);
		free(point->files[i].target);
	}
	free(point->files);
	json_decref(point->skipped);
	memset(point, 0, sizeof(*point));
}

int qmr_restore_point_load(int root_fd, uint64_t id, struct qmr_restore_point *ret_point,
			   struct qmr_error *err)
{
	struct qmr_restore_point point = {0};
	cleanup_json json_t *manifest = NULL;
	cleanup_close int fd = -1;
	char path[128];
	int r;

	snprintf(path, sizeof(path), QMR_RESTORE_POINTS "/%llu", (unsigned long long)id);
	fd = qmr_file_open_in_root(root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
	if (fd < 0)
		return fd;
	r = qmr_json_load(fd, "manifest.json", MANIFEST_BYTES_MAX, &manifest, err);
	if (r < 0)
		return r;
	r = parse_manifest(manifest, id, &point, err);
	if (r < 0) {
		qmr_restore_point_done(&point);
		return r;
	}
	*ret_point = point;
	return 0;
}

static int compare_descending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? 1 : x > y ? -1 : 0;
}

/* Numbers of the folders, largest first; returns how many. */
static int list_ids(int root_fd, uint64_t ids[IDS_MAX], struct qmr_error *err)
{
	int fd = qmr_file_open_in_root(root_fd, QMR_RESTORE_POINTS, O_RDONLY | O_DIRECTORY, 0, err);
	cleanup_closedir DIR *dir = qmr_file_take_dir(fd);
	struct dirent *entry;
	size_t n = 0;

	if (fd < 0)
		return fd;
	if (!dir)
		return qmr_error_set(err, -ENOMEM, "reading '%s': out of memory",
				     QMR_RESTORE_POINTS);
	while (n < IDS_MAX && (entry = readdir(dir))) {
		const char *name = entry->d_name;
		size_t length = strlen(name);

		if (length > 0 && length <= 18 && name[0] != '0' &&
		    strspn(name, "0123456789") == length)
			ids[n++] = strtoull(name, NULL, 10);
	}
	qsort(ids, n, sizeof(*ids), compare_descending);
	return (int)n;
}

/* Of no use, which is no reason to stop; an error of the disk is one. */
static int is_damage(int r)
{
	return r == -ENOENT || r == -EBADMSG || r == -EINVAL || r == -EFBIG || r == -ELOOP ||
	       r == -ENOTDIR;
}

int qmr_restore_point_load_newest(int root_fd, struct qmr_restore_point *ret_point,
				  struct qmr_error *err)
{
	cleanup_free uint64_t *ids = calloc(IDS_MAX, sizeof(*ids));
	int n = ids ? list_ids(root_fd, ids, err) : -ENOMEM;

	if (!ids)
		return qmr_error_set(err, -ENOMEM, "looking for restore points: out of memory");
	if (n < 0)
		return n;
	/* A folder without a manifest is unfinished, a damaged one is of no use: the one before
	 * counts. */
	for (int i = 0; i < n; i++) {
		int r = qmr_restore_point_load(root_fd, ids[i], ret_point, err);

		if (r == 0 || !is_damage(r))
			return r;
	}
	return qmr_error_set(err, -ENOENT, "there is no restore point below '%s'",
			     QMR_RESTORE_POINTS);
}

const struct qmr_saved_file *qmr_restore_point_find(const struct qmr_restore_point *point,
						    const char *path)
{
	struct qmr_saved_file key = {.path = (char *)path};

	if (!point->n_files)
		return NULL;
	return bsearch(&key, point->files, point->n_files, sizeof(*point->files), compare_files);
}

int qmr_restore_point_was_skipped(const struct qmr_restore_point *point, const char *path)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (point->skipped, i, entry) {
		const char *skipped = qmr_json_string(entry, "path");

		if (skipped && !strcmp(skipped, path))
			return 1;
	}
	return 0;
}
