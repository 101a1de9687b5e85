/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit-order.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "systemd-files.h"

#define TARGET "multi-user.target"

struct unit {
	char name[NAME_MAX + 1];
	char *after;    /* names of After=, each between spaces */
	int is_late;    /* comes behind boot-complete.target */
	int is_ordered; /* has an order of its own towards the target */
	int is_bare;    /* DefaultDependencies=no: gets none by default */
};

struct units {
	struct unit *items;
	size_t n;
};

static void units_done(struct units *units)
{
	for (size_t i = 0; i < units->n; i++)
		free(units->items[i].after);
	free(units->items);
}

int qmr_unit_order_is_ours(int root_fd)
{
	for (size_t i = 0; i < QMR_SYSTEMD_FOLDERS; i++) {
		char path[PATH_MAX];
		cleanup_closedir DIR *dir = NULL;

		snprintf(path, sizeof(path), "%s/system/boot-complete.target.requires", qmr_systemd_folders[i]);
		dir = qmr_file_open_dir_in_root(root_fd, path);
		if (dir && faccessat(dirfd(dir), "qmr-checks.service", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return 1;
	}
	return 0;
}

static int is_known(const struct units *units, const char *name)
{
	for (size_t i = 0; i < units->n; i++)
		if (!strcmp(units->items[i].name, name))
			return 1;
	return 0;
}

static int add_units(int root_fd, const char *path, struct units *units)
{
	cleanup_closedir DIR *dir = qmr_file_open_dir_in_root(root_fd, path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || is_known(units, entry->d_name))
			continue;
		if (units->n == QMR_UNIT_ORDER_MAX)
			return -E2BIG;
		snprintf(units->items[units->n++].name, NAME_MAX + 1, "%s", entry->d_name);
	}
	return 0;
}

static int list_units(int root_fd, struct units *ret_units, struct qmr_error *err)
{
	static const char *const kinds[] = {"wants", "requires"};

	ret_units->items = calloc(QMR_UNIT_ORDER_MAX, sizeof(*ret_units->items));
	if (!ret_units->items)
		return qmr_error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < 2 * QMR_SYSTEMD_FOLDERS; i++) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/system/" TARGET ".%s", qmr_systemd_folders[i / 2], kinds[i % 2]);
		if (add_units(root_fd, path, ret_units) < 0)
			return qmr_error_set(err, -E2BIG, TARGET " pulls in more than %d units", QMR_UNIT_ORDER_MAX);
	}
	return 0;
}

static int has_word(const char *words, const char *word)
{
	size_t length = strlen(word);
	const char *at = words;

	while (at && (at = strstr(at, word)) && (at[-1] != ' ' || at[length] != ' '))
		at += length;
	return at != NULL;
}

/* After= adds names, an empty one takes back what was there. */
static void take_after(struct unit *unit, const char *value)
{
	char *longer = NULL;

	if (*value && asprintf(&longer, "%s %s ", unit->after ? unit->after : "", value) < 0)
		return; /* no memory: the unit stays as it was read so far */
	for (char *at = longer; at && *at; at++)
		*at = *at == '\t' ? ' ' : *at;
	free(unit->after);
	unit->after = longer;
}

static void take(void *data, const char *section, const char *key, const char *value)
{
	static const char *const no[] = {"no", "n", "false", "f", "off", "0"};
	struct unit *unit = data;

	if (strcmp(section, "Unit"))
		return;
	if (!strcmp(key, "After"))
		take_after(unit, value);
	else if (!strcmp(key, "Before"))
		unit->is_ordered |= strstr(value, TARGET) != NULL;
	else if (!strcmp(key, "DefaultDependencies")) {
		unit->is_bare = 0;
		for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
			unit->is_bare |= !strcasecmp(value, no[i]);
	}
}

/* The files of an instance are those of its template, and its own. */
static void read_unit(int root_fd, struct unit *unit)
{
	const char *at = strchr(unit->name, '@'), *end = strrchr(unit->name, '.');
	char name[NAME_MAX + 16];

	if (at && end > at) {
		snprintf(name, sizeof(name), "system/%.*s%s", (int)(at + 1 - unit->name), unit->name, end);
		(void)!qmr_systemd_read_settings(root_fd, name, take, unit, NULL);
	}
	snprintf(name, sizeof(name), "system/%s", unit->name);
	(void)!qmr_systemd_read_settings(root_fd, name, take, unit, NULL); /* systemd does not start it either, or says why */
	unit->is_ordered |= has_word(unit->after, TARGET);
}

static int is_late(const struct units *units, const struct unit *unit)
{
	if (has_word(unit->after, "boot-complete.target"))
		return 1;
	for (size_t i = 0; i < units->n; i++)
		if (units->items[i].is_late && has_word(unit->after, units->items[i].name))
			return 1;
	return 0;
}

int qmr_unit_order_find(int root_fd, qmr_unit_order_found *found, void *data, struct qmr_error *err)
{
	__attribute__((cleanup(units_done))) struct units units = {0};
	int r = list_units(root_fd, &units, err), again = 1;

	if (r < 0)
		return r;
	for (size_t i = 0; i < units.n; i++)
		read_unit(root_fd, &units.items[i]);
	while (again) { /* what comes behind one that was found */
		again = 0;
		for (size_t i = 0; i < units.n; i++)
			if (!units.items[i].is_late && is_late(&units, &units.items[i]))
				again = units.items[i].is_late = 1;
	}
	for (size_t i = 0; i < units.n && r == 0; i++)
		if (units.items[i].is_late && !units.items[i].is_ordered && !units.items[i].is_bare)
			r = found(data, units.items[i].name, err);
	return r;
}
