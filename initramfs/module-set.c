/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "module-set.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <libkmod.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "module-table.h"

#define MODULES_MAX 32768
#define DEPTH_MAX 16
#define NAME_BYTES 256

static void cleanup_kmod(struct kmod_ctx **ctx)
{
	if (*ctx)
		kmod_unref(*ctx);
}

static void cleanup_module(struct kmod_module **module)
{
	if (*module)
		kmod_module_unref(*module);
}

static void cleanup_info(struct kmod_list **list)
{
	kmod_module_info_free_list(*list);
}

static void cleanup_modules(struct kmod_list **list)
{
	kmod_module_unref_list(*list);
}

static int out_of_memory(struct qmr_error *err)
{
	return qmr_error_set(err, -ENOMEM, "listing kernel modules: out of memory");
}

static void strings_done(struct qmr_strings *strings)
{
	for (size_t i = 0; i < strings->n; i++)
		free(strings->items[i]);
	free(strings->items);
	*strings = (struct qmr_strings){0};
}

static int strings_add(struct qmr_strings *strings, const char *text, struct qmr_error *err)
{
	char **grown = reallocarray(strings->items, strings->n + 1, sizeof(*grown));

	if (!grown)
		return out_of_memory(err);
	strings->items = grown;
	grown[strings->n] = strdup(text);
	if (!grown[strings->n])
		return out_of_memory(err);
	strings->n++;
	return 0;
}

void qmr_module_set_done(struct qmr_module_set *set)
{
	for (size_t i = 0; i < set->n; i++) {
		struct qmr_module *module = &set->modules[i];

		free(module->name);
		free(module->path);
		free(module->depends);
		strings_done(&module->aliases);
		strings_done(&module->firmware);
		strings_done(&module->softdeps);
	}
	free(set->modules);
	*set = (struct qmr_module_set){0};
}

/* "drivers/scsi/3w-9xxx.ko.xz" -> "3w_9xxx"; 0 if it is no module's file. */
static int name_of(const char *path, char ret_name[NAME_BYTES])
{
	static const char *const suffixes[] = {".ko", ".ko.xz", ".ko.zst", ".ko.gz"};
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	size_t length = strlen(name);

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
		size_t suffix = strlen(suffixes[i]);

		if (length <= suffix || length >= NAME_BYTES || strcmp(name + length - suffix, suffixes[i]))
			continue;
		for (size_t k = 0; k < length - suffix; k++)
			ret_name[k] = name[k] == '-' ? '_' : name[k];
		ret_name[length - suffix] = '\0';
		return 1;
	}
	return 0;
}

static void choose(struct qmr_module *module)
{
	const char *path = module->path + strlen("kernel/");

	for (const struct qmr_module_pattern *p = qmr_module_table; p->pattern; p++)
		if (!fnmatch(p->pattern, path, 0)) {
			module->wanted = p->what != QMR_MODULE_LEAVE;
			module->network = p->what == QMR_MODULE_TAKE_FIRMWARE;
		}
}

static int add_module(struct qmr_module_set *set, const char *path, struct qmr_error *err)
{
	struct qmr_module module = {0};
	char name[NAME_BYTES];

	if (!name_of(path, name))
		return 0;
	if (set->n == set->room) {
		size_t room = set->room ? set->room * 2 : 1024;
		struct qmr_module *grown = room > MODULES_MAX ? NULL : reallocarray(set->modules, room, sizeof(*grown));

		if (!grown)
			return out_of_memory(err);
		set->modules = grown;
		set->room = room;
	}
	module.name = strdup(name);
	module.path = strdup(path);
	if (!module.name || !module.path) {
		free(module.name);
		free(module.path);
		return out_of_memory(err);
	}
	choose(&module);
	set->modules[set->n++] = module;
	return 0;
}

/* Takes over dir_fd. */
static int walk(struct qmr_module_set *set, int dir_fd, const char *path, int depth, struct qmr_error *err)
{
	cleanup_closedir DIR *dir = qmr_file_take_dir(dir_fd);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return out_of_memory(err);
	while (r == 0 && (errno = 0, entry = readdir(dir))) {
		char below[PATH_MAX];
		int fd;

		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) >= (int)sizeof(below))
			return qmr_error_set(err, -ENAMETOOLONG, "'%s/%s' is too long", path, entry->d_name);
		fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
			r = add_module(set, below, err);
		else if (fd < 0)
			r = qmr_error_errno(err, -errno, "opening '%s'", below);
		else if (depth == DEPTH_MAX) {
			close(fd);
			r = qmr_error_set(err, -ELOOP, "'%s' is nested too deeply", below);
		} else
			r = walk(set, fd, below, depth + 1, err);
	}
	return r == 0 && errno ? qmr_error_errno(err, -errno, "reading '%s'", path) : r;
}

static int by_name(const void *a, const void *b)
{
	const struct qmr_module *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : strcmp(x->path, y->path);
}

static struct qmr_module *find(const struct qmr_module_set *set, const char *name)
{
	char file[NAME_BYTES + 4], canonical[NAME_BYTES];
	size_t low = 0, high = set->n;

	snprintf(file, sizeof(file), "%.*s.ko", NAME_BYTES - 4, name);
	if (!name_of(file, canonical))
		return NULL;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(set->modules[middle].name, canonical);

