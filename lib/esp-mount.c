/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "esp-mount.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "cleanup.h"

static int no_device(struct qmr_error *err, const char *what, const char *place)
{
	return qmr_error_errno(err, errno == ENOENT ? -ENODEV : -errno, "%s the EFI system partition '%s'", what, place);
}

/* "sync" has FAT write a new file's blocks to the table before the file points to them. */
static int mount_detached(const char *device, int is_read_only, struct qmr_error *err)
{
	cleanup_close int fs = fsopen("vfat", FSOPEN_CLOEXEC);
	int fd = -1;

	if (fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "source", device, 0) == 0 &&
	    fsconfig(fs, FSCONFIG_SET_STRING, "umask", "077", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_SET_FLAG, is_read_only ? "ro" : "sync", NULL, 0) == 0 &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	return fd >= 0 ? fd : no_device(err, "opening", device);
}

int qmr_esp_mount(const char *place, int is_read_only, struct qmr_error *err)
{
	struct stat st;
	int fd;

	if (stat(place, &st) < 0)
		return no_device(err, "looking for", place);
	if (S_ISBLK(st.st_mode))
		return mount_detached(place, is_read_only, err);
	fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? qmr_error_errno(err, -errno, "opening '%s'", place) : fd;
}
