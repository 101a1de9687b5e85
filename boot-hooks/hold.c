/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hold.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utmp.h>

#include "cleanup.h"
#include "file.h"

#define NAMES_MAX 65536
#define ASK_PASSWORD "run/systemd/ask-password"
#define SESSIONS "run/systemd/sessions"
#define UTMP "run/utmp"
/* systemd-system-update-generator(8) puts the default target aside for a whole boot. */
#define UPDATE_TARGET "run/systemd/generator.early/default.target"

/* Calls is_match for each name of a folder until one matches. */
static int any(int root_fd, const char *path, int (*is_match)(int dirfd, const char *name))
{
	cleanup_closedir DIR *dir = qmr_file_open_dir(root_fd, path);
	struct dirent *entry;

	for (int i = 0; dir && i < NAMES_MAX && (entry = readdir(dir)); i++)
		if (entry->d_name[0] != '.' && is_match(dirfd(dir), entry->d_name))
			return 1;
	return 0;
}

static int is_question(int dirfd, const char *name)
{
	return !strncmp(name, "ask.", 4);
}

int qmr_hold_is_asked(int root_fd)
{
	return any(root_fd, ASK_PASSWORD, is_question);
}

static int is_user_session(int dirfd, const char *name)
{
	cleanup_free char *text = NULL;
	size_t size;

	/* "N.ref" beside it is a pipe, which is not read. Greeters and services have sessions too. */
	return qmr_file_read(dirfd, name, 16384, &text, &size, NULL) == 0 && 
	       (strstr(text, "\nCLASS=user\n") || strstr(text, "\nCLASS=user-")); /* user-early: root, from systemd 256 on */
}

static int has_utmp_user(int root_fd)
{
	cleanup_close int fd = openat(root_fd, UTMP, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct utmp entry;

	for (int i = 0; fd >= 0 && i < NAMES_MAX && read(fd, &entry, sizeof(entry)) == (ssize_t)sizeof(entry); i++)
		if (entry.ut_type == USER_PROCESS)
			return 1;
	return 0;
}

const char *qmr_hold_find_person(int root_fd)
{
	if (any(root_fd, SESSIONS, is_user_session))
		return "somebody is logged in";
	/* Without systemd-logind; with it, utmp may keep whoever was logged in when the power failed. */
	return faccessat(root_fd, SESSIONS, F_OK, 0) < 0 && has_utmp_user(root_fd) ? "somebody is logged in" : NULL;
}

static int is_repair(int dirfd, const char *name)
{
	static const char *const programs[] = {"fsck", "e2fsck", "xfs_repair", "btrfs", "dosfsck", "resize2fs", "cryptsetup"};
	char path[300], comm[32];
	cleanup_close int fd = -1;
	ssize_t n;

	if (name[strspn(name, "0123456789")])
		return 0;
	snprintf(path, sizeof(path), "%s/comm", name);
	fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	n = fd < 0 ? 0 : read(fd, comm, sizeof(comm) - 1);
	if (n <= 0)
		return 0;
	comm[n - (comm[n - 1] == '\n')] = '\0';
	if (!strncmp(comm, "fsck.", 5))
		return 1;
	for (size_t i = 0; i < sizeof(programs) / sizeof(*programs); i++)
		if (!strcmp(comm, programs[i]))
			return 1;
	return 0;
}

static int is_updating(int root_fd)
{
	char target[256];
	ssize_t n = readlinkat(root_fd, UPDATE_TARGET, target, sizeof(target) - 1);

	if (n <= 0)
		return 0;
	target[n] = '\0';
	return strstr(target, "system-update.target") != NULL;
}

const char *qmr_hold_find(int root_fd)
{
	if (qmr_hold_is_asked(root_fd))
		return "somebody is asked for a passphrase";
	if (is_updating(root_fd))
		return "an offline update runs";
	if (any(root_fd, "proc", is_repair))
		return "a file system is checked";
	return qmr_hold_find_person(root_fd);
}

/* One line of a crypttab(5): 1 if somebody may be asked for its key. */
static int is_asked_for(char *line, const char **ret_target, const char **ret_source)
{
	char *rest = NULL;
	const char *target = strtok_r(line, " \t", &rest), *source = strtok_r(NULL, " \t", &rest);
	const char *key = strtok_r(NULL, " \t", &rest), *options = strtok_r(NULL, " \t", &rest);

	if (!target || target[0] == '#' || !source)
		return 0;
	*ret_target = target;
	*ret_source = source;
	return !key || key[0] != '/' || (options && strstr(options, "keyscript="));
}

int qmr_hold_will_ask(char *text)
{
	const char *target, *source;
	char *place = NULL;

	for (char *line = strtok_r(text, "\n", &place); line; line = strtok_r(NULL, "\n", &place))
		if (is_asked_for(line, &target, &source))
			return 1;
	return 0;
}

static int has(int root_fd, const char *folder, const char *name)
{
	char path[PATH_MAX];

	return *name && snprintf(path, sizeof(path), "%s/%s", folder, name) < (int)sizeof(path) && faccessat(root_fd, path, F_OK, 0) == 0;
}

static int has_source(int root_fd, const char *source)
{
	static const struct {
		const char *prefix, *folder;
	} links[] = {
		{"UUID=", "dev/disk/by-uuid"},
		{"LABEL=", "dev/disk/by-label"},
		{"PARTUUID=", "dev/disk/by-partuuid"},
		{"PARTLABEL=", "dev/disk/by-partlabel"},
		{"/", "."},
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++)
		if (!strncmp(source, links[i].prefix, strlen(links[i].prefix)))
			return has(root_fd, links[i].folder, source + strlen(links[i].prefix));
	return 0;
}

int qmr_hold_is_locked(int root_fd, char *text)
{
	const char *target, *source;
	char *place = NULL;

	for (char *line = strtok_r(text, "\n", &place); line; line = strtok_r(NULL, "\n", &place))
		if (is_asked_for(line, &target, &source) && has_source(root_fd, source) && !has(root_fd, "dev/mapper", target))
			return 1;
	return 0;
}
