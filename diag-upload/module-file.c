/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "module-file.h"

#include <ctype.h>
#include <dirent.h>
#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "form.h"

#define MODULES_DEP_MAX (16U << 20)
#define MODULE_BYTES_MAX (64U << 20)
#define WALK_DEPTH 8
#define WALK_ENTRIES 20000

static int is_name(const char *s, const char *more)
{
	if (!*s || *s == '.')
		return 0;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr(more, *s))
			return 0;
	return 1;
}

/* Whether a path ends in the file of module: "<name>.ko", ".ko.xz", ".ko.zst", ".ko.gz". */
static int is_file_of(const char *path, size_t length, const char *module)
{
	const char *name = memrchr(path, '/', length);
	char stem[128];
	const char *ko;
	size_t n;

	name = name ? name + 1 : path;
	n = length - (size_t)(name - path);
	if (n >= sizeof(stem))
		return 0;
	memcpy(stem, name, n);
	stem[n] = '\0';
	ko = strstr(stem, ".ko");
	if (!ko || (strcmp(ko, ".ko") && strcmp(ko, ".ko.xz") && strcmp(ko, ".ko.zst") && strcmp(ko, ".ko.gz")))
		return 0;
	stem[ko - stem] = '\0';
	return qmr_form_is_same_module(stem, module);
}

/* "path: dependencies", relative to the folder (modules.dep(5)). */
static int find_in_dep(int fd, const char *folder, const char *module, char ret_path[QMR_MODULE_PATH])
{
	cleanup_free char *data = NULL;
	size_t size;

	if (qmr_file_read(fd, "modules.dep", MODULES_DEP_MAX, &data, &size, NULL) < 0)
		return -ENOENT;
	for (char *line = data, *next; line < data + size; line = next) {
		size_t length = strcspn(line, "\n"), path_length;
		const char *colon = memchr(line, ':', length);

		next = line + length + 1;
		if (!colon)
			continue;
		path_length = (size_t)(colon - line);
		if (!is_file_of(line, path_length, module) || path_length > 700)
			continue;
		if (*line == '/')
			snprintf(ret_path, QMR_MODULE_PATH, "%.*s", (int)path_length, line);
		else
			snprintf(ret_path, QMR_MODULE_PATH, "%s/%.*s", folder, (int)path_length, line);
		return 0;
	}
	return -ENOENT;
}

/* Takes over fd; below 0: nothing is found. */
static int find_in_folder(int fd, const char *folder, const char *module, int depth, unsigned int *entries,
			  char ret_path[QMR_MODULE_PATH])
{
	cleanup_closedir DIR *dir = qmr_file_take_dir(fd);
	struct dirent *entry;
	char path[QMR_MODULE_PATH];

	while (dir && (entry = readdir(dir)) && ++*entries < WALK_ENTRIES) {
		struct stat st;
		int child;

		if (entry->d_name[0] == '.' || fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) >= (int)sizeof(path))
			continue;
		if (S_ISREG(st.st_mode) && is_file_of(entry->d_name, strlen(entry->d_name), module)) {
			memcpy(ret_path, path, sizeof(path));
			return 0;
		}
		if (!S_ISDIR(st.st_mode) || depth == 0)
			continue;
		child = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (find_in_folder(child, path, module, depth - 1, entries, ret_path) == 0)
			return 0;
	}
	return -ENOENT;
}

int qmr_module_file_find(int root_fd, const char *kernel, const char *module, char ret_path[QMR_MODULE_PATH],
			 struct qmr_error *err)
{
	static const char *const places[] = {"/usr/lib/modules", "/lib/modules"};
	static const char *const sub_folders[] = {"updates", "extra"};