		if (order == 0)
			return &set->modules[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static int depend_on(struct qmr_module *module, size_t index, struct qmr_error *err)
{
	size_t *grown = reallocarray(module->depends, module->n_depends + 1, sizeof(*grown));

	if (!grown)
		return out_of_memory(err);
	module->depends = grown;
	grown[module->n_depends++] = index;
	return 0;
}

static int follow_depends(struct qmr_module_set *set, struct qmr_module *module, const char *list,
			  struct qmr_error *err)
{
	cleanup_free char *copy = strdup(list);
	char *rest = NULL;

	if (!copy)
		return out_of_memory(err);
	for (char *name = strtok_r(copy, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
		struct qmr_module *other = find(set, name);
		int r;

		if (!other)
			return qmr_error_set(err, -EBADMSG, "module '%s' needs '%s', which the kernel's tree lacks",
					     module->path, name);
		other->wanted = 1;
		r = depend_on(module, (size_t)(other - set->modules), err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Soft dependencies name modules or aliases; an alias may stand for several modules. */
static int follow_softdep(struct qmr_module_set *set, struct kmod_ctx *ctx, const char *text, struct qmr_error *err)
{
	cleanup_free char *copy = strdup(text);
	char *rest = NULL;

	if (!copy)
		return out_of_memory(err);
	for (char *name = strtok_r(copy, " \t", &rest); name; name = strtok_r(NULL, " \t", &rest)) {
		QMR_CLEANUP(cleanup_modules) struct kmod_list *list = NULL;
		struct qmr_module *other = find(set, name);
		struct kmod_list *item;

		if (name[strlen(name) - 1] == ':')
			continue;
		if (other) {
			other->wanted = 1;
			continue;
		}
		if (kmod_module_new_from_lookup(ctx, name, &list) < 0)
			continue; /* built in, or of another architecture */
		kmod_list_foreach(item, list) {
			QMR_CLEANUP(cleanup_module) struct kmod_module *found = kmod_module_get_module(item);

			other = find(set, kmod_module_get_name(found));
			if (other)
				other->wanted = 1;
		}
	}
	return 0;
}

static int note_info(struct qmr_module_set *set, struct kmod_ctx *ctx, struct qmr_module *module, const char *key,
		     const char *value, struct qmr_error *err)
{
	int r;

	if (!strcmp(key, "depends"))
		return follow_depends(set, module, value, err);
	if (!strcmp(key, "alias"))
		return strings_add(&module->aliases, value, err);
	if (!strcmp(key, "firmware") && module->network)
		return strings_add(&module->firmware, value, err);
	if (strcmp(key, "softdep"))
		return 0;
	r = strings_add(&module->softdeps, value, err);
	return r == 0 ? follow_softdep(set, ctx, value, err) : r;
}

static int read_info(struct qmr_module_set *set, struct kmod_ctx *ctx, struct qmr_module *module,
		     struct qmr_error *err)
{
	QMR_CLEANUP(cleanup_module) struct kmod_module *file = NULL;
	QMR_CLEANUP(cleanup_info) struct kmod_list *list = NULL;
	struct kmod_list *item;
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s/%s", kmod_get_dirname(ctx), module->path) >= (int)sizeof(path))
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", module->path);
	r = kmod_module_new_from_path(ctx, path, &file);
	if (r == 0)
		r = kmod_module_get_info(file, &list);
	if (r < 0)
		return qmr_error_errno(err, r, "reading module '%s'", module->path);
	r = 0;
	kmod_list_foreach(item, list) {
		r = note_info(set, ctx, module, kmod_module_info_get_key(item), kmod_module_info_get_value(item), err);
		if (r < 0)
			break;
	}
	return r;
}

/* Reads every wanted module; that makes more of them wanted, until nothing new comes up. */
static int close_set(struct qmr_module_set *set, struct kmod_ctx *ctx, struct qmr_error *err)
{
	for (int changed = 1; changed;) {
		changed = 0;
		for (size_t i = 0; i < set->n; i++) {
			int r;

			if (!set->modules[i].wanted || set->modules[i].mark)
				continue;
			set->modules[i].mark = changed = 1;
			r = read_info(set, ctx, &set->modules[i], err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static void ignore_log(void *data, int priority, const char *file, int line, const char *fn, const char *format,
		       va_list args)
{
}

int qmr_module_set_load(int folder_fd, struct qmr_module_set *ret_set, struct qmr_error *err)
{
	QMR_CLEANUP(qmr_module_set_done) struct qmr_module_set set = {0};
	QMR_CLEANUP(cleanup_kmod) struct kmod_ctx *ctx = NULL;
	const char *no_configuration = NULL; /* this system's modprobe.d says nothing about the image */
	char folder[64];
	int fd, r;

	fd = openat(folder_fd, "kernel", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening the kernel's modules");
	r = walk(&set, fd, "kernel", 0, err);
	if (r < 0)
		return r;
	if (set.n)
		qsort(set.modules, set.n, sizeof(*set.modules), by_name);
	snprintf(folder, sizeof(folder), "/proc/self/fd/%d", folder_fd);
	ctx = kmod_new(folder, &no_configuration);
	if (!ctx)
		return out_of_memory(err);
	kmod_set_log_fn(ctx, ignore_log, NULL);
	r = close_set(&set, ctx, err);
	if (r < 0)
		return r;
	*ret_set = set;
	set = (struct qmr_module_set){0};
	return 0;
}
