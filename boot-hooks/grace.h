/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_GRACE_H
#define QMR_GRACE_H

#include <stdint.h>

#include "error.h"

/* The time between telling people of a restart and the restart, docs/requests.md ("On the machine", steps 3 and 4). */

#define QMR_GRACE_FIFO "/run/qmr/defer"
#define QMR_GRACE_MINUTES_MAX 10080 /* of one line; a week */

struct qmr_grace {
	const char *fifo;              /* made while it lasts; lines of whole minutes written into it put the end off */
	int64_t grace_ms, defer_ms;    /* until the end; by how much the end may be put off, all in all */
	/* Called with one line at the beginning, at every change, and near the end. */
	void (*tell)(void *context, const char *text);
	void *context;
};

/*
 * Waits. Time stands still while the machine sleeps. Returns 0 at the end, -EINTR if SIGTERM or SIGINT came first (both are blocked on the way,
 * and as they were afterwards), or another negative errno if it could not wait.
 */
int qmr_grace_wait(const struct qmr_grace *grace, struct qmr_error *err) QMR_MUST_CHECK;

/* Puts the end off: what qmrctl defer does. -ENOENT: nothing is waited for. */
int qmr_grace_defer(const char *fifo, int minutes, struct qmr_error *err) QMR_MUST_CHECK;

#endif
