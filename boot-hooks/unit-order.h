/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_UNIT_ORDER_H
#define QMR_UNIT_ORDER_H

#include <stddef.h>

#include "error.h"

/*
 * Services that multi-user.target pulls in, and that are ordered behind boot-complete.target: rauc-mark-good.service and greenboot's, for
 * instance. systemd orders what a target pulls in before the target (systemd.target(5)), unless the two are ordered otherwise. With
 * boot-complete.target behind multi-user.target, as qmr-checks.service and systemd's own systemd-boot-check-no-failures.service have it, that is a
 * cycle, which systemd breaks by not starting one of those in it. Such services need an After=multi-user.target.
 */

#define QMR_UNIT_ORDER_MAX 1024 /* units that multi-user.target pulls in */

/* Called with the name of each unit that needs it; not 0 ends the search. */
typedef int qmr_unit_order_found(void *data, const char *unit, struct qmr_error *err);

/* 1 if qmr-checks.service is enabled, and with it that order. */
int qmr_unit_order_is_ours(int root_fd);

/*
 * Looks at the units of a root: what folders multi-user.target.wants and .requires name, also behind one another. Units below /run, those
 * pulled in by other targets, and links in Wants= lines are not looked at. Returns 0, what found returned, or a negative errno (-E2BIG);
 * a unit that cannot be read is passed over.
 */
int qmr_unit_order_find(int root_fd, qmr_unit_order_found *found, void *data, struct qmr_error *err) QMR_MUST_CHECK;

#endif
