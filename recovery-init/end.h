/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_END_H
#define QMR_END_H

#include "acknowledge.h"
#include "timeline.h"

/* How a run ends: from what the steps left behind. Pure; note is filled where it is empty. */
struct qmr_ending qmr_end_decide(struct qmr_recovery *recovery, const char *why);

/* The word for it in the timeline. */
const char *qmr_end_name(const struct qmr_recovery *recovery, const struct qmr_ending *ending);

/* What reboot(2) is to do: RB_AUTOBOOT, RB_POWER_OFF, or RB_HALT_SYSTEM, which a menu ends in without an answer. */
int qmr_end_how(const struct qmr_recovery *recovery, const struct qmr_ending *ending);

/*
 * Records the run (boot state, timeline, log), unmounts, says how it ends and does it: restart, halt, or a menu that ends in one of
 * them. why: one line from the last step that decided. Does not return.
 */
void qmr_end(struct qmr_recovery *recovery, struct qmr_timeline *timeline, const char *why) __attribute__((noreturn));

#endif
