/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "qmrctl.h"

/* Debian's initramfs-tools: has it made, and looks into what came out. docs/detector.md says what must be in there. */

#define UPDATE "/usr/sbin/update-initramfs"
#define UNPACK "/usr/bin/unmkinitramfs"
#define UPDATE_S 1800 /* several kernels under software emulation take minutes */
#define UNPACK_S 300
#define PREFIX "initrd.img-"
#define ORDER_BYTES_MAX 65536
#define DROPINS "/etc/qmr/conf.d"

static const struct {
	const char *name, *path; /* below /usr/lib/modules/RELEASE/ */
} drivers[] = {
	{"efivarfs", "kernel/fs/efivarfs/efivarfs.ko"},
	{"efi_pstore", "kernel/drivers/firmware/efi/efi-pstore.ko"},
	{"vfat", "kernel/fs/fat/vfat.ko"},
};

/* Is there such a file, compressed or not? */
static __attribute__((format(printf, 1, 2))) int exists(const char *format, ...)
{
	static const char *const suffixes[] = {"", ".xz", ".zst", ".gz"};
	char path[PATH_MAX];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(path, sizeof(path), format, ap);
	va_end(ap);
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes) && n < (int)sizeof(path) - 8; i++) {
		strcpy(path + n, suffixes[i]);
		if (access(path, F_OK) == 0)
			return 1;
	}
	return 0;
}

/* A driver that is part of the kernel needs no file. */
static int is_built_in(const char *release, const char *path)
{
	cleanup_free char *text = NULL;
	char list[PATH_MAX], line[256];
	size_t size;

	snprintf(list, sizeof(list), "/usr/lib/modules/%s/modules.builtin", release);
	snprintf(line, sizeof(line), "%s\n", path);
	return qmr_file_read(AT_FDCWD, list, 1 << 20, &text, &size, NULL) == 0 && strstr(text, line);
}

static int examine_order(const char *tree, const char *stage, struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	char path[PATH_MAX], scripts[64], own[80], first[128];
	const char *line;
	size_t size;
	int r;

	snprintf(path, sizeof(path), "%s/scripts/%s/ORDER", tree, stage);
	snprintf(scripts, sizeof(scripts), "/scripts/%s/", stage);
	snprintf(own, sizeof(own), "%s00-qmr", scripts);
	r = qmr_file_read(AT_FDCWD, path, ORDER_BYTES_MAX, &text, &size, err);
	if (r < 0)
		return r;
	line = strstr(text, scripts);
	snprintf(first, sizeof(first), "%.*s", line ? (int)strcspn(line, " \n") : 0, line ? line : "");
	if (strcmp(first, own))
		return qmr_error_set(err, -ENOENT, "boot-guard is not the first program of %s, which is '%s'", stage, first);
	return 0;
}

static int examine_copy(const char *tree, const char *path, struct qmr_error *err)
{
	char copy[PATH_MAX];

	if (snprintf(copy, sizeof(copy), "%s%s", tree, path) >= (int)sizeof(copy))
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", path);
	if (access(path, F_OK) < 0 && access(copy, F_OK) < 0)
		return 0;
	return qmrctl_same_file(path, copy) ? 0 : qmr_error_set(err, -ESTALE, "it does not hold the present '%s'", path);
}

/* below: "" or the unpacked tree. Looks at each *.conf there. */
static int examine_dropins(const char *tree, const char *below, struct qmr_error *err)
{
	cleanup_closedir DIR *dir = NULL;
	char path[PATH_MAX];
	struct dirent *entry;
	int r = 0;

	snprintf(path, sizeof(path), "%s" DROPINS, below);
	dir = opendir(path);
	while (r == 0 && dir && (entry = readdir(dir))) {
		size_t length = strlen(entry->d_name);

		if (entry->d_name[0] == '.' || length <= 5 || strcmp(entry->d_name + length - 5, ".conf"))
			continue;
		snprintf(path, sizeof(path), DROPINS "/%s", entry->d_name);
		r = examine_copy(tree, path, err);
	}
	return r;
}

