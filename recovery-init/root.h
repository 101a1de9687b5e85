/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_ROOT_H
#define QMR_ROOT_H

#include "recovery.h"

/* Syncs and unmounts the broken system's root, if it is mounted. */
int qmr_root_unmount(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err) QMR_MUST_CHECK;

#endif
