/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "programs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "elf-file.h"
#include "file.h"

#define ELF_BYTES_MAX (128U << 20)
#define DEPTH_MAX 32
#define FOLDERS_MAX 64
#define CONF_BYTES_MAX 65536

struct program {
	const char *path;
	const char *package; /* that brings it, for messages; NULL: optional */
};

static const struct program programs[] = {
	{"/usr/lib/qmr/recovery-init", "qmr"},
	{"/usr/lib/qmr/recovery-state", "qmr"},
	{"/usr/lib/qmr/dhcp-hook", "qmr"},
	{"/usr/lib/qmr/crash-collect", "qmr"},
	{"/usr/lib/qmr/diag-upload", "qmr"},
	{"/usr/lib/qmr/remediation-fetch", "qmr"},
	{"/usr/lib/qmr/remediation-apply", "qmr"},
	{"/usr/sbin/e2fsck", "e2fsprogs"},
	{"/usr/sbin/dhcpcd", "dhcpcd"},
	{"/usr/sbin/fsck.fat", NULL},
};

/* What programs open by dlopen(3), which no ELF file tells: pthread_exit() and backtrace(3) want it. */
static const char *const opened_libraries[] = {"libgcc_s.so.1"};

static const struct {
	const char *path, *target;
} links[] = {
	{"usr/sbin/fsck.ext4", "e2fsck"},
	{"usr/sbin/fsck.vfat", "fsck.fat"},
	{"init", "usr/lib/qmr/recovery-init"},
};

/* Where every dynamic loader of x86-64 looks without a configuration. */
static const char *const standard_folders[] = {
	"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib",
};

struct search {
	struct qmr_image *image;
	char *configured[FOLDERS_MAX]; /* folders of ld.so.conf */
	size_t n_configured;
	const char *standard; /* the standard folder that the root has */
	char loader[QMR_ELF_NAME_BYTES]; /* name of the dynamic loader, which is there before any library asks for it */
	int depth;
};

static int add_elf(struct search *search, const char *path, const char *source, uint16_t machine,
		   struct qmr_error *err);

static void search_done(struct search *search)
{
	for (size_t i = 0; i < search->n_configured; i++)
		free(search->configured[i]);
}

/* Reads folders out of a file in the form of ld.so.conf(5); "include" is covered by reading ld.so.conf.d. */
static int read_conf(struct search *search, int dir_fd, const char *name, struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	char *rest = NULL;
	size_t size;
	int r = qmr_file_read(dir_fd, name, CONF_BYTES_MAX, &text, &size, err);

	if (r < 0)
		return r == -ENOENT || r == -ELOOP || r == -EINVAL ? 0 : r;
	for (char *line = strtok_r(text, " \t\n:,", &rest); line; line = strtok_r(NULL, " \t\n:,", &rest)) {
		if (*line == '#') {
			rest += strcspn(rest, "\n");
			continue;
		}
		if (*line != '/' || search->n_configured == FOLDERS_MAX)
			continue;
		search->configured[search->n_configured] = strdup(line);
		if (!search->configured[search->n_configured])
			return qmr_error_set(err, -ENOMEM, "reading '%s': out of memory", name);
		search->n_configured++;
	}
	return 0;
}

static int only_conf(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return length > 5 && !strcmp(entry->d_name + length - 5, ".conf");
}

static int read_configured(struct search *search, struct qmr_error *err)
{
	cleanup_close int dir_fd =
		qmr_file_open_in_root(search->image->root_fd, "etc/ld.so.conf.d", O_RDONLY | O_DIRECTORY, 0, NULL);
	struct dirent **names = NULL;
	int n, r = 0;

	if (dir_fd < 0)
		return 0;
	n = scandirat(dir_fd, ".", &names, only_conf, alphasort);
	for (int i = 0; i < n; i++) {
		if (r == 0)
			r = read_conf(search, dir_fd, names[i]->d_name, err);
		free(names[i]);
	}
	free(names);
	return n < 0 ? qmr_error_errno(err, -errno, "reading 'etc/ld.so.conf.d'") : r;
}