	if (!is_name(kernel, "._+~-") || strlen(kernel) > 64 || !is_name(module, "_-"))
		return qmr_error_set(err, -EINVAL, "'%s' of kernel '%s' cannot be a module", module, kernel);
	for (size_t i = 0; i < 2; i++) {
		char folder[160], path[200];
		cleanup_close int fd = -1;

		snprintf(folder, sizeof(folder), "%s/%s", places[i], kernel);
		fd = qmr_file_open_in_root(root_fd, folder, O_RDONLY | O_DIRECTORY, 0, err);
		if (fd < 0)
			continue;
		if (find_in_dep(fd, folder, module, ret_path) == 0)
			return 0;
		for (size_t j = 0; j < 2; j++) {
			unsigned int entries = 0;
			int child = openat(fd, sub_folders[j], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			snprintf(path, sizeof(path), "%s/%s", folder, sub_folders[j]);
			if (child >= 0 &&
			    find_in_folder(child, path, module, WALK_DEPTH, &entries, ret_path) == 0)
				return 0;
		}
	}
	return qmr_error_set(err, -ENOENT, "no file of module '%s' for kernel '%s' found", module, kernel);
}

void qmr_module_text_done(struct qmr_module_text *text)
{
	free(text->data);
	memset(text, 0, sizeof(*text));
}

static uint64_t get_le(const char *p, size_t bytes)
{
	uint64_t value = 0;

	for (size_t i = bytes; i-- > 0;)
		value = value << 8 | (unsigned char)p[i];
	return value;
}

/* The table of sections, within the file. */
struct sections {
	const char *table;
	uint64_t entry_size, n;
};

static int find_sections(const char *data, size_t size, struct sections *ret)
{
	uint64_t table;

	if (size < sizeof(Elf64_Ehdr) || memcmp(data, ELFMAG, SELFMAG) || data[EI_CLASS] != ELFCLASS64 ||
	    data[EI_DATA] != ELFDATA2LSB)
		return -EINVAL;
	table = get_le(data + offsetof(Elf64_Ehdr, e_shoff), 8);
	ret->entry_size = get_le(data + offsetof(Elf64_Ehdr, e_shentsize), 2);
	ret->n = get_le(data + offsetof(Elf64_Ehdr, e_shnum), 2);
	if (ret->entry_size < sizeof(Elf64_Shdr) || table > size || ret->n * ret->entry_size > size - table)
		return -EINVAL;
	ret->table = data + table;
	return 0;
}

/* Moves the sections' bytes together, with a NUL byte between them; 0 if the file is not what we can read. */
static size_t keep_data_sections(const char *data, size_t size, char *to)
{
	struct sections sections;
	size_t used = 0;

	if (find_sections(data, size, &sections) < 0)
		return 0;
	for (uint64_t i = 0; i < sections.n; i++) {
		const char *header = sections.table + i * sections.entry_size;
		uint64_t flags = get_le(header + offsetof(Elf64_Shdr, sh_flags), 8);
		uint64_t offset = get_le(header + offsetof(Elf64_Shdr, sh_offset), 8);
		uint64_t length = get_le(header + offsetof(Elf64_Shdr, sh_size), 8);

		if (get_le(header + offsetof(Elf64_Shdr, sh_type), 4) != SHT_PROGBITS || !(flags & SHF_ALLOC) ||
		    (flags & SHF_EXECINSTR))
			continue;
		/* Sections may overlap in a hostile file: never more than the file's size in all. */
		if (offset > size || length > size - offset || length >= size - used)
			return 0;
		memcpy(to + used, data + offset, length);
		used += length;
		to[used++] = '\0';
	}
	return used;
}

/* The bytes of a section's entry in the file; NULL if they are not all there. */
static const char *section_bytes(const char *data, size_t size, const char *header, uint64_t *ret_length)
{
	uint64_t offset = get_le(header + offsetof(Elf64_Shdr, sh_offset), 8);

	*ret_length = get_le(header + offsetof(Elf64_Shdr, sh_size), 8);
	return offset > size || *ret_length > size - offset ? NULL : data + offset;
}

int qmr_module_version_find(const char *data, size_t size, char ret_version[QMR_MODULE_VERSION])
{
	static const char name[] = ".modinfo", key[] = "version=";
	struct sections sections;
	const char *names, *info = NULL, *end, *next;
	uint64_t names_length, length = 0, index;

	if (find_sections(data, size, &sections) < 0)
		return -EINVAL;
	index = get_le(data + offsetof(Elf64_Ehdr, e_shstrndx), 2);
	names = index < sections.n ? section_bytes(data, size, sections.table + index * sections.entry_size, &names_length) : NULL;
	for (uint64_t i = 0; names && !info && i < sections.n; i++) {
		const char *header = sections.table + i * sections.entry_size;
		uint64_t at = get_le(header + offsetof(Elf64_Shdr, sh_name), 4);

		if (at < names_length && names_length - at >= sizeof(name) && !memcmp(names + at, name, sizeof(name)))
			info = section_bytes(data, size, header, &length);
	}
	end = info ? info + length : NULL;
	for (const char *text = info; text && text < end; text = next) {
		const char *stop = memchr(text, '\0', (size_t)(end - text));
		size_t n = (size_t)((stop ? stop : end) - text);

		next = stop ? stop + 1 : end;
		if (n < sizeof(key) || n - sizeof(key) + 1 >= QMR_MODULE_VERSION || memcmp(text, key, sizeof(key) - 1))
			continue;
		memcpy(ret_version, text + sizeof(key) - 1, n - sizeof(key) + 1);
		ret_version[n - sizeof(key) + 1] = '\0';
		return 0;
	}
	return -ENOENT;
}

int qmr_module_version_load(int root_fd, const char *path, char ret_version[QMR_MODULE_VERSION], struct qmr_error *err)
{
	cleanup_close int fd = qmr_file_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, err);
	cleanup_free char *data = NULL;
	size_t size;
	int r = fd < 0 ? fd : qmr_file_read_fd(fd, path, MODULE_BYTES_MAX, &data, &size, err);

