/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "root.h"

/* The broken system's root: looked at without replaying its journal, later checked and written. */

static const struct file_system {
	const char *type;
	const char *look; /* mount option that leaves the journal alone; plain "ro" replays it */
	const char *check; /* program that repairs what is safe to repair, NULL: the kernel does it when mounting */
} file_systems[] = {
	{"ext4", "noload", "/usr/sbin/e2fsck"},
	{"ext3", "noload", "/usr/sbin/e2fsck"},
	{"ext2", "", "/usr/sbin/e2fsck"},
	{"xfs", "norecovery", NULL},
	{"btrfs", "rescue=nologreplay", NULL},
	{"f2fs", "norecovery", NULL},
};

static const struct file_system *find_file_system(const char *type)
{
	for (size_t i = 0; i < sizeof(file_systems) / sizeof(*file_systems); i++)
		if (!strcmp(file_systems[i].type, type))
			return &file_systems[i];
	return NULL;
}

struct mount_call {
	const struct qmr_devices *devices;
	unsigned long flags;
	const char *options;
};

/* Evidence and transactions would go below the mount point, where the running system never sees them. */
static int has_var_elsewhere(struct qmr_error *err)
{
	static const char *const folders[] = {"/var", "/var/lib", "/var/lib/qmr"};
	cleanup_close int root = open(QMR_SYSROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = root < 0 ? -1 : qmr_file_open_in_root(root, "etc/fstab", O_RDONLY | O_NONBLOCK, 0, NULL);
	cleanup_fclose FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	const struct mntent *entry;

	while (file && (entry = getmntent(file)))
		for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++)
			if (!strcmp(entry->mnt_dir, folders[i]))
				return qmr_error_set(err, -EXDEV, "'%s' is a file system of its own, which recovery does "
						     "not mount: nothing is written", folders[i]);
	return 0;
}

static int do_mount(void *context, void *answer, struct qmr_error *err)
{
	const struct mount_call *call = context;
	int r;

	/* No program or device of the broken system is wanted. */
	if (mount(call->devices->root, QMR_SYSROOT, call->devices->root_type,
		  call->flags | MS_NOSUID | MS_NODEV | MS_NOEXEC, call->options) < 0)
		return qmr_error_errno(err, -errno, "mounting '%s' (%s)", call->devices->root, call->devices->root_type);
	if (access(QMR_SYSROOT "/etc", F_OK) < 0 && access(QMR_SYSROOT "/usr", F_OK) < 0) {
		(void)umount2(QMR_SYSROOT, MNT_DETACH);
		return qmr_error_set(err, -ENOENT, "'%s' has neither /etc nor /usr: it is no system's root",
				     call->devices->root);
	}
	if (call->flags & MS_RDONLY)
		return 0;
	r = has_var_elsewhere(err);
	if (r < 0)
		(void)umount2(QMR_SYSROOT, MNT_DETACH);
	return r;
}

