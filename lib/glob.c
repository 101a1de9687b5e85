/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "glob.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"

#define PATH_BYTES 4096

struct expansion {
	int root_fd;
	qmr_glob_fn *fn;
	void *user;
};

static int join(char ret_path[PATH_BYTES], const char *folder, const char *name)
{
	int n = snprintf(ret_path, PATH_BYTES, "%s/%s", folder, name);

	return n < PATH_BYTES ? 0 : -ENAMETOOLONG;
}

static int expand(const struct expansion *e, const char *done, const char *rest, struct qmr_error *err);

static int expand_pattern(const struct expansion *e, const char *done, const char *pattern, const char *rest,
			  struct qmr_error *err)
{
	int fd = qmr_file_open_in_root(e->root_fd, *done ? done : "/", O_RDONLY | O_DIRECTORY, 0, err);
	cleanup_closedir DIR *dir = qmr_file_take_dir(fd);
	cleanup_free char *path = malloc(PATH_BYTES);
	struct dirent *entry;

	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0;
	if (fd < 0)
		return fd;
	if (!dir || !path)
		return qmr_error_set(err, -ENOMEM, "reading folder '%s': out of memory", done);
	while (errno = 0, (entry = readdir(dir))) {
		int r;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
		    fnmatch(pattern, entry->d_name, FNM_PERIOD) || join(path, done, entry->d_name) < 0)
			continue;
		r = expand(e, path, rest, err);
		if (r < 0)
			return r;
	}
	/* A folder that a bad disk shows half of is not one without the rest. */
	return errno ? qmr_error_errno(err, -errno, "reading folder '%s'", done) : 0;
}

/* done: absolute path so far without a '/' at its end; rest: components still to be looked at. */
static int expand(const struct expansion *e, const char *done, const char *rest, struct qmr_error *err)
{
	cleanup_free char *path = malloc(PATH_BYTES);
	char component[256];
	size_t length;

	rest += strspn(rest, "/");
	if (!*rest)
		return *done ? e->fn(e->user, done, err) : 0;
	length = strcspn(rest, "/");
	if (!path || length >= sizeof(component))
		return qmr_error_set(err, path ? -ENAMETOOLONG : -ENOMEM, "path '%s' cannot be used", rest);
	memcpy(component, rest, length);
	component[length] = '\0';
	if (strpbrk(component, "*?["))
		return expand_pattern(e, done, component, rest + length, err);
	if (join(path, done, component) < 0)
		return qmr_error_set(err, -ENAMETOOLONG, "path '%s/%s' is too long", done, component);
	return expand(e, path, rest + length, err);
}

int qmr_glob_in_root(int root_fd, const char *pattern, qmr_glob_fn *fn, void *user, struct qmr_error *err)
{
	struct expansion e = {.root_fd = root_fd, .fn = fn, .user = user};

	return expand(&e, "", pattern, err);
}
