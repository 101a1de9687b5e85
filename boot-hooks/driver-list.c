/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "driver-list.h"

#include <dirent.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"

#define ALIAS_BYTES 256

void qmr_driver_list_parse(char *text, struct qmr_driver_list *ret_list)
{
	char *place = NULL;

	*ret_list = (struct qmr_driver_list){0};
	for (char *line = strtok_r(text, "\n", &place); line && ret_list->n < QMR_DRIVERS_MAX; line = strtok_r(NULL, "\n", &place)) {
		size_t length = strcspn(line, " ");

		if (!length || *line == '-')
			continue;
		ret_list->modules[ret_list->n].aliases = line + length + strspn(line + length, " ");
		line[length] = '\0'; /* a second end where there were no aliases */
		ret_list->modules[ret_list->n++].name = line;
	}
}

static int is_alias_of(const char *aliases, const char *device)
{
	for (size_t length; *aliases; aliases += length + strspn(aliases + length, " ")) {
		const size_t fixed = strcspn(aliases, "*?[\\ ");
		char alias[ALIAS_BYTES];

		length = strcspn(aliases, " ");
		if (length >= sizeof(alias) || strncmp(aliases, device, fixed))
			continue;
		snprintf(alias, sizeof(alias), "%.*s", (int)length, aliases);
		if (fnmatch(alias, device, 0) == 0)
			return 1;
	}
	return 0;
}

/* The first module, before best, that this device is for; best if there is none. */
static size_t find_better(const struct qmr_driver_list *list, const char *device, size_t best)
{
	for (size_t i = 0; i < best; i++)
		if (!list->modules[i].is_taken && is_alias_of(list->modules[i].aliases, device))
			return i;
	return best;
}

static size_t look_at_bus(const struct qmr_driver_list *list, int bus_fd, const char *devices, size_t best)
{
	cleanup_closedir DIR *dir = qmr_file_open_dir(bus_fd, devices);

	for (struct dirent *entry; dir && best && (entry = readdir(dir));) {
		char path[NAME_MAX + sizeof("/modalias")];
		cleanup_free char *device = NULL;
		size_t size;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/modalias", entry->d_name);
		if (qmr_file_read(dirfd(dir), path, 4096, &device, &size, NULL) < 0)
			continue; /* not every device has one */
		device[strcspn(device, "\n")] = '\0';
		best = find_better(list, device, best);
	}
	return best;
}

const char *qmr_driver_list_next(struct qmr_driver_list *list, int bus_fd)
{
	size_t best = 0;

	while (best < list->n && (list->modules[best].is_taken || *list->modules[best].aliases))
		best++;
	best = look_at_bus(list, bus_fd, "pci/devices", best);
	best = look_at_bus(list, bus_fd, "platform/devices", best);
	if (best == list->n)
		return NULL;
	list->modules[best].is_taken = 1;
	return list->modules[best].name;
}
