/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "loader-once.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "uki-section.h"

#define ENTRIES "loader/entries"
#define STEM QMR_LOADER_RECOVERY "-once"
#define UNUSED STEM "+1.conf"
#define USED STEM "+0-1.conf"
#define UNFINISHED ".qmr-once.new" /* hidden, and no ".conf": nothing to systemd-boot */
#define ROUNDS_MAX 8               /* names that a damaged folder has twice */

/* Before all others: letters and digits come behind '-', which the specification allows. */
static const char text[] = "title Quick machine recovery, started once\n"
			   "sort-key -qmr\n"
			   "architecture x64\n"
			   "efi /" QMR_LOADER_IMAGE "\n";

int qmr_loader_has_systemd_boot(int top)
{
	static const char *const paths[] = {"EFI/systemd/systemd-bootx64.efi", "EFI/BOOT/BOOTX64.EFI"};
	static const char magic[] = "#### LoaderInfo: systemd-boot";

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		cleanup_close int fd = qmr_file_open_in_root(top, paths[i], O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, NULL);
		cleanup_free char *found = NULL;

		if (fd >= 0 && qmr_uki_section_read(fd, ".sdmagic", QMR_LOADER_TEXT_MAX, &found) == 0 &&
		    !strncmp(found, magic, sizeof(magic) - 1))
			return 1;
	}
	return 0;
}

static int is_counted(const struct qmr_loader_menu *menu, const char *cmdline)
{
	for (size_t i = 0; i < menu->n_entries; i++)
		if (menu->entries[i].tries_done > 0 && qmr_loader_entry_is_on_cmdline(&menu->entries[i], cmdline))
			return 1;
	return 0;
}

int qmr_loader_is_counted(int top, const char *cmdline, struct qmr_error *err)
{
	cleanup_free struct qmr_loader_menu *menu = NULL;
	int r = qmr_loader_menu_read(top, 1, &menu, err);

	return r < 0 ? r : is_counted(menu, cmdline);
}

int qmr_loader_entry_is_once(const struct qmr_loader_entry *entry)
{
	return !strcasecmp(entry->id, STEM ".conf");
}

static void drop_once(struct qmr_loader_menu *menu)
{
	size_t kept = 0;

	for (size_t i = 0; i < menu->n_entries; i++)
		if (!qmr_loader_entry_is_once(&menu->entries[i]))
			menu->entries[kept++] = menu->entries[i];
	menu->n_entries = kept;
}

/* What is started by default with the entry in the menu under that name, NULL: without it. 1 if it is the entry. */
static int default_with(const struct qmr_loader_menu *menu, const char *preferred, const char *file, struct qmr_loader_entry *ret,
			struct qmr_error *err)
{
	cleanup_free struct qmr_loader_menu *planned = malloc(sizeof(*planned));
	const struct qmr_loader_entry *entry;
	int r = 0;

	if (!planned)
		return qmr_error_set(err, -ENOMEM, "looking at boot entries: out of memory");
	*planned = *menu;
	if (file && planned->n_entries == QMR_LOADER_ENTRIES_MAX)
		return qmr_error_set(err, -EOPNOTSUPP, "systemd-boot has too many entries");
	if (file)
		r = qmr_loader_entry_parse(file, text, &planned->entries[planned->n_entries++]);
	if (r < 0)
		return qmr_error_set(err, r, "'%s' is no boot entry", file);
	entry = qmr_loader_menu_default(planned, preferred);
	if (!entry)
		return qmr_error_set(err, -EOPNOTSUPP, "systemd-boot has no entry");
	*ret = *entry;
	return qmr_loader_entry_is_once(entry);
}

static int examine_menu(struct qmr_loader_menu *menu, const char *preferred, struct qmr_error *err)
{
	struct qmr_loader_entry now, with, after;
	int r;

	/* "@saved" is the one that was started last: after one run of recovery that would be this entry. */
	if (menu->preferred[0] == '@' || (preferred && *preferred == '@'))
		return qmr_error_set(err, -EOPNOTSUPP, "systemd-boot's default is '%s'", menu->preferred[0] == '@' ? menu->preferred : preferred);
	drop_once(menu);
	r = default_with(menu, preferred, NULL, &now, err);
	if (r < 0)
		return r;
	if (qmr_loader_entry_is_recovery(&now))
		return qmr_error_set(err, -EOPNOTSUPP, "systemd-boot starts recovery by itself: no other entry has a try left");
	r = default_with(menu, preferred, UNUSED, &with, err);
	if (r == 0)
		return qmr_error_set(err, -EOPNOTSUPP, "systemd-boot would start '%s' all the same: a default is set, or its sort-key comes first",
				     with.file);
	if (r > 0)
		r = default_with(menu, preferred, USED, &after, err);
	if (r < 0)
		return r;
	return strcmp(after.file, now.file) || after.unified != now.unified
		       ? qmr_error_set(err, -EOPNOTSUPP, "systemd-boot would start recovery again and again: a default names it")
		       : 0;
}

