/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_MEDIA_H
#define QMR_MEDIA_H

#include "recovery.h"

#define QMR_MEDIA QMR_RUN "/media"
#define QMR_MEDIA_MAX 8

struct qmr_media {
	char devices[QMR_MEDIA_MAX][QMR_DEVICE_BYTES]; /* "/dev/sdb1" */
	unsigned int n;
};

/*
 * Waits for removable disks and mounts their FAT file systems, read-only, at QMR_MEDIA/NAME, each in a child: what somebody brought along may be
 * hostile to the kernel too. Less than QMR_MEDIA_MAX of them, or none, is no failure.
 */
int qmr_media_mount(const struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err) QMR_MUST_CHECK;

/* Unmounts them, as far as they can be. */
void qmr_media_unmount(int deadline_ms);

/*
 * devices.c: such devices, but the system's root and ESP. Loads the drivers of what came by now, and waits up to 10 s for the first one; 2 s in which
 * nothing new comes end it once there is one. Reads each device's beginning, in a child, and passes over those that do not answer.
 */
int qmr_devices_find_media(const struct qmr_config *config, struct qmr_media *ret_media, struct qmr_error *err) QMR_MUST_CHECK;

#endif
