/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_REMEDY_H
#define QMR_REMEDY_H

#include <stddef.h>

#include "recovery.h"

#define QMR_PLANS_MAX 99

struct qmr_plan_file {
	char name[256]; /* in the folder of plans */
	char id[64];
	int is_superseded; /* by another one that was tried; 0 at first */
};

/*
 * Lists the plans of a folder, "NN-<id>.json", in the order to try. Returns how many, at most QMR_PLANS_MAX; 0 if the
 * folder cannot be read.
 */
size_t qmr_plans_list(int dirfd, struct qmr_plan_file ret_plans[QMR_PLANS_MAX]);

#endif