static int read_elf(const struct search *search, const char *source, struct qmr_elf *ret_elf, struct qmr_error *err)
{
	cleanup_close int fd = qmr_file_open_in_root(search->image->root_fd, source, O_RDONLY | O_NONBLOCK, 0, err);
	struct qmr_error why = {0};
	cleanup_free char *data = NULL;
	size_t size;
	int r;

	if (fd < 0)
		return fd;
	r = qmr_file_read_fd(fd, source, ELF_BYTES_MAX, &data, &size, err);
	if (r < 0)
		return r;
	r = qmr_elf_read(data, size, ret_elf, &why);
	return r < 0 ? qmr_error_set(err, r, "reading '%s': %s", source, why.text) : 0;
}

/* Adds name if it lies in folder and fits the machine: 0, or -ENOENT if it does not. */
static int try_folder(struct search *search, const char *folder, const char *into, const char *name, uint16_t machine,
		      struct qmr_error *err)
{
	char source[PATH_MAX], path[PATH_MAX];
	cleanup_close int fd = -1;

	if (snprintf(source, sizeof(source), "%s/%s", folder, name) >= (int)sizeof(source) ||
	    snprintf(path, sizeof(path), "%s/%s", into, name) >= (int)sizeof(path))
		return -ENOENT;
	fd = qmr_file_open_in_root(search->image->root_fd, source, O_PATH, 0, NULL);
	if (fd < 0)
		return -ENOENT;
	return add_elf(search, path, source, machine, err);
}

/* Tries each folder of DT_RUNPATH; $ORIGIN is the folder of the file that has it. */
static int try_search_path(struct search *search, const char *search_path, const char *wanter, const char *name,
			   uint16_t machine, struct qmr_error *err)
{
	char list[QMR_ELF_PATH_BYTES], folder[PATH_MAX];
	char *rest = NULL;

	snprintf(list, sizeof(list), "%s", search_path);
	for (char *item = strtok_r(list, ":", &rest); item; item = strtok_r(NULL, ":", &rest)) {
		size_t skip = !strncmp(item, "$ORIGIN", 7) ? 7 : !strncmp(item, "${ORIGIN}", 9) ? 9 : 0;
		const char *slash = strrchr(wanter, '/');
		int r;

		if (snprintf(folder, sizeof(folder), "%.*s%s", skip && slash ? (int)(slash - wanter) : 0, wanter,
			     item + skip) >= (int)sizeof(folder) || folder[0] != '/')
			continue;
		r = try_folder(search, folder, folder, name, machine, err);
		if (r != -ENOENT && r != -ENOEXEC)
			return r;
	}
	return -ENOENT;
}

static int add_library(struct search *search, const char *name, const char *search_path, const char *wanter,
		       uint16_t machine, struct qmr_error *err)
{
	int r;

	if (!strcmp(name, search->loader))
		return 0;
	if (strchr(name, '/'))
		return add_elf(search, name, name, machine, err);
	r = try_search_path(search, search_path, wanter, name, machine, err);
	if (r != -ENOENT)
		return r;
	for (size_t i = 0; i < sizeof(standard_folders) / sizeof(*standard_folders); i++) {
		r = try_folder(search, standard_folders[i], standard_folders[i], name, machine, err);
		if (r != -ENOENT && r != -ENOEXEC) /* another architecture's library is passed over */
			return r;
	}
	for (size_t i = 0; i < search->n_configured; i++) {
		r = try_folder(search, search->configured[i], search->standard, name, machine, err);
		if (r != -ENOENT && r != -ENOEXEC)
			return r;
	}
	return qmr_error_set(err, -ENXIO, "library '%s', which '%s' needs, is not in the root", name, wanter);
}

