/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "protect.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "form.h"
#include "json.h"

#define INFO "/var/lib/dpkg/info"
#define LIST_BYTES_MAX (16u << 20)

struct check {
	int root_fd;
	const struct qmr_plan *plan; /* NULL: names nothing */
	const struct qmr_changes *changes;
};

/* /lib is a link to /usr/lib nowadays, and dpkg's lists have either. */
static const char *without_usr(const char *path)
{
	return !strncmp(path, "/usr/lib", 8) || !strncmp(path, "/usr/bin/", 9) || !strncmp(path, "/usr/sbin/", 10) ? path + 4
														     : path;
}

static int is_same_path(const char *a, const char *b)
{
	return !strcmp(without_usr(a), without_usr(b));
}

/* "…/modules/…/NAME.ko" and its compressed forms, or the file that blocks it. */
static int is_file_of_module(const char *path, const char *module)
{
	static const char block[] = "/etc/modprobe.d/qmr-block-";
	static const char *const ends[] = {".ko", ".ko.xz", ".ko.zst", ".ko.gz"};
	const char *slash = strrchr(path, '/');
	char name[256];
	size_t n;

	snprintf(name, sizeof(name), "%s", !strncmp(path, block, sizeof(block) - 1) ? path + sizeof(block) - 1 : slash + 1);
	n = strlen(name);
	if (!strncmp(path, block, sizeof(block) - 1)) {
		if (n > 5 && !strcmp(name + n - 5, ".conf"))
			name[n - 5] = '\0';
		return qmr_form_is_same_module(name, module);
	}
	if (!strstr(path, "/modules/"))
		return 0;
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		size_t end = strlen(ends[i]);

		if (n > end && !strcmp(name + n - end, ends[i])) {
			name[n - end] = '\0';
			return qmr_form_is_same_module(name, module);
		}
	}
	return 0;
}

static int lists_module(const json_t *list, const char *module)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (list, i, entry)
		if (qmr_form_is_same_module(json_string_value(entry), module))
			return 1;
	return 0;
}

static int blocks(const struct qmr_plan *plan, const char *module)
{
	for (size_t i = 0; i < plan->n_actions; i++)
		if (plan->actions[i].module && qmr_form_is_same_module(plan->actions[i].module, module))
			return 1;
	return 0;
}

static int refuse(struct qmr_error *err, const char *kind, const char *name, const char *path)
{
	return qmr_error_set(err, -EBADMSG, "%s '%s' is protected by [policy] protect and is not named: '%s' is left alone, and so is everything",
			     kind, name, path);
}

static int check_module(const struct check *check, const char *module, struct qmr_error *err)
{
	const struct qmr_modules *block = &check->changes->block;

	if (check->plan && (lists_module(check->plan->named_modules, module) || blocks(check->plan, module)))
		return 0;
	for (size_t i = 0; i < block->n; i++)
		if (qmr_form_is_same_module(block->names[i], module))
			return refuse(err, "module", module, block->names[i]);
	for (size_t i = 0; i < check->changes->n; i++)
		if (is_file_of_module(check->changes->list[i].path, module))
			return refuse(err, "module", module, check->changes->list[i].path);
	return 0;
}

/* Each of its lines is a path. */
static int check_list(const struct check *check, const char *package, int dir_fd, const char *name, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	size_t size;
	int r = qmr_file_read(dir_fd, name, LIST_BYTES_MAX, &data, &size, err);

	if (r < 0)
		return qmr_error_set(err, -EBADMSG, "what belongs to the protected package '%s' cannot be read ('" INFO "/%s')",
				     package, name);
	for (char *line = data, *next; line < data + size; line = next) {
		size_t length = strcspn(line, "\n");

		next = line + length + 1;
		line[length] = '\0';
		for (size_t i = 0; i < check->changes->n; i++)
			if (is_same_path(check->changes->list[i].path, line))
				return refuse(err, "package", package, line);
	}
	return 0;
}

/* "NAME.list", or "NAME:ARCHITECTURE.list" */
static int is_list_of(const char *file, const char *package)
{
	size_t n = strlen(package), length = strlen(file);

	return length > 5 && !strcmp(file + length - 5, ".list") && !strncmp(file, package, n) &&
	       (file[n] == ':' || n == length - 5);
}

static int check_package(const struct check *check, const char *package, struct qmr_error *err)
{
	cleanup_closedir DIR *dir = NULL;
	const struct dirent *entry;
	int r = 0;

	if (check->changes->n == 0 || (check->plan && qmr_json_list_has(check->plan->named_packages, package)))
		return 0;
	dir = qmr_file_open_dir_in_root(check->root_fd, INFO);
	if (!dir)
		return qmr_error_set(err, -EBADMSG, "what belongs to the protected package '%s' cannot be read ('" INFO "')", package);
	while (r == 0 && (errno = 0, entry = readdir(dir)))
		if (is_list_of(entry->d_name, package))
			r = check_list(check, package, dirfd(dir), entry->d_name, err);
	if (r == 0 && errno)
		r = qmr_error_set(err, -EBADMSG, "what belongs to the protected package '%s' cannot be read ('" INFO "')", package);
	return r;
}

static int names_path(const struct qmr_plan *plan, const char *path)
{
	for (size_t i = 0; plan && i < plan->n_actions; i++)
		if (plan->actions[i].path && !strcmp(plan->actions[i].path, path))
			return 1;
	return 0;
}

/* Whether path is this file or folder, or in the folder. */
static int is_below(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	while (n > 1 && folder[n - 1] == '/')
		n--;
	return !strncmp(path, folder, n) && (path[n] == '/' || !path[n]);
}

static int check_path(const struct check *check, const char *protected, struct qmr_error *err)
{
	for (size_t i = 0; i < check->changes->n; i++) {
		const char *path = check->changes->list[i].path;

		if ((is_below(path, protected) || is_below(without_usr(path), without_usr(protected))) &&
		    !names_path(check->plan, path))
			return refuse(err, "path", protected, path);
	}
	return 0;
}

int qmr_protect_check(int root_fd, const struct qmr_config *config, const struct qmr_plan *plan,
		      const struct qmr_changes *changes, struct qmr_error *err)
{
	static int (*const checks[])(const struct check *check, const char *name, struct qmr_error *err) = {
		[QMR_PROTECTED_MODULE] = check_module,
		[QMR_PROTECTED_PACKAGE] = check_package,
		[QMR_PROTECTED_PATH] = check_path,
	};
	const struct check check = {root_fd, plan, changes};
	int r = 0;

	for (size_t i = 0; r == 0 && i < config->n_protect; i++)
		r = checks[config->protect[i].type](&check, config->protect[i].name, err);
	return r;
}
