/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "changes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "notes.h"

#define CHANGES_MAX 20000
#define CHANGES_JSON_MAX 1000
#define LINK_TARGET_BYTES 4096

struct comparison {
	int root_fd;
	uint64_t file_max_bytes;
	const struct qmr_restore_point *point;
	unsigned char *seen; /* one for each file of point */
	struct qmr_changes *changes;
	json_t *notes;
};

void qmr_changes_done(struct qmr_changes *changes)
{
	for (size_t i = 0; i < changes->n; i++)
		free(changes->items[i].path);
	free(changes->items);
	memset(changes, 0, sizeof(*changes));
}

static int add_change(struct qmr_changes *changes, const char *path, enum qmr_change_kind kind, const char *old_sha256,
		      const char *new_sha256, struct qmr_error *err)
{
	struct qmr_change *grown, *change;

	if (changes->n >= CHANGES_MAX) {
		changes->truncated = 1;
		return 0;
	}
	grown = realloc(changes->items, (changes->n + 1) * sizeof(*grown));
	if (!grown)
		return qmr_error_set(err, -ENOMEM, "comparing '%s': out of memory", path);
	changes->items = grown;
	change = &grown[changes->n];
	memset(change, 0, sizeof(*change));
	change->path = strdup(path);
	if (!change->path)
		return qmr_error_set(err, -ENOMEM, "comparing '%s': out of memory", path);
	change->kind = kind;
	snprintf(change->old_sha256, sizeof(change->old_sha256), "%s", old_sha256);
	snprintf(change->new_sha256, sizeof(change->new_sha256), "%s", new_sha256);
	changes->n++;
	return 0;
}

static int compare_link(struct comparison *c, const char *path, int parent_fd, const char *name,
			const struct qmr_saved_file *saved, struct qmr_error *err)
{
	char target[LINK_TARGET_BYTES];
	ssize_t n = readlinkat(parent_fd, name, target, sizeof(target) - 1);

	if (n < 0) {
		qmr_note(c->notes, "comparing '%s': the link cannot be read", path);
		return 0;
	}
	target[n] = '\0';
	if (!saved)
		return add_change(c->changes, path, QMR_CHANGE_ADDED, "", "", err);
	if (saved->target && !strcmp(saved->target, target))
		return 0;
	return add_change(c->changes, path, QMR_CHANGE_MODIFIED, saved->sha256, "", err);
}

static int compare_regular(struct comparison *c, const char *path, int parent_fd, const char *name,
			   const struct qmr_saved_file *saved, struct qmr_error *err)
{
	cleanup_close int fd = openat(parent_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	char sha256[QMR_SHA256_HEX] = "";
	struct qmr_error why = {0};
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		qmr_note(c->notes, "comparing '%s': it cannot be opened", path);
		return 0;
	}
	if ((uint64_t)st.st_size > c->file_max_bytes) {
		if (!saved)
			return 0;
		qmr_note(c->notes, "comparing '%s': it is larger than before and was not hashed", path);
		return add_change(c->changes, path, QMR_CHANGE_MODIFIED, saved->sha256, "", err);
	}
	if (qmr_sha256_fd(fd, path, sha256, NULL, &why) < 0) {
		qmr_note(c->notes, "comparing: %s", why.text);
		return 0;
	}
	if (!saved)
		return add_change(c->changes, path, QMR_CHANGE_ADDED, "", sha256, err);
	if (!strcmp(saved->sha256, sha256))
		return 0;
	return add_change(c->changes, path, QMR_CHANGE_MODIFIED, saved->sha256, sha256, err);
}

static int compare_file(void *user, const char *path, int parent_fd, const char *name, struct qmr_error *err)
{
	struct comparison *c = user;
	const struct qmr_saved_file *saved = qmr_restore_point_find(c->point, path);
	struct stat st;

	if (!saved && qmr_restore_point_was_skipped(c->point, path)) {
		qmr_note(c->notes, "comparing '%s': the restore point left it out", path);
		return 0;
	}
	if (saved)
		c->seen[saved - c->point->files] = 1;
	if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		qmr_note(c->notes, "comparing '%s': it cannot be examined", path);
		return 0;
	}
	if (S_ISLNK(st.st_mode))
		return compare_link(c, path, parent_fd, name, saved, err);
	return compare_regular(c, path, parent_fd, name, saved, err);
}

