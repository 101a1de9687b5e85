/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "media.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "file.h"
#include "log.h"

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256 /* Linux 5.10; older ones ignore it */
#endif

/* Who reads it has no privilege: the modes are given, not taken from PID 1's umask. */
#define OPTIONS "umask=0022,utf8"
#define MOUNT_MS 5000 /* for one of them: a stick that hangs must not be in the way of another */

static int mount_one(void *context, void *answer, struct qmr_error *err)
{
	const unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOSYMFOLLOW;
	char place[sizeof(QMR_MEDIA) + QMR_DEVICE_BYTES];
	const char *device = context;
	int r;

	snprintf(place, sizeof(place), QMR_MEDIA "/%s", strrchr(device, '/') + 1);
	r = qmr_file_mkdirs(AT_FDCWD, place, 0755, err);
	if (r < 0)
		return r;
	if (mount(device, place, "vfat", flags, OPTIONS) < 0 && errno != EBUSY)
		return qmr_error_errno(err, -errno, "mounting '%s'", device);
	qmr_info("'%s' is open at '%s', for reading", device, place);
	return 0;
}

static int mount_all(void *context, void *answer, struct qmr_error *err)
{
	struct qmr_media media;
	int r = qmr_devices_find_media(context, &media, err);

	for (unsigned int i = 0; r == 0 && i < media.n; i++) {
		struct qmr_error why = {0};

		if (qmr_child_call(mount_one, media.devices[i], MOUNT_MS, NULL, 0, &why) < 0)
			qmr_warning("'%s': %s; going on without it", media.devices[i], why.text);
	}
	return r;
}

int qmr_media_mount(const struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	return qmr_child_call(mount_all, (void *)&recovery->config, deadline_ms, NULL, 0, err);
}

static int unmount_all(void *context, void *answer, struct qmr_error *err)
{
	cleanup_closedir DIR *dir = opendir(QMR_MEDIA);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char place[sizeof(QMR_MEDIA) + NAME_MAX + 1];

		snprintf(place, sizeof(place), QMR_MEDIA "/%s", entry->d_name);
		if (entry->d_name[0] != '.' && umount2(place, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL)
			qmr_warning("unmounting '%s': %s; going on", place, strerror(errno));
	}
	return 0;
}

void qmr_media_unmount(int deadline_ms)
{
	struct qmr_error why = {0};

	if (qmr_child_call(unmount_all, NULL, deadline_ms, NULL, 0, &why) < 0)
		qmr_warning("unmounting removable disks: %s; going on", why.text);
}
