/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "loader-once.h"
#include "log.h"
#include "qmrctl.h"

/*
 * systemd-boot shows entries with a sort-key before those without. The recovery image has one, so that beside entries
 * without it would become what is booted every day.
 */

#define PLACES 2 /* ESP, extended boot loader partition */

static const char *place_path(const struct qmrctl *ctl, int place)
{
	return place == 0 ? ctl->machine.esp_path : ctl->machine.xbootldr_path;
}

int qmrctl_loader_is_used(const struct qmrctl *ctl)
{
	static const char *const signs[] = {"loader/entries", "loader/loader.conf", "EFI/systemd/systemd-bootx64.efi"};
	char path[PATH_MAX];

	for (int place = 0; place < PLACES; place++)
		for (size_t i = 0; *place_path(ctl, place) && i < sizeof(signs) / sizeof(*signs); i++)
			if (snprintf(path, sizeof(path), "%s/%s", place_path(ctl, place), signs[i]) < (int)sizeof(path) &&
			    access(path, F_OK) == 0)
				return 1;
	return 0;
}

int qmrctl_loader_is_systemd_boot(const struct qmrctl *ctl)
{
	cleanup_close int fd = open(ctl->machine.esp_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 && qmr_loader_has_systemd_boot(fd);
}

int qmrctl_loader_read_menu(const struct qmrctl *ctl, struct qmr_loader_menu *menu, struct qmr_error *err)
{
	int r = 0;

	for (int place = 0; r == 0 && place < PLACES; place++) {
		cleanup_close int fd = -1;

		if (!*place_path(ctl, place))
			continue;
		fd = open(place_path(ctl, place), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return qmr_error_errno(err, -errno, "opening folder '%s'", place_path(ctl, place));
		r = qmr_loader_menu_add(menu, fd, place, place == 0, err);
	}
	return r;
}

/* The entry that is booted every day as things are without recovery, a copy; -ENOENT without any. */
static int default_without_recovery(const struct qmr_loader_menu *menu, const char *preferred,
				    struct qmr_loader_entry *ret_entry)
{
	cleanup_free struct qmr_loader_menu *others = calloc(1, sizeof(*others));
	const struct qmr_loader_entry *entry;

	if (!others)
		return -ENOMEM;
	strcpy(others->preferred, menu->preferred);
	for (size_t i = 0; i < menu->n_entries; i++)
		if (!qmr_loader_entry_is_recovery(&menu->entries[i]))
			others->entries[others->n_entries++] = menu->entries[i];
	entry = qmr_loader_menu_default(others, preferred);
	if (!entry)
		return -ENOENT;
	*ret_entry = *entry;
	return 0;
}

static void read_sort_key(char ret_key[128])
{
	static const char *const files[] = {"/etc/os-release", "/usr/lib/os-release"};

	for (size_t i = 0; i < 2; i++) {
		cleanup_close int fd = open(files[i], O_RDONLY | O_CLOEXEC);
		cleanup_free char *text = NULL;
		size_t size;

		if (fd >= 0 && qmr_file_read_fd(fd, files[i], QMR_LOADER_TEXT_MAX, &text, &size, NULL) == 0 &&
		    qmr_loader_os_release_get(text, "ID", ret_key, 128) == 0)
			return;
	}
	strcpy(ret_key, "linux"); /* os-release(5): the default of ID */
}

static int write_sort_key(const struct qmrctl *ctl, const struct qmr_loader_entry *entry, const char *key,
			  struct qmr_error *err)
{
	cleanup_free char *old = NULL, *text = NULL;
	char path[PATH_MAX];
	size_t size;
	int r;

	if (snprintf(path, sizeof(path), "%s/loader/entries/%s", place_path(ctl, entry->place), entry->file) >=
	    (int)sizeof(path))
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", entry->file);
	r = qmr_file_read(AT_FDCWD, path, QMR_LOADER_TEXT_MAX, &old, &size, err);
	if (r < 0)
		return r;
	text = qmr_loader_entry_add_sort_key(old, key);
	if (!text)
		return qmr_error_set(err, -ENOMEM, "writing '%s': out of memory", path);
	return qmr_file_replace_on_fat(path, text, strlen(text), err);
}

static int refuse(struct qmr_error *err, const struct qmr_loader_entry *would, const struct qmr_loader_entry *is)
{
	if (qmr_loader_entry_is_recovery(would))
		return qmr_error_set(err, -EEXIST, "systemd-boot would boot recovery every day instead of '%s'; look at the boot "
				     "counters (+0), sort-key and 'default' in loader.conf", is->file);
	return qmr_error_set(err, -EEXIST, "with sort-key added to entries that have none, systemd-boot would boot '%s' every day "
			     "instead of '%s'; give all entries a sort-key yourself", would->file, is->file);
}

/* A unified image without one cannot be given one: it is inside, and may be signed. */
static int lacks_sort_key(const struct qmr_loader_entry *entry)
{
	return !entry->has_sort_key && !entry->unified;
}

/* Fills menu, what is booted every day without recovery, and with it once every entry has a sort-key. */
static int examine(const struct qmrctl *ctl, struct qmr_loader_menu *menu, const char *key, int *ret_missing,
		   struct qmr_error *err)
{
	struct qmr_loader_entry before;
	const struct qmr_loader_entry *after;
	cleanup_free struct qmr_loader_menu *planned = NULL;
	char preferred[QMR_LOADER_VALUE];
	int missing = 0, r = qmrctl_loader_read_menu(ctl, menu, err);

	if (r < 0)
		return r;
	/* What `bootctl set-default` sets. */
	if (ctl->no_variables || qmr_loader_variable("LoaderEntryDefault", preferred) < 0)
		preferred[0] = '\0';
	r = default_without_recovery(menu, preferred, &before);
	if (r < 0)
		return qmr_error_set(err, r, "systemd-boot has no entry but recovery");
	planned = malloc(sizeof(*planned));
	if (!planned)
		return qmr_error_set(err, -ENOMEM, "looking at boot entries: out of memory");
	*planned = *menu;
	planned->n_entries = 0;
	for (size_t i = 0; i < menu->n_entries; i++) {
		struct qmr_loader_entry *e = &planned->entries[planned->n_entries];

		if (qmr_loader_entry_is_once(&menu->entries[i]))
			continue; /* it was asked for, and goes away */
		*e = menu->entries[i];
		planned->n_entries++;
		if (!lacks_sort_key(e))
			continue;
		missing++;
		e->has_sort_key = 1;
		snprintf(e->sort_key, sizeof(e->sort_key), "%s", key);
	}
	after = qmr_loader_menu_default(planned, preferred);
	*ret_missing = missing;
	return strcmp(after->file, before.file) || after->place != before.place ? refuse(err, after, &before) : 0;
}

/*
 * systemd-boot reads the copies that kernel-install(8) or somebody's hook made: one that was not renewed starts a system
 * without boot-guard, or with an old configuration.
 */
static int require_fresh_initrds(const struct qmrctl *ctl, const struct qmr_loader_menu *menu, struct qmr_error *err)
{
	for (size_t i = 0; i < menu->n_entries; i++) {
		const struct qmr_loader_entry *e = &menu->entries[i];
		char path[PATH_MAX];

		if (!e->initrd[0] ||
		    snprintf(path, sizeof(path), "%s/%s", place_path(ctl, e->place), e->initrd + strspn(e->initrd, "/\\")) >=
			    (int)sizeof(path))
			continue;
		for (char *p = path; *p; p++)
			if (*p == '\\')
				*p = '/';
		if (!qmrctl_initramfs_is_copy(path))
			return qmr_error_set(err, -ESTALE, "'%s', which systemd-boot's entry '%s' starts, is no copy of an "
					     "initramfs in /boot: boot-guard may be missing or old there", path, e->file);
	}
	return 0;
}

/* Reads the menu, refuses one in which recovery would be the everyday entry, adds what is missing if so asked. */
static int go_through(struct qmrctl *ctl, int change, int *ret_missing, struct qmr_error *err)
{
	cleanup_free struct qmr_loader_menu *menu = calloc(1, sizeof(*menu));
	struct qmr_error stale = {0};
	char key[128];
	int r;

	if (!menu)
		return qmr_error_set(err, -ENOMEM, "looking at boot entries: out of memory");
	read_sort_key(key);
	r = examine(ctl, menu, key, ret_missing, err);
	for (size_t i = 0; r == 0 && change && i < menu->n_entries; i++)
		if (lacks_sort_key(&menu->entries[i]))
			r = write_sort_key(ctl, &menu->entries[i], key, err);
	if (r < 0 || require_fresh_initrds(ctl, menu, &stale) == 0)
		return r;
	if (change)
		qmr_warning("%s; renew it", stale.text);
	return change ? 0 : qmr_error_set(err, stale.code, "%s", stale.text);
}

int qmrctl_step_loader(struct qmrctl *ctl, struct qmr_error *err)
{
	int missing = 0, r;

	if (!qmrctl_loader_is_used(ctl)) {
		qmrctl_say(ctl, "systemd-boot is not used; nothing to do");
		return 0;
	}
	r = go_through(ctl, 1, &missing, err);
	if (r == 0 && missing)
		qmrctl_say(ctl, "systemd-boot: sort-key added to %d entries, so that recovery is not the everyday one", missing);
	else if (r == 0)
		qmrctl_say(ctl, "systemd-boot: recovery is not the everyday entry");
	return r;
}

int qmrctl_loader_examine(struct qmrctl *ctl, struct qmr_error *err)
{
	int missing = 0, r = qmrctl_loader_is_used(ctl) ? go_through(ctl, 0, &missing, err) : 0;

	if (r == 0 && missing)
		r = qmr_error_set(err, -EEXIST, "%d of systemd-boot's entries have no sort-key: recovery would be booted instead of "
				  "them", missing);
	return r;
}
