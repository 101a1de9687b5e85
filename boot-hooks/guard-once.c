/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "cleanup.h"
#include "esp-mount.h"
#include "guard.h"
#include "loader-once.h"
#include "log.h"

/* Recovery started by systemd-boot, where BootNext cannot be set: docs/loaders.md, "Recovery without BootNext". */

#define BOOT_PARAMS "/sys/kernel/boot_params/data"
#define SECURE_BOOT_OFFSET 0x1ec /* Documentation/arch/x86/zero-page.rst */
#define SECURE_BOOT_DISABLED 2	 /* enum efi_secureboot_mode, include/linux/efi.h */

/* The kernel's EFI stub asked the firmware before its variables were lost to us. */
static int require_no_secure_boot(struct qmr_error *err)
{
	cleanup_close int fd = open(BOOT_PARAMS, O_RDONLY | O_CLOEXEC);
	uint8_t mode = 0;

	if (fd < 0 || pread(fd, &mode, 1, SECURE_BOOT_OFFSET) != 1 || mode != SECURE_BOOT_DISABLED)
		return qmr_error_set(err, -EOPNOTSUPP, "whether the firmware would start the recovery image is not known: Secure Boot is on, or the "
				     "kernel does not say");
	return 0;
}

static int open_esp(struct qmr_error *err)
{
	const char *place = qmr_state_get_place();

	return place ? qmr_esp_mount(place, 0, err)
		     : qmr_error_set(err, -ENODEV, "the EFI system partition is not in reach here");
}

int qmr_guard_once_examine(const struct qmr_guard *guard, struct qmr_error *err)
{
	char other[QMR_LOADER_VALUE], preferred[QMR_LOADER_VALUE];
	struct qmr_loader_boot boot = {.is_counted = qmr_guard_is_marked(guard, QMR_MARK_COUNTED)};
	cleanup_free char *cmdline = NULL;
	cleanup_close int fd = -1;
	int r;

	if (!guard->config->systemd_boot)
		return qmr_error_set(err, -EOPNOTSUPP, "'qmrctl install' did not find systemd-boot on the EFI system partition");
	if (qmr_loader_variable("LoaderEntryOneShot", other) == 0 && *other)
		return qmr_error_set(err, -EOPNOTSUPP, "systemd-boot was asked to start '%s' once", other);
	if (qmr_loader_variable("LoaderEntryDefault", preferred) == 0 && *preferred)
		boot.preferred = preferred;
	boot.is_counted |= qmr_loader_variable("LoaderBootCountPath", other) == 0;
	r = require_no_secure_boot(err);
	if (r < 0)
		return r;
	cmdline = qmr_guard_read_cmdline();
	boot.cmdline = cmdline ? cmdline : "";
	fd = open_esp(err);
	return fd < 0 ? fd : qmr_loader_once_examine(fd, &boot, err);
}

int qmr_guard_once_set(struct qmr_error *err)
{
	cleanup_close int fd = open_esp(err);

	return fd < 0 ? fd : qmr_loader_once_write(fd, err);
}

int qmr_guard_once_clear(struct qmr_error *err)
{
	cleanup_close int fd = open_esp(err);

	return fd < 0 ? fd : qmr_loader_once_remove(fd, err);
}

void qmr_guard_once_log_cleared(int n, const struct qmr_error *err)
{
	if (n > 0)
		qmr_notice("the boot entry that was to start recovery once is removed");
	if (n < 0)
		qmr_warning("%s; if it was not used, the next start goes into recovery", err->text);
}
