/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_RESTORE_POINT_TAKE_H
#define QMR_RESTORE_POINT_TAKE_H

#include <stdint.h>
#include <stdio.h>

#include "config.h"
#include "error.h"

/* Writing, listing and checking restore points, docs/remediation.md. */

/*
 * Takes a restore point if a watched file changed since the newest; *ret_id is the new one, or 0 if
 * nothing changed. It exists completely and durably, or not at all; older ones than the configured
 * number are deleted after that. -EBUSY if another program is at it. The change log (docs/changes.md)
 * is brought up to date, also if no restore point could be taken, and counts boot if that is not
 * NULL: the id of this boot, which was found healthy. If that fails it is warned of and no error.
 */
int qmr_restore_point_take(int root_fd, const struct qmr_config *config, const char *boot,
			   uint64_t *ret_id, struct qmr_error *err) QMR_MUST_CHECK;

/* Opens (with create: makes) the folder of restore points. */
int qmr_restore_points_open(int root_fd, int create, struct qmr_error *err) QMR_MUST_CHECK;

/* Prints one line for each restore point, or with json one JSON object; returns their number. */
int qmr_restore_point_list(int root_fd, int json, FILE *out, struct qmr_error *err) QMR_MUST_CHECK;

/* Hashes every copy of every restore point and prints what is wrong; returns the number of faults.
 */
int qmr_restore_point_verify(int root_fd, int json, FILE *out,
			     struct qmr_error *err) QMR_MUST_CHECK;

#endif