int qmr_loader_once_examine(int top, const struct qmr_loader_boot *boot, struct qmr_error *err)
{
	cleanup_close int image = qmr_file_open_in_root(top, QMR_LOADER_IMAGE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, NULL);
	cleanup_free struct qmr_loader_menu *menu = NULL;
	int r;

	if (image < 0)
		return qmr_error_set(err, -EOPNOTSUPP, "the recovery image '" QMR_LOADER_IMAGE "' is missing");
	if (qmr_uki_examine(image) < 0)
		return qmr_error_set(err, -EOPNOTSUPP, "the recovery image '" QMR_LOADER_IMAGE "' is damaged");
	if (!qmr_loader_has_systemd_boot(top))
		return qmr_error_set(err, -EOPNOTSUPP, "systemd-boot is not on the EFI system partition any more");
	r = qmr_loader_menu_read(top, 1, &menu, err);
	if (r < 0)
		return r;
	if (!boot->is_counted && !is_counted(menu, boot->cmdline))
		return qmr_error_set(err, -EOPNOTSUPP, "systemd-boot has taken no try off the entry of this boot: without that it would start "
				     "recovery again and again");
	return examine_menu(menu, boot->preferred, err);
}

static int open_entries(int top, struct qmr_error *err)
{
	int fd = qmr_file_open_in_root(top, ENTRIES, O_RDONLY | O_DIRECTORY, 0, NULL);

	return fd < 0 ? qmr_error_errno(err, fd, "opening '" ENTRIES "' of the EFI system partition") : fd;
}

/* Finds a file of ours; systemd-boot, or FAT, may have written its name in capitals. */
static int find(int fd, char ret_name[QMR_LOADER_FILE])
{
	cleanup_closedir DIR *dir = qmr_file_open_dir(fd, ".");
	struct qmr_loader_name name;
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		int is_ours = !strcasecmp(entry->d_name, UNFINISHED) ||
			      (qmr_loader_name_parse(entry->d_name, ".conf", &name) == 0 && name.stem == (int)strlen(STEM) &&
			       !strncasecmp(entry->d_name, STEM, strlen(STEM)));

		if (is_ours && strlen(entry->d_name) < QMR_LOADER_FILE) {
			strcpy(ret_name, entry->d_name);
			return 1;
		}
	}
	return 0;
}

int qmr_loader_once_remove(int top, struct qmr_error *err)
{
	cleanup_close int fd = qmr_file_open_in_root(top, ENTRIES, O_RDONLY | O_DIRECTORY, 0, NULL);
	char name[QMR_LOADER_FILE];
	int n = 0;

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? 0 : qmr_error_errno(err, fd, "opening '" ENTRIES "' of the EFI system partition");
	for (; find(fd, name); n++)
		if (n == ROUNDS_MAX || unlinkat(fd, name, 0) < 0)
			return qmr_error_errno(err, n == ROUNDS_MAX ? -EUCLEAN : -errno, "removing the boot entry '%s'", name);
	return n && fsync(fd) < 0 ? qmr_error_errno(err, -errno, "removing the boot entry '" STEM "'") : n;
}

static int write_unfinished(int fd, struct qmr_error *err)
{
	cleanup_close int file = openat(fd, UNFINISHED, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	int r;

	if (file < 0)
		return qmr_error_errno(err, -errno, "writing '" UNFINISHED "'");
	r = qmr_file_write_all(file, UNFINISHED, text, sizeof(text) - 1, err);
	if (r == 0 && fsync(file) < 0)
		r = qmr_error_errno(err, -errno, "syncing '" UNFINISHED "'");
	return r;
}

/* systemd-boot renames to the used name, and a file of that name would keep it from it: the old one goes first. */
int qmr_loader_once_write(int top, struct qmr_error *err)
{
	int r = qmr_loader_once_remove(top, err);
	cleanup_close int fd = r < 0 ? r : open_entries(top, err);

	if (fd < 0)
		return fd;
	r = write_unfinished(fd, err);
	if (r == 0 && fsync(fd) < 0)
		r = qmr_error_errno(err, -errno, "syncing '" ENTRIES "'");
	if (r == 0)
		r = qmr_file_rename_on_fat(fd, UNFINISHED, UNUSED, err);
	if (r < 0)
		(void)!qmr_loader_once_remove(top, NULL); /* nobody expects it any more; the first error is reported */
	return r < 0 ? r : 0;
}