/* Not sync(2), which waits for all disks: one of them may not answer. Unmounting does it again. */
static void flush(void)
{
	cleanup_close int root = open(QMR_SYSROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (root >= 0)
		(void)syncfs(root);
}

static int do_unmount(void *context, void *answer, struct qmr_error *err)
{
	flush();
	if (umount2(QMR_SYSROOT, UMOUNT_NOFOLLOW) < 0)
		return qmr_error_errno(err, -errno, "unmounting '%s'", QMR_SYSROOT);
	return 0;
}

enum qmr_result qmr_step_mount(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	const struct file_system *fs = find_file_system(recovery->devices.root_type);
	struct mount_call call = {&recovery->devices, MS_RDONLY, fs ? fs->look : ""};
	int r;

	if (!fs) {
		qmr_error_set(err, -EMEDIUMTYPE, "'%s' holds '%s', which recovery does not know", recovery->devices.root,
			      recovery->devices.root_type);
		return QMR_RESULT_FAILED;
	}
	r = qmr_child_call(do_mount, &call, deadline_ms, NULL, 0, err);
	if (r < 0)
		return qmr_result_from(r);
	recovery->root = QMR_MOUNTED_RO;
	return QMR_RESULT_OK;
}

/* e2fsck(8): 0 clean, 1 repaired, 2 repaired and the running system should reboot, which is not on this disk; 4 and more: not. */
static int check(const char *program, char *device, int deadline_ms, struct qmr_error *err)
{
	char *const argv[] = {(char *)program, "-p", device, NULL};
	int r = qmr_child_run(argv, deadline_ms, NULL, 0, err);

	if (r > 2)
		return qmr_error_set(err, -EUCLEAN, "'%s' found errors on '%s' that need a person (exit %d)", program,
				     device, r);
	return r < 0 ? r : 0;
}

int qmr_root_unmount(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	int r;

	if (recovery->root == QMR_MOUNTED_NOT)
		return 0;
	r = qmr_child_call(do_unmount, NULL, deadline_ms, NULL, 0, err);
	if (r == 0)
		recovery->root = QMR_MOUNTED_NOT;
	return r;
}

enum qmr_result qmr_step_check(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	const struct file_system *fs = find_file_system(recovery->devices.root_type);
	struct mount_call call = {&recovery->devices, 0, ""};
	struct qmr_error again = {0};
	int r;

	/* By its mark on a swap device, or (a swap file has none there) by what the system said when it went to sleep. */
	if (recovery->devices.suspended || qmr_state_is_hibernated(&recovery->state)) {
		qmr_error_set(err, 0, "a hibernated system is on a disk: its root is not written");
		return QMR_RESULT_SKIPPED;
	}
	r = qmr_devices_recheck(recovery, deadline_ms / 4, err);
	if (r == 0)
		r = qmr_root_unmount(recovery, deadline_ms / 4, err);
	if (r == 0 && fs && fs->check)
		r = check(fs->check, recovery->devices.root, deadline_ms - deadline_ms / 4, err);
	if (r == 0)
		r = qmr_child_call(do_mount, &call, deadline_ms / 4, NULL, 0, err);
	if (r == 0) {
		recovery->root = QMR_MOUNTED_RW;
		return QMR_RESULT_OK;
	}
	/* Later steps can still read it. */
	if (recovery->root == QMR_MOUNTED_NOT && qmr_step_mount(recovery, deadline_ms / 4, &again) != QMR_RESULT_OK)
		qmr_warning("%s; going on without the root", again.text);
	return qmr_result_from(r);
}

struct fetch_call {
	char path[160];
	const char *to;
};

static int do_fetch(void *context, void *answer, struct qmr_error *err)
{
	cleanup_close int root = open(QMR_SYSROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct fetch_call *call = context;
	cleanup_free char *data = NULL;
	cleanup_close int fd = -1;
	size_t size;
	int r;

	if (root < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", QMR_SYSROOT);
	fd = qmr_file_open_in_root(root, call->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);
	r = fd < 0 ? fd : qmr_file_read_fd(fd, call->path, QMR_ROOT_FETCH_BYTES, &data, &size, err);
	return r < 0 ? r : qmr_file_replace(AT_FDCWD, call->to, data, size, 0600, err);
}

int qmr_root_fetch_path(const char *path, const char *to, struct qmr_error *err)
{
	struct fetch_call call = {.to = to};

	snprintf(call.path, sizeof(call.path), "%s", path);
	return qmr_child_call(do_fetch, &call, QMR_ROOT_MS, NULL, 0, err);
}

int qmr_root_fetch(const struct qmr_recovery *recovery, const char *name, const char *to, struct qmr_error *err)
{
	char path[sizeof(((struct fetch_call *)0)->path)];

	snprintf(path, sizeof(path), "/var/lib/qmr/incidents/%s/%s", recovery->incident, name);
	return qmr_root_fetch_path(path, to, err);
}

struct put_call {
	const char *path;
	const void *data;
	size_t size;
};

static int do_put(void *context, void *answer, struct qmr_error *err)
{
	cleanup_close int root = open(QMR_SYSROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct put_call *call = context;
	cleanup_close int parent = -1;
	char name[256];

	if (root < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", QMR_SYSROOT);
	parent = qmr_file_open_parent_in_root(root, call->path, 1, name, err);
	return parent < 0 ? parent : qmr_file_replace(parent, name, call->data, call->size, 0600, err);
}

int qmr_root_put(const char *path, const void *data, size_t size, struct qmr_error *err)
{
	struct put_call call = {path, data, size};

	return qmr_child_call(do_put, &call, QMR_ROOT_MS, NULL, 0, err);
}

static int do_mkdirs(void *context, void *answer, struct qmr_error *err)
{
	cleanup_close int root = open(QMR_SYSROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int parent = -1;
	char name[256];

	if (root < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", QMR_SYSROOT);
	parent = qmr_file_open_parent_in_root(root, context, 1, name, err);
	if (parent < 0)
		return parent;
	if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
		return qmr_error_errno(err, -errno, "creating '%s'", (const char *)context);
	return 0;
}

int qmr_root_mkdirs(const char *path, struct qmr_error *err)
{
	return qmr_child_call(do_mkdirs, (void *)path, QMR_ROOT_MS, NULL, 0, err);
}
