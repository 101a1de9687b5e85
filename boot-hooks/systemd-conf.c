/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "systemd-conf.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "systemd-files.h"

#define UNITS_MAX 4096

/* They open the device and do not do without. */
static const char *const rivals[] = {"watchdog.service",     "watchdogd.service", "wd_keepalive.service",
				     "watchdog-mux.service", "sbd.service",       "sbd_remote.service"};

#define N(array) (sizeof(array) / sizeof(*(array)))

void qmr_systemd_set(struct qmr_systemd_watchdog *watchdog, const char *key, const char *value)
{
	char *end;

	if (!strcmp(key, "WatchdogDevice")) {
		watchdog->other_device = *value && strcmp(value, "/dev/watchdog") && strcmp(value, "/dev/watchdog0");
	} else if (!strcmp(key, "RuntimeWatchdogSec")) {
		if (!strcmp(value, "default") || !strcmp(value, "infinity"))
			watchdog->runtime = QMR_SYSTEMD_ON;
		else if (!*value || !strcmp(value, "off"))
			watchdog->runtime = QMR_SYSTEMD_OFF;
		else if (strtod(value, &end) > 0)
			watchdog->runtime = QMR_SYSTEMD_ON;
		else if (end != value)
			watchdog->runtime = QMR_SYSTEMD_OFF;
	}
}

static void take_manager(void *data, const char *section, const char *key, const char *value)
{
	if (!strcmp(section, "Manager"))
		qmr_systemd_set(data, key, value);
}

int qmr_systemd_read(int root_fd, struct qmr_systemd_watchdog *ret_watchdog, struct qmr_error *err)
{
	struct qmr_systemd_watchdog found = {0};
	int r = qmr_systemd_read_settings(root_fd, "system.conf", take_manager, &found, err);

	if (r == 0)
		*ret_watchdog = found;
	return r;
}

/* Enabled: some unit wants or requires it. */
static const char *find_in(int dirfd, const char *folder)
{
	char path[2 * NAME_MAX + 8];

	for (size_t i = 0; i < N(rivals); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, rivals[i]);
		if (faccessat(dirfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return rivals[i];
	}
	return NULL;
}

const char *qmr_systemd_find_rival(int root_fd)
{
	for (size_t i = 0; i < QMR_SYSTEMD_FOLDERS; i++) {
		cleanup_closedir DIR *dir = NULL;
		struct dirent *entry;
		char path[64];

		snprintf(path, sizeof(path), "%s/system", qmr_systemd_folders[i]);
		dir = qmr_file_open_dir_in_root(root_fd, path);
		for (int k = 0; dir && k < UNITS_MAX && (entry = readdir(dir)); k++) {
			const char *found = NULL;

			if (qmr_systemd_has_suffix(entry->d_name, ".wants") || qmr_systemd_has_suffix(entry->d_name, ".requires"))
				found = find_in(dirfd(dir), entry->d_name);
			if (found)
				return found;
		}
	}
	return NULL;
}

int qmr_systemd_is_init(int root_fd, const char *init)
{
	cleanup_close int fd = qmr_file_open_in_root(root_fd, init, O_PATH, 0, NULL);
	char link[64], target[PATH_MAX];
	ssize_t n;

	if (fd < 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, target, sizeof(target) - 1);
	if (n <= 0)
		return 0;
	target[n] = '\0';
	return !strcmp(strrchr(target, '/') ? strrchr(target, '/') + 1 : target, "systemd");
}
