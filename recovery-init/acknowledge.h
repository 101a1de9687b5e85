/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_ACKNOWLEDGE_H
#define QMR_ACKNOWLEDGE_H

#include "recovery.h"

/* What the boot state says after a run of recovery. */
struct qmr_ending {
	enum qmr_stage stage;
	enum qmr_final_condition final;
	int rung;                /* QMR_RUNG_*, added; 0: none */
	const char *remediation; /* NULL: as it is */
	const char *note;
};

/* Has it written by recovery-state, which changes the rest of the boot state not at all. */
int qmr_ending_save(struct qmr_recovery *recovery, const struct qmr_ending *ending, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Takes notice in state that recovery runs: closes the attempt that led here by its evidence (window_s: [policy] crash_window), finds the
 * reason where nobody asked (is_own_entry: the firmware started this image by its own boot entry), begins an incident if
 * none is open. Pure but for a random id. Returns whether an incident was begun.
 */
int qmr_acknowledge(struct qmr_state *state, const struct qmr_evidence *evidence, int window_s, int is_own_entry);

/*
 * Takes out of state what was asked of this run alone, so that it is asked of no later one: QMR_STATE_TEST, QMR_STATE_COLLECT_ONLY, or 0. Which
 * image was to be tested is taken out too, but the firmware knows better which one runs.
 * A test leaves everything else in the state as it is: qmr_acknowledge() is not called then.
 */
uint32_t qmr_acknowledge_take_request(struct qmr_state *state);

/* The mode that holds: somebody who asks for recovery gets at least the evidence collected, whatever the policy;
 * nothing is changed in a run that is for collecting or testing alone (request, as taken out of the state). */
int qmr_effective_mode(int policy, unsigned int reason, uint32_t request);

#endif