static int is_missing(int root_fd, const char *path)
{
	char name[256];
	cleanup_close int parent = qmr_file_open_parent_in_root(root_fd, path, 0, name, NULL);
	struct stat st;

	if (parent < 0)
		return parent == -ENOENT || parent == -ENOTDIR;
	return fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

/* What the walk did not come to is gone, or no longer watched. */
static int find_removed(struct comparison *c, struct qmr_error *err)
{
	for (size_t i = 0; i < c->point->n_files; i++) {
		const struct qmr_saved_file *saved = &c->point->files[i];
		int r;

		if (c->seen[i] || !is_missing(c->root_fd, saved->path))
			continue;
		r = add_change(c->changes, saved->path, QMR_CHANGE_REMOVED, saved->sha256, "", err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(((const struct qmr_change *)a)->path, ((const struct qmr_change *)b)->path);
}

int qmr_changes_find(int root_fd, const struct qmr_config *config, const struct qmr_restore_point *point,
		     json_t *notes, struct qmr_changes *ret_changes, struct qmr_error *err)
{
	struct qmr_changes changes = {0};
	cleanup_free unsigned char *seen = calloc(point->n_files + 1, 1);
	struct comparison c = {
		.root_fd = root_fd,
		.file_max_bytes = (uint64_t)config->watch_file_max_mib << 20,
		.point = point,
		.seen = seen,
		.changes = &changes,
		.notes = notes,
	};
	int r;

	if (!seen)
		return qmr_error_set(err, -ENOMEM, "comparing with restore point %llu: out of memory",
				     (unsigned long long)point->id);
	r = qmr_watch_walk(root_fd, config, compare_file, &c, err);
	if (r == 0)
		r = find_removed(&c, err);
	if (r < 0) {
		qmr_changes_done(&changes);
		return r;
	}
	if (changes.n)
		qsort(changes.items, changes.n, sizeof(*changes.items), compare_paths);
	*ret_changes = changes;
	return 0;
}

void qmr_changes_link(struct qmr_changes *changes, const struct qmr_linker *linker)
{
	for (size_t i = 0; i < changes->n; i++) {
		struct qmr_change *change = &changes->items[i];

		change->link = qmr_linker_of_path(linker, change->path);
		if (!change->link && qmr_linker_has_module(linker) && changes->n == 1 && !changes->truncated)
			change->link = QMR_LINK_SOLE_CHANGE;
	}
}

static json_t *hash_to_json(const char *sha256)
{
	return *sha256 ? json_string(sha256) : json_null();
}

static json_t *change_to_json(const struct qmr_change *change)
{
	static const char *const kinds[] = {"modified", "added", "removed"};

	return json_pack("{s:s, s:s, s:s?, s:o, s:o}", "path", change->path, "change", kinds[change->kind], "link",
			 qmr_link_name(change->link), "old_sha256", hash_to_json(change->old_sha256), "new_sha256",
			 hash_to_json(change->new_sha256));
}

json_t *qmr_changes_to_json(const struct qmr_changes *changes, int *ret_truncated)
{
	json_t *list = json_array();

	*ret_truncated = changes->truncated;
	for (int link = QMR_LINK_MODULE_FILE; list && link >= QMR_LINK_NONE; link--) {
		for (size_t i = 0; i < changes->n; i++) {
			json_t *json;

			if ((int)changes->items[i].link != link)
				continue;
			if (json_array_size(list) >= CHANGES_JSON_MAX) {
				*ret_truncated = 1;
				return list;
			}
			json = change_to_json(&changes->items[i]);
			if (!json) /* a path that is not UTF-8 cannot be named in JSON */
				*ret_truncated = 1;
			else if (json_array_append_new(list, json) < 0)
				*ret_truncated = 1;
		}
	}
	return list;
}
