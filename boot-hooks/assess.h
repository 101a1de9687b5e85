/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_ASSESS_H
#define QMR_ASSESS_H

#include "boot-state.h"
#include "config.h"

/* The assessor: history + policy -> boot or recover, and why. Pure: no input or output, no clock. docs/detector.md. */

#define QMR_SWITCHES_MAX 2

/* How far recovery may go on this verdict, beside what mode and policy allow. */
enum qmr_rung_limit {
	QMR_RUNGS_ALL,   /* the whole ladder */
	QMR_RUNGS_SIGNED /* no evidence but boots that ended: nothing changes on disk without a signed plan */
};

struct qmr_verdict {
	int recover;             /* 1: switch to the recovery image, whatever the mode then allows */
	int stage;               /* enum qmr_stage that follows, unless a switch is made */
	enum qmr_rung_limit rungs;
	struct qmr_run run;      /* what was counted */
	const char *why;         /* static text for people */
};

/*
 * Judges at the start of a boot, after the last attempt was given its outcome and before the new one is added. Every
 * state and every policy has an answer.
 */
struct qmr_verdict qmr_assess(const struct qmr_state *state, const struct qmr_config *config);

/* Adds an attempt in front; the oldest of 16 is forgotten. */
void qmr_assess_add_attempt(struct qmr_state *state, const struct qmr_attempt *attempt);

#endif
