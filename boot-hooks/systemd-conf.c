/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "systemd-conf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"

#define FILE_BYTES_MAX 65536
#define DROPINS_MAX 64
#define UNITS_MAX 4096

/* By priority: a file hides those of the same name behind it. */
static const char *const folders[] = {"/etc/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd"};

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

#define SPACE " \t\r"

void qmr_systemd_parse(const char *text, struct qmr_systemd_watchdog *watchdog)
{
	int is_manager = 0;

	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		char copy[256], *value, *end;
		int length;

		line += strspn(line, SPACE);
		length = (int)strcspn(line, "\n");
		if (length == 0 || length >= (int)sizeof(copy) || *line == '#' || *line == ';')
			continue;
		snprintf(copy, sizeof(copy), "%.*s", length, line);
		for (end = copy + strlen(copy); end > copy && strchr(SPACE, end[-1]); end--)
			end[-1] = '\0';
		value = strchr(copy, '=');
		if (copy[0] == '[')
			is_manager = !strcmp(copy, "[Manager]");
		if (!is_manager || !value)
			continue;
		*value++ = '\0';
		copy[strcspn(copy, SPACE)] = '\0';
		qmr_systemd_set(watchdog, copy, value + strspn(value, SPACE));
	}
}

/* A missing file says nothing. Returns 1 if there was one. */
static int parse_file(int root_fd, const char *path, struct qmr_systemd_watchdog *watchdog, struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	cleanup_close int fd = qmr_file_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, err);
	size_t size;
	int r;

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? 0 : fd;
	r = qmr_file_read_fd(fd, path, FILE_BYTES_MAX, &text, &size, err);
	if (r == -EINVAL)
		return 1; /* /dev/null hides what comes behind it */
	if (r == 0)
		qmr_systemd_parse(text, watchdog);
	return r < 0 ? r : 1;
}

struct dropin {
	char name[NAME_MAX + 1];
	size_t folder;
};

static DIR *open_folder(int root_fd, const char *path)
{
	int fd = qmr_file_open_in_root(root_fd, path, O_RDONLY | O_DIRECTORY, 0, NULL);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

static int has_suffix(const char *name, const char *suffix)
{
	size_t length = strlen(name), n = strlen(suffix);

	return length > n && name[0] != '.' && !strcmp(name + length - n, suffix);
}

static int add_dropins(int root_fd, size_t folder, struct dropin *dropins, size_t *n)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	char path[64];

	snprintf(path, sizeof(path), "%s/system.conf.d", folders[folder]);
	dir = open_folder(root_fd, path);
	while (dir && (entry = readdir(dir))) {
		size_t i = 0;

		while (i < *n && strcmp(dropins[i].name, entry->d_name))
			i++;
		if (i < *n || !has_suffix(entry->d_name, ".conf"))
			continue;
		if (*n == DROPINS_MAX)
			return -E2BIG;
		snprintf(dropins[*n].name, sizeof(dropins[*n].name), "%s", entry->d_name);
		dropins[(*n)++].folder = folder;
	}
	return 0;
}

static int compare_dropins(const void *a, const void *b)
{
	return strcmp(((const struct dropin *)a)->name, ((const struct dropin *)b)->name);
}

int qmr_systemd_read(int root_fd, struct qmr_systemd_watchdog *ret_watchdog, struct qmr_error *err)
{
	cleanup_free struct dropin *dropins = calloc(DROPINS_MAX, sizeof(*dropins));
	struct qmr_systemd_watchdog found = {0};
	char path[PATH_MAX];
	size_t n = 0;
	int r = 0;

	if (!dropins)
		return qmr_error_set(err, -ENOMEM, "reading systemd's configuration: out of memory");
	for (size_t i = 0; i < N(folders) && r == 0; i++) {
		snprintf(path, sizeof(path), "%s/system.conf", folders[i]);
		r = parse_file(root_fd, path, &found, err);
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < N(folders); i++)
		if (add_dropins(root_fd, i, dropins, &n) < 0)
			return qmr_error_set(err, -E2BIG, "systemd's configuration has more than %d drop-ins", DROPINS_MAX);
	qsort(dropins, n, sizeof(*dropins), compare_dropins);
	for (size_t i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/system.conf.d/%s", folders[dropins[i].folder], dropins[i].name);
		r = parse_file(root_fd, path, &found, err);
		if (r < 0)
			return r;
	}
	*ret_watchdog = found;
	return 0;
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
	for (size_t i = 0; i < N(folders); i++) {
		cleanup_closedir DIR *dir = NULL;
		struct dirent *entry;
		char path[64];

		snprintf(path, sizeof(path), "%s/system", folders[i]);
		dir = open_folder(root_fd, path);
		for (int k = 0; dir && k < UNITS_MAX && (entry = readdir(dir)); k++) {
			const char *found = NULL;

			if (has_suffix(entry->d_name, ".wants") || has_suffix(entry->d_name, ".requires"))
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
