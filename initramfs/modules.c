/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "modules.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "module-index.h"
#include "module-set.h"

#define FOLDER "usr/lib/modules"
#define FIRMWARE_FILE_BYTES_MAX (4 << 20)
#define FIRMWARE_BYTES_MAX (32 << 20)
#define INDEX_BYTES_MAX (16U << 20)

/* Built by depmod from the kernel alone; libkmod looks up what needs no loading there. */
static const char *const builtin_files[] = {"modules.builtin", "modules.builtin.bin", "modules.builtin.alias.bin"};

static int out_of_memory(struct qmr_error *err)
{
	return qmr_error_set(err, -ENOMEM, "indexing modules: out of memory");
}

static int add_index(struct qmr_image *image, const char *release, const char *name, const void *data, size_t size,
		     struct qmr_error *err)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), FOLDER "/%.200s/%s", release, name);
	return qmr_image_add_data(image, path, 0644, data, size, err);
}

static int add_encoded(struct qmr_image *image, const char *release, const char *name, struct qmr_index_pair *pairs,
		       size_t n_pairs, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	size_t size;
	int r = qmr_module_index_encode(pairs, n_pairs, &data, &size, err);

	return r == 0 ? add_index(image, release, name, data, size, err) : r;
}

static void clear_marks(struct qmr_module_set *set)
{
	for (size_t i = 0; i < set->n; i++)
		set->modules[i].mark = 0;
}

/* Appends the module's dependencies in the order in which they must be loaded: the deepest first. */
static void list_depends(struct qmr_module_set *set, struct qmr_module *module, size_t *order, size_t *n_order)
{
	for (size_t i = 0; i < module->n_depends; i++) {
		struct qmr_module *other = &set->modules[module->depends[i]];

		if (other->mark)
			continue;
		other->mark = 1;
		list_depends(set, other, order, n_order);
		order[(*n_order)++] = module->depends[i];
	}
}

/* A line as in modules.dep(5): what must be loaded last comes first. The caller frees it. */
static char *format_depends(struct qmr_module_set *set, struct qmr_module *module, size_t *order)
{
	size_t n_order = 0, size = 0;
	char *line = NULL;
	FILE *out = open_memstream(&line, &size);

	if (!out)
		return NULL;
	clear_marks(set);
	module->mark = 1;
	list_depends(set, module, order, &n_order);
	fprintf(out, "%s:", module->path);
	while (n_order)
		fprintf(out, " %s", set->modules[order[--n_order]].path);
	if (fclose(out)) {
		free(line);
		return NULL;
	}
	return line;
}

static int add_depends(struct qmr_image *image, const char *release, struct qmr_module_set *set,
		       struct qmr_error *err)
{
	cleanup_free struct qmr_index_pair *pairs = calloc(set->n + 1, sizeof(*pairs));
	cleanup_free size_t *order = calloc(set->n + 1, sizeof(*order));
	cleanup_free char *text = NULL;
	size_t size = 0, n = 0;
	FILE *out = open_memstream(&text, &size);
	int r = pairs && order && out ? 0 : out_of_memory(err);

	for (size_t i = 0; r == 0 && i < set->n; i++) {
		char *line;

		if (!set->modules[i].wanted)
			continue;
		line = format_depends(set, &set->modules[i], order);
		if (!line) {
			r = out_of_memory(err);
			break;
		}
		fprintf(out, "%s\n", line);
		pairs[n++] = (struct qmr_index_pair){set->modules[i].name, line};
	}
	if (out && fclose(out) && r == 0)
		r = out_of_memory(err);
	if (r == 0)
		r = add_index(image, release, "modules.dep", text, size, err);
	if (r == 0)
		r = add_encoded(image, release, "modules.dep.bin", pairs, n, err);
	for (size_t i = 0; i < n; i++)
		free((char *)pairs[i].value);
	return r;
}

/* As depmod stores and libkmod looks up aliases: '_' for '-', but for what stands in brackets. */
static void normalise_alias(char *alias)
{
	int brackets = 0;

	for (; *alias; alias++) {
		if (*alias == '[')
			brackets = 1;
		else if (*alias == ']')
			brackets = 0;
		else if (*alias == '-' && !brackets)
			*alias = '_';
	}
}

static int add_aliases(struct qmr_image *image, const char *release, struct qmr_module_set *set,
		       struct qmr_error *err)
{
	cleanup_free struct qmr_index_pair *pairs = NULL;
	size_t n = 0, total = 0;

	for (size_t i = 0; i < set->n; i++)
		total += set->modules[i].aliases.n;
	pairs = calloc(total + 1, sizeof(*pairs));
	if (!pairs)
		return out_of_memory(err);
	for (size_t i = 0; i < set->n; i++)
		for (size_t k = 0; k < set->modules[i].aliases.n; k++) {
			normalise_alias(set->modules[i].aliases.items[k]);
			pairs[n++] = (struct qmr_index_pair){set->modules[i].aliases.items[k], set->modules[i].name};
		}
	return add_encoded(image, release, "modules.alias.bin", pairs, n, err);
}

