/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "power.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"

/* "" where there is none */
static void read_line(int class_fd, const char *device, const char *attribute, char ret_text[32])
{
	char path[NAME_MAX + 32];
	cleanup_free char *text = NULL;
	size_t size;

	*ret_text = '\0';
	snprintf(path, sizeof(path), "%s/%s", device, attribute);
	if (qmr_file_read(class_fd, path, 4096, &text, &size, NULL) == 0)
		snprintf(ret_text, 32, "%.*s", (int)strcspn(text, "\n"), text);
}

struct power {
	int is_on_mains, batteries, lowest; /* percent; -1: one does not say */
};

static void add_device(int class_fd, const char *device, struct power *power)
{
	char type[32], scope[32], text[32], *end;
	long level;

	read_line(class_fd, device, "type", type);
	read_line(class_fd, device, "scope", scope);
	if (!strcmp(scope, "Device"))
		return; /* a mouse's */
	if (strcmp(type, "Battery")) {
		/* Mains, and the many names of USB */
		read_line(class_fd, device, "online", text);
		power->is_on_mains |= atoi(text) > 0 && strcmp(type, "UPS") != 0;
		return;
	}
	read_line(class_fd, device, "present", text);
	if (!strcmp(text, "0"))
		return; /* a bay without one */
	read_line(class_fd, device, "capacity", text);
	level = strtol(text, &end, 10);
	if (end == text || *end || level < 0 || level > 100)
		level = -1;
	if (!power->batteries++ || level < power->lowest)
		power->lowest = (int)level;
}

int qmr_power_is_enough(int class_fd, int percent, struct qmr_error *ret_why)
{
	cleanup_closedir DIR *dir = class_fd < 0 ? NULL : qmr_file_open_dir(class_fd, ".");
	struct power power = {0};
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			add_device(class_fd, entry->d_name, &power);
	if (power.is_on_mains || !power.batteries || power.lowest >= percent)
		return 1;
	if (power.lowest < 0)
		return qmr_error_set(ret_why, 0, "it runs on a battery that does not say how full it is");
	return qmr_error_set(ret_why, 0, "it runs on battery, at %d %%; at least %d %% are asked for", power.lowest, percent);
}
