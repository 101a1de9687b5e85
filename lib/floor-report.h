/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FLOOR_REPORT_H
#define QMR_FLOOR_REPORT_H

#include "floor.h"

#define QMR_FLOOR_REPORT "fetch.json"

/*
 * Reads what a run of remediation-fetch says is to be remembered: "floor" of the fetch.json in a folder; that of a failed run may say something
 * too. -ENOENT: no such file; -ENODATA: it says nothing new; -EINVAL: it is damaged.
 */
int qmr_floor_read_report(int folder_fd, struct qmr_floor *ret_floor, struct qmr_error *err) QMR_MUST_CHECK;

#endif
