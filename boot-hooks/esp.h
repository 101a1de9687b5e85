/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_ESP_H
#define QMR_ESP_H

#include <stddef.h>

#include "error.h"

/* Which file system is the root, and where the EFI system partition is. */

#define QMR_MOUNT_PATH 512

struct qmr_mount {
	char source[256];           /* device, or TAG=value in fstab */
	char path[QMR_MOUNT_PATH];
	char type[32];
	char subtree[256];          /* mountinfo: the folder of the file system that is mounted; fstab: empty */
	unsigned int major, minor;  /* mountinfo only */
};

struct qmr_machine {
	char root_uuid[64], root_fstype[32];
	char root_obstacle[128];    /* why the recovery image cannot reach this root, empty if it can */
	char esp_path[QMR_MOUNT_PATH], esp_uuid[64];
	char xbootldr_path[QMR_MOUNT_PATH]; /* extended boot loader partition, empty if there is none */
	char esp_disk[128];         /* "/dev/vda"; empty in a system that is being built */
	int esp_partition;          /* 1..., 0 as above */
};

/* What the caller knows already; NULL: find it. */
struct qmr_machine_known {
	const char *root_uuid, *root_fstype, *esp_path, *esp_uuid;
};

/*
 * Finds the mount on top at path in the text of /proc/self/mountinfo (proc(5)). Lines that are malformed or longer than the fields of struct
 * qmr_mount are passed over. -ENOENT if there is none.
 */
int qmr_mountinfo_find(const char *text, const char *path, struct qmr_mount *ret_mount) QMR_MUST_CHECK;

/* The same in the text of fstab (fstab(5)). */
int qmr_fstab_find(const char *text, const char *path, struct qmr_mount *ret_mount) QMR_MUST_CHECK;

/* The same for the mount that the absolute path lies on: the longest mount point that it begins with, by whole components. */
int qmr_mountinfo_find_holding(const char *text, const char *path, struct qmr_mount *ret_mount) QMR_MUST_CHECK;

/* The same in the text of fstab. */
int qmr_fstab_find_holding(const char *text, const char *path, struct qmr_mount *ret_mount) QMR_MUST_CHECK;

/*
 * 1 if path, which need not exist, lies where somebody finds it who mounts the root file system alone; 0 if another mount is in
 * between, which is in *ret_mount. Links on the way are followed. is_built: by what fstab says, which may be missing.
 */
int qmr_machine_is_on_root(int is_built, const char *path, struct qmr_mount *ret_mount, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * The running system: what is mounted, and what libblkid and sysfs say of it. The ESP must be a mounted vfat on a
 * partition of the ESP's type. The message of an error names the option that helps.
 */
int qmr_machine_find_running(const struct qmr_machine_known *known, struct qmr_machine *ret_machine,
			     struct qmr_error *err) QMR_MUST_CHECK;

/* A system that is being built, whose root is ours by chroot(2): what its fstab says; nothing needs to be mounted. */
int qmr_machine_find_built(const struct qmr_machine_known *known, struct qmr_machine *ret_machine,
			   struct qmr_error *err) QMR_MUST_CHECK;

#endif