static int add_softdeps(struct qmr_image *image, const char *release, const struct qmr_module_set *set,
			struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return out_of_memory(err);
	for (size_t i = 0; i < set->n; i++)
		for (size_t k = 0; k < set->modules[i].softdeps.n; k++)
			fprintf(out, "softdep %s %s\n", set->modules[i].name, set->modules[i].softdeps.items[k]);
	if (fclose(out))
		return out_of_memory(err);
	return add_index(image, release, "modules.softdep", text, size, err);
}

static int add_builtin(struct qmr_image *image, const char *release, int folder_fd, struct qmr_error *err)
{
	for (size_t i = 0; i < sizeof(builtin_files) / sizeof(*builtin_files); i++) {
		cleanup_free char *data = NULL;
		size_t size;
		int r = qmr_file_read(folder_fd, builtin_files[i], INDEX_BYTES_MAX, &data, &size, err);

		if (r == -ENOENT)
			continue; /* older kernels and depmods lack some */
		if (r == 0)
			r = add_index(image, release, builtin_files[i], data, size, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Adds a firmware file in the form in which the root has it; a missing one is fine, most machines lack most. */
static int add_firmware(struct qmr_image *image, const char *name, size_t *count, uint64_t *left_bytes,
			struct qmr_error *err)
{
	static const char *const forms[] = {"usr/lib/firmware/updates/%s%s", "usr/lib/firmware/%s%s"};
	static const char *const suffixes[] = {"", ".xz", ".zst"};

	for (size_t i = 0; i < 6; i++) {
		char path[PATH_MAX];
		cleanup_close int fd = -1;
		struct stat st;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(path, sizeof(path), forms[i / 3], name, suffixes[i % 3]);
#pragma GCC diagnostic pop
		fd = qmr_file_open_in_root(image->root_fd, path, O_RDONLY | O_NONBLOCK, 0, NULL);
		if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		if (st.st_size > FIRMWARE_FILE_BYTES_MAX || (uint64_t)st.st_size > *left_bytes)
			return 0;
		if (!qmr_image_find(image, path)) {
			*left_bytes -= (uint64_t)st.st_size;
			(*count)++;
		}
		return qmr_image_add_file(image, path, 0644, path, err);
	}
	return 0;
}

static int add_files(struct qmr_image *image, const char *release, const struct qmr_module_set *set,
		     size_t *ret_modules, size_t *ret_firmware, struct qmr_error *err)
{
	size_t modules = 0, firmware = 0;
	uint64_t left_bytes = FIRMWARE_BYTES_MAX;

	for (size_t i = 0; i < set->n; i++) {
		const struct qmr_module *module = &set->modules[i];
		char path[PATH_MAX];
		int r;

		if (!module->wanted)
			continue;
		if (snprintf(path, sizeof(path), FOLDER "/%s/%s", release, module->path) >= (int)sizeof(path))
			return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", module->path);
		r = qmr_image_add_file(image, path, 0644, path, err);
		for (size_t k = 0; r == 0 && k < module->firmware.n; k++)
			r = add_firmware(image, module->firmware.items[k], &firmware, &left_bytes, err);
		if (r < 0)
			return r;
		modules++;
	}
	if (!modules)
		return qmr_error_set(err, -EBADMSG, "the root's kernel %s has none of the modules that recovery needs",
				     release);
	*ret_modules = modules;
	*ret_firmware = firmware;
	return 0;
}

int qmr_modules_add(struct qmr_image *image, const char *release, size_t *ret_modules, size_t *ret_firmware,
		    struct qmr_error *err)
{
	QMR_CLEANUP(qmr_module_set_done) struct qmr_module_set set = {0};
	cleanup_close int folder_fd = -1;
	char path[PATH_MAX];
	int r;

	snprintf(path, sizeof(path), FOLDER "/%.200s", release);
	folder_fd = qmr_file_open_in_root(image->root_fd, path, O_RDONLY | O_DIRECTORY, 0, err);
	if (folder_fd < 0)
		return folder_fd;
	r = qmr_module_set_load(folder_fd, &set, err);
	if (r == 0)
		r = add_files(image, release, &set, ret_modules, ret_firmware, err);
	if (r == 0)
		r = add_depends(image, release, &set, err);
	if (r == 0)
		r = add_aliases(image, release, &set, err);
	if (r == 0)
		r = add_softdeps(image, release, &set, err);
	if (r == 0) /* only asked for when the kernel wants an exported symbol: never */
		r = add_encoded(image, release, "modules.symbols.bin", NULL, 0, err);
	return r == 0 ? add_builtin(image, release, folder_fd, err) : r;
}