	if (r < 0)
		return r;
	r = qmr_module_version_find(data, size, ret_version);
	if (r == -EINVAL)
		return qmr_error_set(err, r, "'%s' is compressed or no 64-bit ELF file: its version is not read", path);
	return r < 0 ? qmr_error_set(err, r, "'%s' states no version", path) : 0;
}

int qmr_module_text_load(int root_fd, const char *path, struct qmr_module_text *ret_text, struct qmr_error *err)
{
	cleanup_close int fd = -1;
	cleanup_free char *data = NULL;
	size_t size, length = strlen(path);
	char *sections;
	int r;

	if (length < 3 || strcmp(path + length - 3, ".ko"))
		return qmr_error_set(err, -ENOTSUP, "'%s' is compressed, paths in it are not looked for", path);
	fd = qmr_file_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, err);
	if (fd < 0)
		return fd;
	r = qmr_file_read_fd(fd, path, MODULE_BYTES_MAX, &data, &size, err);
	if (r < 0)
		return r;
	sections = malloc(size + 1);
	if (!sections)
		return qmr_error_set(err, -ENOMEM, "reading '%s': out of memory", path);
	ret_text->data = sections;
	ret_text->size = keep_data_sections(data, size, sections);
	if (!ret_text->size) {
		memcpy(sections, data, size);
		ret_text->size = size;
	}
	return 0;
}

static int is_path_char(char c)
{
	return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '-';
}

static int ends_text(const char *p, const char *end)
{
	return p == end || !*p || isspace((unsigned char)*p) || *p == '"' || *p == '\'' || *p == ',';
}

enum match { MATCH_FILE, MATCH_FOLDER, MATCH_ANCESTOR };

static int stands_alone(const char *after, const char *end, enum match match)
{
	switch (match) {
	case MATCH_FILE:
		return after == end || (!is_path_char(*after) && *after != '/');
	case MATCH_FOLDER:
		return after == end || !is_path_char(*after);
	case MATCH_ANCESTOR:
		if (ends_text(after, end))
			return 1;
		return *after == '/' && (ends_text(after + 1, end) || after[1] == '%');
	}
	return 0;
}

static int has(const char *text, size_t size, const char *path, size_t length, enum match match)
{
	const char *end = text + size;

	for (const char *p = text; (p = memmem(p, (size_t)(end - p), path, length)); p++)
		if ((p == text || !is_path_char(p[-1])) && stands_alone(p + length, end, match))
			return 1;
	return 0;
}

int qmr_text_has_path(const char *text, size_t size, const char *path)
{
	size_t length = strlen(path);
	enum match match = MATCH_FILE;

	if (!size || *path != '/')
		return 0;
	for (;;) {
		const char *slash = memrchr(path, '/', length);

		/* A lone top-level name ("/opt", "/vmlinuz") says nothing. */
		if (!slash || slash == path)
			return 0;
		if (has(text, size, path, length, match))
			return 1;
		length = (size_t)(slash - path);
		match = match == MATCH_FILE ? MATCH_FOLDER : MATCH_ANCESTOR;
	}
}
