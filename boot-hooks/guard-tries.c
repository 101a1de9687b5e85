/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "esp-mount.h"
#include "firmware.h"
#include "guard.h"
#include "loader-once.h"
#include "log.h"

/*
 * systemd-boot takes a try off the entry that it starts, before it starts it. Who comes as far as this has a kernel and an initramfs that
 * work: the tries are given back, and the rest of the boot is judged by its evidence.
 */

#define WAIT_MS 3000      /* for the disk, in the initramfs */
#define POLL_US 50000
#define LEFT_TO_ACT 1     /* in the initramfs: this or fewer tries are left */

/*
 * The partition that systemd-boot was started from, or the one that install found: an ESP that was made anew has another UUID, and entries that
 * nobody renews would end in recovery.
 */
static int find_device(const struct qmr_config *config, char ret_device[QMR_LOADER_VALUE + 32])
{
	char part[QMR_LOADER_VALUE];

	if (qmr_loader_variable("LoaderDevicePartUUID", part) == 0 && *part && !strchr(part, '/')) {
		for (char *p = part; *p; p++)
			*p = (char)tolower((unsigned char)*p);
		snprintf(ret_device, QMR_LOADER_VALUE + 32, "/dev/disk/by-partuuid/%s", part);
		if (access(ret_device, F_OK) == 0)
			return 1;
	}
	if (!config->esp_uuid[0] || strchr(config->esp_uuid, '/'))
		return 0;
	snprintf(ret_device, QMR_LOADER_VALUE + 32, "/dev/disk/by-uuid/%s", config->esp_uuid);
	return access(ret_device, F_OK) == 0;
}

static int open_esp(const struct qmr_guard *guard, int wait_ms, struct qmr_error *err)
{
	char device[QMR_LOADER_VALUE + 32];

	for (; !find_device(guard->config, device); wait_ms -= POLL_US / 1000) {
		if (wait_ms <= 0)
			return qmr_error_set(err, -ENODEV, "the EFI system partition '%s' was not found", guard->config->esp_uuid);
		(void)usleep(POLL_US);
	}
	return qmr_esp_mount(device, 0, err);
}

/* What asks later in this boot whether systemd-boot counts does not find a used try any more. */
static void note_counted(const struct qmr_guard *guard, int fd, const char *cmdline)
{
	struct qmr_error err = {0};
	int r = qmr_loader_is_counted(fd, cmdline, &err);

	if (r > 0)
		r = qmr_guard_mark(guard, QMR_MARK_COUNTED, "", &err);
	if (r < 0)
		qmr_warning("%s; without EFI variables recovery cannot be asked for in this boot", err.text);
}

/* The entry of this boot, as the firmware names it, or as the kernel command line does. */
static int renew(const struct qmr_guard *guard, int fd, struct qmr_error *err)
{
	cleanup_free char *cmdline = qmr_guard_read_cmdline();
	int tries = guard->config->machine_tries;
	char path[QMR_LOADER_VALUE];

	if (qmr_loader_variable("LoaderBootCountPath", path) == 0)
		return qmr_loader_renew(fd, path, tries, err);
	if (!cmdline || qmr_firmware_has_variables())
		return 0; /* another loader started this boot, or the entry has no counter */
	note_counted(guard, fd, cmdline);
	return qmr_loader_renew_started(fd, cmdline, tries, err);
}

int qmr_guard_tries(const struct qmr_guard *guard, struct qmr_error *err)
{
	int tries = guard->config->machine_tries, r;
	struct qmr_error other = {0};
	struct qmr_loader_own own;
	cleanup_close int fd = -1;

	/* A boot that becomes healthy in the moment in which the system goes to disk must not count its entries. */
	if (!tries || qmr_guard_is_marked(guard, QMR_MARK_ASLEEP))
		return 0;
	fd = open_esp(guard, WAIT_MS, err); /* a slow disk with an ESP that nobody mounts */
	if (fd < 0)
		return fd;
	qmr_guard_once_log_cleared(qmr_loader_once_remove(fd, &other), &other);
	r = renew(guard, fd, err);
	qmr_loader_find_own(1, &own);
	/* A new kernel's, or those that were taken away before the system went to disk. */
	if (qmr_loader_count_entries(fd, &own, tries, &other) < 0)
		qmr_warning("%s; damage to an entry without a counter is not noticed", other.text);
	return r < 0 ? r : 0;
}

/*
 * Before anybody is asked for a passphrase, where a machine is often switched off again: with tries left there is nothing to do. The ESP of
 * a system that may resume is mounted in it, and is left alone.
 */
int qmr_guard_last_tries(const struct qmr_guard *guard, struct qmr_error *err)
{
	char path[QMR_LOADER_VALUE];
	cleanup_close int fd = -1;
	int left, r;

	if (!guard->config->machine_tries || qmr_guard_is_marked(guard, QMR_MARK_RESUME) ||
	    qmr_loader_variable("LoaderBootCountPath", path) < 0)
		return 0;
	left = qmr_loader_path_left(path);
	if (left < 0 || left > LEFT_TO_ACT)
		return 0;
	fd = open_esp(guard, WAIT_MS, err);
	if (fd < 0)
		return fd;
	r = qmr_loader_renew(fd, path, guard->config->machine_tries, err);
	if (r < 0)
		return r;
	qmr_notice("boot entry '%s' had %d tries left and has all of them back", path, left);
	return 0;
}

/* systemd-boot must not rename files below a system on disk: it starts an entry without a counter as it is. */
int qmr_guard_no_tries(const struct qmr_guard *guard, struct qmr_error *err)
{
	struct qmr_loader_own own;
	cleanup_close int fd = -1;
	int r;

	if (!guard->config->machine_tries)
		return 0;
	r = qmr_guard_mark(guard, QMR_MARK_ASLEEP, "", err);
	if (r < 0)
		return r;
	fd = open_esp(guard, 0, err);
	if (fd < 0)
		return fd;
	/* What is still asked for is in the boot state, and is asked for again by the start that is no resume. */
	r = qmr_loader_once_remove(fd, err);
	if (r < 0)
		return r;
	qmr_loader_find_own(1, &own);
	r = qmr_loader_count_entries(fd, &own, 0, err);
	return r < 0 ? r : 0;
}
