/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_ROOT_H
#define QMR_ROOT_H

#include "recovery.h"

#define QMR_ROOT_FETCH_BYTES (4U << 20)
#define QMR_ROOT_MS 30000 /* for one small thing on the broken system's disk */

/*
 * Copies a file of this incident's folder on the broken system's disk to a path in memory, in a child: the disk may hang, and its links
 * may lead anywhere. -ENOENT if it is not there, -EFBIG beyond QMR_ROOT_FETCH_BYTES.
 */
int qmr_root_fetch(const struct qmr_recovery *recovery, const char *name, const char *to, struct qmr_error *err) QMR_MUST_CHECK;

/* The same for any file of that disk. */
int qmr_root_fetch_path(const char *path, const char *to, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Replaces a file (mode 0600) on the broken system's disk, durably, in a child. Its folder is made where it is missing.
 */
int qmr_root_put(const char *path, const void *data, size_t size, struct qmr_error *err) QMR_MUST_CHECK;

/* Makes a folder (mode 0700) on the broken system's disk, with its parents, in a child. */
int qmr_root_mkdirs(const char *path, struct qmr_error *err) QMR_MUST_CHECK;

/* Syncs and unmounts the broken system's root, if it is mounted. */
int qmr_root_unmount(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err) QMR_MUST_CHECK;

/* -ENOTUNIQ if another device with the root's UUID has come since it was found (a clone on a slow bus); devices.c. */
int qmr_devices_recheck(const struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err) QMR_MUST_CHECK;

#endif