static int examine_tree(const char *tree, const char *release, struct qmr_error *err)
{
	int r = examine_order(tree, "init-top", err);

	if (r == 0)
		r = examine_order(tree, "local-top", err);
	if (r == 0 && !exists("%s/usr/lib/qmr/boot-guard", tree))
		r = qmr_error_set(err, -ENOENT, "boot-guard is not in it");
	if (r == 0)
		r = examine_copy(tree, "/usr/lib/qmr/boot-guard", err);
	if (r == 0)
		r = examine_copy(tree, QMR_CONFIG_PATH, err);
	if (r == 0)
		r = examine_copy(tree, QMRCTL_MACHINE_CONF, err);
	if (r == 0)
		r = examine_dropins(tree, "", err);
	if (r == 0)
		r = examine_dropins(tree, tree, err);
	for (size_t i = 0; r == 0 && i < sizeof(drivers) / sizeof(*drivers); i++)
		if (!exists("%s/usr/lib/modules/%s/%s", tree, release, drivers[i].path) &&
		    !exists("%s/lib/modules/%s/%s", tree, release, drivers[i].path) &&
		    !is_built_in(release, drivers[i].path))
			r = qmr_error_set(err, -ENOENT, "the driver %s is not in it", drivers[i].name);
	return r;
}

static int examine_image(char *image, const char *release, struct qmr_error *err)
{
	char tree[] = "/var/tmp/qmrctl-XXXXXX", main_tree[sizeof(tree) + 8];
	char *argv[] = {UNPACK, image, tree, NULL};
	struct qmr_error why = {0};
	int r;

	if (!mkdtemp(tree))
		return qmr_error_errno(err, -errno, "creating a folder in '/var/tmp'");
	r = qmrctl_run_program(argv, UNPACK_S, &why);
	/* With processor microcode in front, the archive proper is in a folder of its own. */
	snprintf(main_tree, sizeof(main_tree), "%s/main", tree);
	if (r == 0)
		r = examine_tree(access(main_tree, F_OK) == 0 ? main_tree : tree, release, &why);
	if (r < 0)
		(void)qmr_error_set(err, r, "'%s': %s", image, why.text);
	if (qmr_file_remove_tree(AT_FDCWD, tree, &why) < 0)
		qmr_warning("%s; the unpacked initramfs stays in '%s'", why.text, tree);
	return r;
}

/*
 * The next initramfs of an installed kernel: leftovers of update-initramfs (.bak, .new) name none. Returns its release,
 * which is part of ret_path, or NULL at the end.
 */
static const char *next_image(DIR *dir, char ret_path[PATH_MAX])
{
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) ||
		    !exists("/usr/lib/modules/%s", entry->d_name + strlen(PREFIX)))
			continue;
		snprintf(ret_path, PATH_MAX, "/boot/%s", entry->d_name);
		return ret_path + strlen("/boot/" PREFIX);
	}
	return NULL;
}

int qmrctl_initramfs_examine(int *ret_images, struct qmr_error *err)
{
	cleanup_closedir DIR *dir = opendir("/boot");
	const char *release;
	char path[PATH_MAX];
	int images = 0, r = 0;

	while (r == 0 && (release = next_image(dir, path))) {
		r = examine_image(path, release, err);
		images++;
	}
	if (r == 0 && !images)
		r = qmr_error_set(err, -ENOENT, "there is no '/boot/" PREFIX "*' of an installed kernel");
	if (r == 0)
		*ret_images = images;
	return r;
}

int qmrctl_initramfs_is_copy(const char *path)
{
	cleanup_closedir DIR *dir = opendir("/boot");
	char image[PATH_MAX];
	int is_copy = 0;

	while (!is_copy && next_image(dir, image))
		is_copy = qmrctl_same_file(image, path);
	return is_copy;
}

int qmrctl_initramfs_update(struct qmr_error *err)
{
	char *argv[] = {UPDATE, "-u", "-k", "all", NULL};

	if (access(UPDATE, X_OK) < 0 || access(UNPACK, X_OK) < 0)
		return qmr_error_set(err, -EOPNOTSUPP, "'%s' or '%s' is missing: only initramfs-tools is supported; dracut and "
				     "mkinitcpio are not yet", UPDATE, UNPACK);
	return qmrctl_run_program(argv, UPDATE_S, err);
}

int qmrctl_step_initramfs(struct qmrctl *ctl, struct qmr_error *err)
{
	int images, r = qmrctl_initramfs_examine(&images, NULL);

	if (r == 0) {
		qmrctl_say(ctl, "boot-guard is already first in all (%d)", images);
		return 0;
	}
	r = qmrctl_initramfs_update(err);
	if (r == 0)
		r = qmrctl_initramfs_examine(&images, err);
	if (r == 0)
		qmrctl_say(ctl, "made anew, boot-guard is first in all (%d)", images);
	return r;
}
