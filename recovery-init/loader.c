/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "loader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "file.h"
#include "recovery.h"

#define ESP "/esp"
#define TRIES_MAX 99999 /* keeps the sum a number */

/*
 * An entry that was counted down to nothing while the system was broken comes last from then on: the healed machine would
 * boot something else for ever.
 */
static const struct {
	const char *folder, *suffix;
} places[] = {{"loader/entries", ".conf"}, {"EFI/Linux", ".efi"}};

int qmr_loader_name_reset(const char *name, char *ret_name, size_t room)
{
	const char *plus = strrchr(name, '+'), *dot = strrchr(name, '.');
	unsigned long left, done;
	char *end;

	if (!plus || !dot || dot < plus || plus[1] < '0' || plus[1] > '9')
		return 0;
	left = strtoul(plus + 1, &end, 10);
	if (*end != '-' || end[1] < '0' || end[1] > '9')
		return 0;
	done = strtoul(end + 1, &end, 10);
	if (end != dot || done == 0 || left > TRIES_MAX || done > TRIES_MAX)
		return 0;
	return snprintf(ret_name, room, "%.*s+%lu%s", (int)(plus - name), name, left + done, dot) < (int)room;
}

static int has_suffix(const char *name, const char *suffix)
{
	size_t length = strlen(name), n = strlen(suffix);

	return length > n && !strcasecmp(name + length - n, suffix);
}

/*
 * FAT writes a renamed file's new entry with the file, not with the folder, and until then it points to nothing: after a cut the system's own
 * entry would be empty.
 */
static int rename_on_fat(int fd, const char *from, const char *to, struct qmr_error *err)
{
	cleanup_close int file = openat(fd, from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (file < 0 || renameat2(fd, from, fd, to, RENAME_NOREPLACE) < 0)
		return qmr_error_errno(err, -errno, "renaming '%s' to '%s'", from, to);
	if (fsync(file) < 0 || fsync(fd) < 0)
		return qmr_error_errno(err, -errno, "syncing '%s'", to);
	return 0;
}

static int reset_folder(int esp_fd, const char *folder, const char *suffix, struct qmr_error *err)
{
	cleanup_close int fd = openat(esp_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct dirent **names = NULL;
	int n, renamed = 0, r = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : qmr_error_errno(err, -errno, "opening '%s' of the ESP", folder);
	n = scandirat(fd, ".", &names, NULL, alphasort); /* complete before anything is renamed */
	for (int i = 0; i < n; i++) {
		char name[300];

		if (r == 0 && has_suffix(names[i]->d_name, suffix) &&
		    qmr_loader_name_reset(names[i]->d_name, name, sizeof(name))) {
			r = rename_on_fat(fd, names[i]->d_name, name, err);
			renamed += r == 0;
		}
		free(names[i]);
	}
	free(names);
	return r < 0 ? r : renamed;
}

int qmr_loader_reset(const char *esp, struct qmr_error *err)
{
	cleanup_close int fd = open(esp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int total = 0;

	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening the ESP '%s'", esp);
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		int r = reset_folder(fd, places[i].folder, places[i].suffix, err);

		if (r < 0)
			return r;
		total += r;
	}
	return total;
}

static int mount_and_reset(void *context, void *answer, struct qmr_error *err)
{
	int r;

	if (mount(context, ESP, "vfat", MS_NOSUID | MS_NODEV | MS_NOEXEC, "umask=077") < 0)
		return qmr_error_errno(err, -errno, "mounting the ESP '%s'", (const char *)context);
	r = qmr_loader_reset(ESP, err);
	sync();
	if (umount2(ESP, UMOUNT_NOFOLLOW) < 0 && r >= 0)
		return qmr_error_errno(err, -errno, "unmounting the ESP");
	return r;
}

enum qmr_result qmr_step_loader(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	int r;

	if (!recovery->applied[0] || !recovery->devices.esp[0]) {
		qmr_error_set(err, 0, "%s", recovery->applied[0] ? "the ESP was not found" : "nothing was applied");
		return QMR_RESULT_SKIPPED;
	}
	r = qmr_child_call(mount_and_reset, recovery->devices.esp, deadline_ms, NULL, 0, err);
	if (r < 0)
		return qmr_result_from(r);
	if (r > 0)
		qmr_error_set(err, 0, "%d boot entries have their tries back", r);
	return r > 0 ? QMR_RESULT_OK : QMR_RESULT_NOTHING;
}
