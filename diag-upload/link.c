/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "link.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "form.h"
#include "module-file.h"
#include "notes.h"

/* What modprobe.d(5) says of one module: its options, and the files they stand in. */
struct options {
	const char *module; /* borrowed */
	char text[65536]; /* options, with newlines between */
	size_t used;
	char files[16][300];
	size_t n_files;
};

/* "options MODULE key=value ..." */
static void read_option_line(struct options *options, const char *line, size_t length, const char *path)
{
	char name[64];
	size_t skip = strspn(line, " \t"), n;

	if (length < skip + 8 || strncmp(line + skip, "options", 7) || !strchr(" \t", line[skip + 7]))
		return;
	skip += 7;
	skip += strspn(line + skip, " \t");
	n = strcspn(line + skip, " \t\n");
	if (skip + n > length || n >= sizeof(name))
		return;
	memcpy(name, line + skip, n);
	name[n] = '\0';
	if (!qmr_form_is_same_module(name, options->module))
		return;
	if (options->n_files < 16 && strlen(path) < sizeof(options->files[0]))
		snprintf(options->files[options->n_files++], sizeof(options->files[0]), "%s", path);
	skip += n;
	if (length - skip + 1 > sizeof(options->text) - options->used)
		return;
	memcpy(options->text + options->used, line + skip, length - skip);
	options->used += length - skip;
	options->text[options->used++] = '\n';
}

static void read_option_file(struct options *options, int fd, const char *folder, const char *name)
{
	cleanup_free char *data = NULL;
	size_t length = strlen(name), size;
	char path[512];

	if (length < 6 || strcmp(name + length - 5, ".conf") || qmr_file_read(fd, name, 1 << 20, &data, &size, NULL) < 0)
		return;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	for (size_t i = 0; i + 1 < size; i++)
		if (data[i] == '\\' && data[i + 1] == '\n')
			data[i] = data[i + 1] = ' ';
	for (char *line = data; line < data + size;) {
		size_t n = strcspn(line, "\n");

		read_option_line(options, line, n, path);
		line += n + 1;
	}
}

static void read_options(struct options *options, int root_fd)
{
	static const char *const folders[] = {"/etc/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"};

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		cleanup_closedir DIR *dir = qmr_file_open_dir_in_root(root_fd, folders[i]);
		struct dirent *entry;
		int n = 0;

		while (dir && (entry = readdir(dir)) && n++ < 1000)
			read_option_file(options, dirfd(dir), folders[i], entry->d_name);
	}
}

static int is_option_file(const struct options *options, const char *path)
{
	for (size_t i = 0; i < options->n_files; i++)
		if (!strcmp(options->files[i], path))
			return 1;
	return 0;
}

int qmr_link_is_same_file(const char *a, const char *b)
{
	if (!strncmp(a, "/usr/lib/", 9))
		a += 4;
	if (!strncmp(b, "/usr/lib/", 9))
		b += 4;
	return !strcmp(a, b);
}

struct qmr_linker {
	const char *module_file; /* borrowed, NULL: not known */
	struct options options;
	struct qmr_module_text text;
};

struct qmr_linker *qmr_linker_new(int root_fd, const char *module, const char *module_file, json_t *notes)
{
	struct qmr_linker *linker = calloc(1, sizeof(*linker));
	struct qmr_error err = {0};

	if (!linker || !module)
		return linker;
	linker->module_file = module_file;
	linker->options.module = module;
	read_options(&linker->options, root_fd);
	if (module_file && qmr_module_text_load(root_fd, module_file, &linker->text, &err) < 0)
		qmr_note(notes, "linking changes: %s", err.text);
	return linker;
}

void qmr_linker_free(struct qmr_linker *linker)
{
	if (linker)
		qmr_module_text_done(&linker->text);
	free(linker);
}

int qmr_linker_has_module(const struct qmr_linker *linker)
{
	return linker && linker->options.module;
}

const char *qmr_linker_module_file(const struct qmr_linker *linker)
{
	return linker ? linker->module_file : NULL;
}

enum qmr_link qmr_linker_of_path(const struct qmr_linker *linker, const char *path)
{
	if (!qmr_linker_has_module(linker))
		return QMR_LINK_NONE;
	if (linker->module_file && qmr_link_is_same_file(path, linker->module_file))
		return QMR_LINK_MODULE_FILE;
	if (qmr_text_has_path(linker->text.data, linker->text.size, path))
		return QMR_LINK_MODULE_STRING;
	if (is_option_file(&linker->options, path) ||
	    qmr_text_has_path(linker->options.text, linker->options.used, path))
		return QMR_LINK_MODULE_OPTION;
	return QMR_LINK_NONE;
}

const char *qmr_link_name(enum qmr_link link)
{
	static const char *const names[] = {NULL,	     "sole-change",   "module-option",
					    "module-string", "package-file", "module-file"};

	return names[link];
}
