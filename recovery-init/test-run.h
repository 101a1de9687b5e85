/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_TEST_RUN_H
#define QMR_TEST_RUN_H

#include "timeline.h"

/* How a test of the recovery image went, docs/boot-state.md, "Beside it on the root". */

/* On the system's root, of the first image and of the second. */
#define QMR_LAST_TEST "/var/lib/qmr/last-test.json"
#define QMR_LAST_TEST_SECOND "/var/lib/qmr/last-test-2.json"

/* The first thing that recovery could not do, "step: why"; empty if it could do all. Pure. */
void qmr_test_judge(const struct qmr_recovery *recovery, const struct qmr_timeline *timeline, char *ret_failed, size_t size);

/*
 * Leaves the result where the running system sees it: in the file of the image that runs, or where the root is not mounted for writing, in
 * the note of the boot state, of which nothing else is changed. One line of it goes into the run's note. What fails is logged.
 */
void qmr_test_record(struct qmr_recovery *recovery, const struct qmr_timeline *timeline);

#endif
