/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "loader-once.h"
#include "qmrctl.h"
#include "uki-section.h"

#define MKRECOVERY "/usr/lib/qmr/mkrecovery"
#define MKRECOVERY_S 900
#define IMAGE_BYTES_MAX (512U << 20)
/* Where systemd-boot looks for images by itself, and where it does not. */
const struct qmrctl_slot qmrctl_slots[QMR_SLOTS] = {
	[QMR_SLOT_FIRST] = {"recovery image", QMR_LOADER_IMAGE,
			    "\\EFI\\Linux\\qmr-recovery.efi",
			    QMRCTL_STATE_FOLDER "/last-test.json", QMR_NOTE_TESTED},
	[QMR_SLOT_SECOND] = {"second recovery image", "EFI/qmr/qmr-recovery-2.efi",
			     "\\EFI\\qmr\\qmr-recovery-2.efi",
			     QMRCTL_STATE_FOLDER "/last-test-2.json", QMR_NOTE_TESTED_SECOND},
};

int qmrctl_image_path(const struct qmrctl *ctl, enum qmr_slot slot, char ret_path[PATH_MAX],
		      struct qmr_error *err)
{
	if (snprintf(ret_path, PATH_MAX, "%s/%s", ctl->machine.esp_path,
		     qmrctl_slots[slot].image) >= PATH_MAX)
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", ctl->machine.esp_path);
	return 0;
}

int qmrctl_image_examine(const struct qmrctl *ctl, enum qmr_slot slot,
			 struct qmrctl_image *ret_image, struct qmr_error *err)
{
	cleanup_close int fd = -1;
	cleanup_free char *kernel = NULL;
	char path[PATH_MAX];
	struct stat st;
	int r = qmrctl_image_path(ctl, slot, path, err);

	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return qmr_error_errno(err, -errno, "opening the %s '%s'",
				       qmrctl_slots[slot].name, path);
	*ret_image = (struct qmrctl_image){.bytes = (uint64_t)st.st_size,
					   .modified_unix_s = st.st_mtim.tv_sec};
	r = qmr_uki_section_read(fd, ".uname", QMRCTL_RELEASE - 1, &kernel);
	if (r < 0)
		return qmr_error_errno(err, r,
				       "the %s '%s' is damaged: reading its section '.uname'",
				       qmrctl_slots[slot].name, path);
	snprintf(ret_image->kernel, sizeof(ret_image->kernel), "%s", kernel);
	/* The ESP can be written to by others: the name goes to terminals, into JSON and onto a
	 * command line. */
	for (char *p = ret_image->kernel; *p; p++)
		if (*p <= ' ' || *p > '~' || *p == '/')
			*p = '?';
	return 0;
}

/*
 * kernel NULL: the newest one. as_built: as for a system that is being built, nothing of the
 * running one goes in; otherwise mkrecovery adds its console= arguments.
 */
static int build(const struct qmrctl *ctl, const char *kernel, int as_built, struct qmr_error *err)
{
	const struct qmr_machine *m = &ctl->machine;
	const char *argv[20] = {MKRECOVERY,     "--output",   QMRCTL_BUILT,
				"--root-uuid",  m->root_uuid, "--root-fstype",
				m->root_fstype, "--esp-uuid", m->esp_uuid};
	int n = 9, r;

	if (ctl->config_given) {
		argv[n++] = "--config";
		argv[n++] = ctl->config_path;
	}
	if (kernel) {
		argv[n++] = "--kernel";
		argv[n++] = kernel;
	}
	if (as_built) {
		argv[n++] = "--root";
		argv[n++] = "/";
	}
	r = qmr_file_mkdirs(AT_FDCWD, QMRCTL_STATE_FOLDER, 0700, err);
	return r < 0 ? r : qmrctl_run_program((char *const *)argv, MKRECOVERY_S, err);
}

int qmrctl_image_build(const struct qmrctl *ctl, const char *kernel, struct qmr_error *err)
{
	return build(ctl, kernel, ctl->no_variables, err);
}

int qmrctl_esp_free(const struct qmrctl *ctl, uint64_t *ret_bytes, struct qmr_error *err)
{
	struct statvfs fs;

	if (statvfs(ctl->machine.esp_path, &fs) < 0)
		return qmr_error_errno(err, -errno, "asking for the free space in '%s'",
				       ctl->machine.esp_path);
	*ret_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	return 0;
}

uint64_t qmrctl_image_bytes(const struct qmrctl *ctl, enum qmr_slot slot)
{
	char path[PATH_MAX];

	return qmrctl_image_path(ctl, slot, path, NULL) < 0 ? 0 : qmrctl_file_bytes(path);
}

/*
 * 1 if the second image may go: it is there, and the first one is there too. A new first image is
 * written beside the old one, so there is one at every moment.
 */
static int may_make_way(const struct qmrctl *ctl)
{
	struct qmrctl_image image;

	return qmrctl_image_bytes(ctl, QMR_SLOT_SECOND) > 0 &&
	       qmrctl_image_examine(ctl, QMR_SLOT_FIRST, &image, NULL) == 0;
}

static int make_room(const struct qmrctl *ctl, enum qmr_slot slot, uint64_t bytes,
		     struct qmr_error *err)
{
	uint64_t free_bytes, second = qmrctl_image_bytes(ctl, QMR_SLOT_SECOND);
	int r = qmrctl_esp_free(ctl, &free_bytes, err);

	if (r < 0 || free_bytes >= bytes)
		return r;
	if (free_bytes + second >= bytes && may_make_way(ctl)) {
		r = qmrctl_image_remove(ctl, QMR_SLOT_SECOND, err);
		return r < 0 ? r : 0;
	}
	return qmr_error_set(err, -ENOSPC,
			     "the %s needs %" PRIu64 " bytes beside the old one, and '%s' has "
			     "%" PRIu64 " free; the old one, if any, stays",
			     qmrctl_slots[slot].name, bytes, ctl->machine.esp_path, free_bytes);
}

