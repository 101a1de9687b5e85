/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "glob.h"
#include "restore-point.h"

#define PATH_BYTES 4096
#define DEPTH_MAX 64
#define FILES_MAX 100000
#define OWN_FOLDER "/var/lib/qmr"

struct list {
	char **paths;
	size_t n, room;
};

struct walk {
	int root_fd;
	dev_t device; /* of the root: what is mounted elsewhere is not there in recovery, so it is
			 not watched */
	struct list files;
};

static void list_done(struct list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->paths[i]);
	free(list->paths);
}

static int list_add(struct list *list, const char *path, struct qmr_error *err)
{
	char *copy;

	if (list->n == FILES_MAX)
		return qmr_error_set(err, -E2BIG, "more than %d files at '%s': narrow [watch] path",
				     FILES_MAX, path);
	if (list->n == list->room) {
		size_t room = list->room ? list->room * 2 : 64;
		char **grown = reallocarray(list->paths, room, sizeof(*grown));

		if (!grown)
			return qmr_error_set(err, -ENOMEM, "walking '%s': out of memory", path);
		list->paths = grown;
		list->room = room;
	}
	copy = strdup(path);
	if (!copy)
		return qmr_error_set(err, -ENOMEM, "walking '%s': out of memory", path);
	list->paths[list->n++] = copy;
	return 0;
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts, and drops doubles, which overlapping watched paths give. */
static void list_sort(struct list *list)
{
	size_t kept = 0;

	if (!list->n)
		return;
	qsort(list->paths, list->n, sizeof(*list->paths), compare_paths);
	for (size_t i = 1; i < list->n; i++) {
		if (!strcmp(list->paths[i], list->paths[kept]))
			free(list->paths[i]);
		else
			list->paths[++kept] = list->paths[i];
	}
	list->n = kept + 1;
}

static int join(char ret_path[PATH_BYTES], const char *folder, const char *name)
{
	int n = snprintf(ret_path, PATH_BYTES, "%s/%s", folder, name);

	return n < PATH_BYTES ? 0 : -ENAMETOOLONG;
}

static int is_own(const char *path)
{
	size_t length = strlen(OWN_FOLDER);

	return !strncmp(path, OWN_FOLDER, length) && (path[length] == '\0' || path[length] == '/');
}

static int walk_folder(struct walk *walk, int fd, const char *path, int depth,
		       struct qmr_error *err);

static int walk_name(struct walk *walk, int parent_fd, const char *name, const char *path,
		     int depth, struct qmr_error *err)
{
	struct stat st;
	int fd;

	if (is_own(path))
		return 0;
	if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno == ENOENT)
			return 0;
		return qmr_error_errno(err, -errno, "examining '%s'", path);
	}
	if (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode))
		return list_add(&walk->files, path, err);
	if (!S_ISDIR(st.st_mode) || st.st_dev != walk->device)
		return 0;
	if (depth > DEPTH_MAX)
		return qmr_error_set(err, -ELOOP, "walking '%s': deeper than %d folders", path,
				     DEPTH_MAX);
	fd = openat(parent_fd, name, O_RDONLY | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0) {
		if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
			return 0; /* it was replaced while we looked */
		return qmr_error_errno(err, -errno, "opening folder '%s'", path);
	}
	return walk_folder(walk, fd, path, depth, err);
}

/* Takes over fd. */
static int walk_folder(struct walk *walk, int fd, const char *path, int depth,
		       struct qmr_error *err)
{
	cleanup_closedir DIR *dir = qmr_file_take_dir(fd);
	cleanup_free char *child = malloc(PATH_BYTES);
	struct dirent *entry;
	int r;

	if (!dir || !child)
		return qmr_error_set(err, -ENOMEM, "reading folder '%s': out of memory", path);
	while ((errno = 0, entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (join(child, path, entry->d_name) < 0)
			continue; /* nothing can name it by its full path */
		r = walk_name(walk, fd, entry->d_name, child, depth + 1, err);
		if (r < 0)
			return r;
	}
	return errno ? qmr_error_errno(err, -errno, "reading folder '%s'", path) : 0;
}

/* Components named in the configuration may be links (/lib -> usr/lib), resolved inside the root;
 * none below them. */
static int walk_start(void *user, const char *path, struct qmr_error *err)
{
	struct walk *walk = user;
	char name[256];
	cleanup_close int parent = qmr_file_open_parent_in_root(walk->root_fd, path, 0, name, err);
	struct stat st;

	if (parent == -ENOENT || parent == -ENOTDIR)
		return 0;
	if (parent < 0)
		return parent;
	if (fstat(parent, &st) < 0)
		return qmr_error_errno(err, -errno, "examining the folder of '%s'", path);
	if (st.st_dev != walk->device)
		return 0;
	return walk_name(walk, parent, name, path, 0, err);
}

static int call_each(const struct walk *walk, qmr_watch_fn *fn, void *user, struct qmr_error *err)
{
	for (size_t i = 0; i < walk->files.n; i++) {
		const char *path = walk->files.paths[i];
		char name[256];
		cleanup_close int parent =
			qmr_file_open_parent_in_root(walk->root_fd, path, 0, name, err);
		int r;

		if (parent == -ENOENT || parent == -ENOTDIR)
			continue; /* deleted since it was listed */
		if (parent < 0)
			return parent;
		r = fn(user, path, parent, name, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int qmr_watch_walk(int root_fd, const struct qmr_config *config, qmr_watch_fn *fn, void *user,
		   struct qmr_error *err)
{
	struct walk walk = {.root_fd = root_fd};
	struct stat st;
	int r = 0;

	if (fstat(root_fd, &st) < 0)
		return qmr_error_errno(err, -errno, "examining the root");
	walk.device = st.st_dev;
	for (size_t i = 0; r == 0 && i < config->n_watch; i++)
		r = qmr_glob_in_root(root_fd, config->watch[i], walk_start, &walk, err);
	if (r == 0) {
		list_sort(&walk.files);
		r = call_each(&walk, fn, user, err);
	}
	list_done(&walk.files);
	return r;
}