static int add_needed(struct search *search, const struct qmr_elf *elf, const char *path, struct qmr_error *err)
{
	int r = 0;

	if (search->depth == DEPTH_MAX)
		return qmr_error_set(err, -ELOOP, "'%s' is needed through too many libraries", path);
	search->depth++;
	if (elf->interpreter[0]) {
		const char *slash = strrchr(elf->interpreter, '/');

		snprintf(search->loader, sizeof(search->loader), "%.*s", QMR_ELF_NAME_BYTES - 1,
			 slash ? slash + 1 : elf->interpreter);
		r = add_elf(search, elf->interpreter, elf->interpreter, elf->machine, err);
	}
	for (size_t i = 0; r == 0 && i < elf->n_needed; i++)
		r = add_library(search, elf->needed[i], elf->search_path, path, elf->machine, err);
	search->depth--;
	return r;
}

/* Adds the ELF file source as path, with all it needs. machine 0: any. -ENOEXEC if it is for another machine. */
static int add_elf(struct search *search, const char *path, const char *source, uint16_t machine,
		   struct qmr_error *err)
{
	cleanup_free struct qmr_elf *elf = NULL;
	int r;

	if (qmr_image_find(search->image, path))
		return 0;
	elf = malloc(sizeof(*elf));
	if (!elf)
		return qmr_error_set(err, -ENOMEM, "reading '%s': out of memory", source);
	r = read_elf(search, source, elf, err);
	if (r < 0)
		return r;
	if (machine && elf->machine != machine)
		return qmr_error_set(err, -ENOEXEC, "'%s' is for another kind of processor", source);
	r = qmr_image_add_file(search->image, path, 0755, source, err);
	return r == 0 ? add_needed(search, elf, path, err) : r;
}

static int add_programs(struct search *search, struct qmr_error *err)
{
	for (size_t i = 0; i < sizeof(programs) / sizeof(*programs); i++) {
		const struct program *program = &programs[i];
		int fd = qmr_file_open_in_root(search->image->root_fd, program->path, O_PATH, 0, NULL);
		int r;

		if (fd < 0 && program->package)
			return qmr_error_set(err, -ENOENT, "'%s' is missing in the root; package %s brings it",
					     program->path, program->package);
		if (fd < 0)
			continue;
		close(fd);
		r = add_elf(search, program->path, program->path, 0, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The architecture's libraries, as the first program has it. */
static int add_opened(struct search *search, struct qmr_error *err)
{
	cleanup_free struct qmr_elf *elf = malloc(sizeof(*elf));
	int r = elf ? read_elf(search, programs[0].path, elf, err) : -ENOMEM;

	for (size_t i = 0; r == 0 && i < sizeof(opened_libraries) / sizeof(*opened_libraries); i++) {
		r = add_library(search, opened_libraries[i], "", programs[0].path, elf->machine, err);
		if (r == -ENXIO)
			r = 0; /* without it, only a backtrace is missing */
	}
	return r;
}

static int add_links(struct qmr_image *image, struct qmr_error *err)
{
	for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++) {
		char path[PATH_MAX];
		const char *slash = strrchr(links[i].path, '/');
		int r;

		/* A target is relative to its link; an optional program's link goes with it. */
		snprintf(path, sizeof(path), "%.*s/%s", slash ? (int)(slash - links[i].path) : 0, links[i].path,
			 links[i].target);
		if (!qmr_image_find(image, path))
			continue;
		r = qmr_image_add_link(image, links[i].path, links[i].target, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int qmr_programs_add(struct qmr_image *image, struct qmr_error *err)
{
	QMR_CLEANUP(search_done) struct search search = {.image = image, .standard = "/usr/lib"};
	int r = read_configured(&search, err);

	for (size_t i = 0; i < sizeof(standard_folders) / sizeof(*standard_folders); i++) {
		cleanup_close int fd = qmr_file_open_in_root(image->root_fd, standard_folders[i], O_PATH, 0, NULL);

		if (fd >= 0) {
			search.standard = standard_folders[i];
			break;
		}
	}
	if (r == 0)
		r = add_programs(&search, err);
	if (r == 0)
		r = add_opened(&search, err);
	return r == 0 ? add_links(image, err) : r;
}