/* 1 if both begin in the same block of the file system. Where the file system does not tell: 0. */
static int share_blocks(const char *a, const char *b)
{
	cleanup_close int a_fd = open(a, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	cleanup_close int b_fd = open(b, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int a_block = 0, b_block = 0; /* in: block 0 of the file */

	return a_fd >= 0 && b_fd >= 0 && ioctl(a_fd, FIBMAP, &a_block) == 0 &&
	       ioctl(b_fd, FIBMAP, &b_block) == 0 && a_block && a_block == b_block;
}

static void leftover_path(const char *path, char ret_leftover[PATH_MAX + 16])
{
	snprintf(ret_leftover, PATH_MAX + 16, "%s.qmr-new", path);
}

int qmrctl_image_remove_leftover(const char *path, struct qmr_error *err)
{
	char leftover[PATH_MAX + 16];

	leftover_path(path, leftover);
	if (share_blocks(path, leftover))
		return qmr_error_set(err, -EUCLEAN,
				     "a power cut left '%s' with the blocks of '%s': removing one "
				     "would damage the "
				     "other. Unmount the EFI system partition, run fsck.vfat on "
				     "it, and begin anew",
				     leftover, path);
	if (unlink(leftover) < 0 && errno != ENOENT && errno != ENOTDIR)
		return qmr_error_errno(err, -errno, "removing '%s'", leftover);
	return 0;
}

static void folder_of(const char *path, char ret_folder[PATH_MAX])
{
	snprintf(ret_folder, PATH_MAX, "%.*s", (int)(strrchr(path, '/') - path), path);
}

int qmrctl_image_remove(const struct qmrctl *ctl, enum qmr_slot slot, struct qmr_error *err)
{
	char path[PATH_MAX], folder[PATH_MAX];
	int r = qmrctl_image_path(ctl, slot, path, err);

	if (r == 0)
		r = qmrctl_image_remove_leftover(path, err);
	if (r < 0)
		return r;
	if (unlink(path) < 0)
		return errno == ENOENT || errno == ENOTDIR ?
			       0 :
			       qmr_error_errno(err, -errno, "removing '%s'", path);
	folder_of(path, folder);
	r = qmr_file_sync_dir(AT_FDCWD, folder, err);
	return r < 0 ? r : 1;
}

/* The ESP is written to only when there is something new, and never in part. */
int qmrctl_image_put(const struct qmrctl *ctl, enum qmr_slot slot, const char *source,
		     struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	char path[PATH_MAX], folder[PATH_MAX];
	size_t size;
	int r = qmrctl_image_path(ctl, slot, path, err);

	if (r < 0 || qmrctl_same_file(source, path))
		return r < 0 ? r : 1;
	r = qmr_file_read(AT_FDCWD, source, IMAGE_BYTES_MAX, &data, &size, err);
	folder_of(path, folder);
	if (r == 0)
		r = qmr_file_mkdirs(AT_FDCWD, folder, 0755, err);
	if (r == 0)
		r = make_room(ctl, slot, size, err);
	return r == 0 ? qmr_file_replace_on_fat(path, data, size, err) : r;
}

int qmrctl_step_image(struct qmrctl *ctl, struct qmr_error *err)
{
	struct utsname running = {0};
	struct qmrctl_image image;
	char path[PATH_MAX];
	int same = 0, r;

	(void)uname(&running); /* cannot fail with a valid pointer */
	r = qmrctl_image_path(ctl, QMR_SLOT_FIRST, path, err);
	if (r == 0) /* it must not count as used space either */
		r = qmrctl_image_remove_leftover(path, err);
	if (r == 0)
		r = qmrctl_image_build(ctl, ctl->no_variables ? NULL : running.release, err);
	if (r < 0)
		return r;
	r = same = qmrctl_image_put(ctl, QMR_SLOT_FIRST, QMRCTL_BUILT, err);
	(void)unlink(QMRCTL_BUILT); /* replaced by the next build */
	if (r >= 0)
		r = qmrctl_image_examine(ctl, QMR_SLOT_FIRST, &image, err);
	if (r == 0)
		qmrctl_say(ctl, "%s %s, kernel %s, %" PRIu64 " bytes", path,
			   same ? "is already up to date" : "written", image.kernel, image.bytes);
	return r;
}

int qmrctl_image_examine_leftover(const struct qmrctl *ctl, enum qmr_slot slot,
				  struct qmr_error *err)
{
	char path[PATH_MAX], leftover[PATH_MAX + 16];
	struct stat st;
	int r = qmrctl_image_path(ctl, slot, path, err);

	if (r < 0)
		return r;
	leftover_path(path, leftover);
	if (lstat(leftover, &st) < 0)
		return 0;
	return qmr_error_set(err, -EEXIST, "a power cut left '%s'; 'qmrctl install' removes it",
			     leftover);
}

int qmrctl_image_compare(const struct qmrctl *ctl, enum qmr_slot slot, const char *kernel,
			 struct qmr_error *err)
{
	char path[PATH_MAX];
	int r = qmrctl_image_path(ctl, slot, path, err);

	/* An image from before the first boot is as good as one that install made on the running
	 * system. */
	for (int as_built = 0; r == 0 && as_built < 2; as_built++) {
		r = build(ctl, kernel, as_built, err);
		if (r == 0)
			r = qmrctl_same_file(QMRCTL_BUILT, path);
	}
	(void)unlink(QMRCTL_BUILT); /* as above */
	return r;
}
