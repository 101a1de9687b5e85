/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_ESP_MOUNT_H
#define QMR_ESP_MOUNT_H

#include "error.h"

/*
 * A descriptor of the top folder of the EFI system partition, which the caller closes. place: its block device, or the folder where it is
 * mounted. A device is mounted as vfat where nobody else sees it (fsopen(2), fsmount(2)), and unmounted when the descriptor is closed or the
 * process ends; where the system has it mounted, both are the same file system. With is_read_only nothing is written, and a device must not be
 * mounted for writing elsewhere (-EBUSY). -ENODEV if the place is missing.
 */
int qmr_esp_mount(const char *place, int is_read_only, struct qmr_error *err) QMR_MUST_CHECK;

#endif
