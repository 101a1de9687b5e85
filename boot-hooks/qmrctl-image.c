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
#include "qmrctl.h"
#include "uki-section.h"

#define MKRECOVERY "/usr/lib/qmr/mkrecovery"
#define MKRECOVERY_S 900
#define IMAGE_BYTES_MAX (512U << 20)
/* Built beside, then compared and copied: the ESP is written to only when there is something new,
 * and never in part. */
#define BUILT QMRCTL_STATE_FOLDER "/recovery-image.new"

int qmrctl_image_path(const struct qmrctl *ctl, char ret_path[PATH_MAX], struct qmr_error *err)
{
	if (snprintf(ret_path, PATH_MAX, "%s/" QMRCTL_IMAGE, ctl->machine.esp_path) >= PATH_MAX)
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", ctl->machine.esp_path);
	return 0;
}

int qmrctl_image_examine(const struct qmrctl *ctl, struct qmrctl_image *ret_image,
			 struct qmr_error *err)
{
	cleanup_close int fd = -1;
	cleanup_free char *kernel = NULL;
	char path[PATH_MAX];
	struct stat st;
	int r = qmrctl_image_path(ctl, path, err);

	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return qmr_error_errno(err, -errno, "opening the recovery image '%s'", path);
	*ret_image = (struct qmrctl_image){.bytes = (uint64_t)st.st_size,
					   .modified_unix_s = st.st_mtim.tv_sec};
	r = qmr_uki_section_read(fd, ".uname", QMRCTL_RELEASE - 1, &kernel);
	if (r < 0)
		return qmr_error_errno(
			err, r, "the recovery image '%s' is damaged: reading its section '.uname'",
			path);
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
	const char *argv[20] = {MKRECOVERY,     "--output",   BUILT,
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

static int require_space(const char *path, uint64_t bytes, struct qmr_error *err)
{
	char folder[PATH_MAX];
	uint64_t free_bytes;
	struct statvfs fs;

	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
	if (statvfs(folder, &fs) < 0)
		return qmr_error_errno(err, -errno, "asking for the free space in '%s'", folder);
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (free_bytes < bytes)
		return qmr_error_set(err, -ENOSPC,
				     "the recovery image needs %" PRIu64
				     " bytes beside the old one, and '%s' has "
				     "%" PRIu64 " free; the old one, if any, stays",
				     bytes, folder, free_bytes);
	return 0;
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

static int place(const char *path, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	char folder[PATH_MAX];
	size_t size;
	int r = qmr_file_read(AT_FDCWD, BUILT, IMAGE_BYTES_MAX, &data, &size, err);

	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
	if (r == 0)
		r = qmr_file_mkdirs(AT_FDCWD, folder, 0755, err);
	if (r == 0)
		r = require_space(path, size, err);
	return r == 0 ? qmr_file_replace_on_fat(path, data, size, err) : r;
}

int qmrctl_step_image(struct qmrctl *ctl, struct qmr_error *err)
{
	struct utsname running = {0};
	struct qmrctl_image image;
	char path[PATH_MAX];
	int same, r;

	(void)uname(&running); /* cannot fail with a valid pointer */
	r = qmrctl_image_path(ctl, path, err);
	if (r == 0) /* it must not count as used space either */
		r = qmrctl_image_remove_leftover(path, err);
	if (r == 0)
		r = build(ctl, ctl->no_variables ? NULL : running.release, ctl->no_variables, err);
	if (r < 0)
		return r;
	same = qmrctl_same_file(BUILT, path);
	if (!same)
		r = place(path, err);
	(void)unlink(BUILT); /* replaced by the next build */
	if (r == 0)
		r = qmrctl_image_examine(ctl, &image, err);
	if (r == 0)
		qmrctl_say(ctl, "%s %s, kernel %s, %" PRIu64 " bytes", path,
			   same ? "is already up to date" : "written", image.kernel, image.bytes);
	return r;
}

int qmrctl_image_examine_leftover(const struct qmrctl *ctl, struct qmr_error *err)
{
	char path[PATH_MAX], leftover[PATH_MAX + 16];
	struct stat st;
	int r = qmrctl_image_path(ctl, path, err);

	if (r < 0)
		return r;
	leftover_path(path, leftover);
	if (lstat(leftover, &st) < 0)
		return 0;
	return qmr_error_set(err, -EEXIST, "a power cut left '%s'; 'qmrctl install' removes it",
			     leftover);
}

int qmrctl_image_compare(const struct qmrctl *ctl, const char *kernel, struct qmr_error *err)
{
	char path[PATH_MAX];
	int r = qmrctl_image_path(ctl, path, err);

	/* An image from before the first boot is as good as one that install made on the running
	 * system. */
	for (int as_built = 0; r == 0 && as_built < 2; as_built++) {
		r = build(ctl, kernel, as_built, err);
		if (r == 0)
			r = qmrctl_same_file(BUILT, path);
	}
	(void)unlink(BUILT); /* as above */
	return r;
}
