/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "assess.h"

#include <string.h>

/* What an outcome does to the run of failures that is being counted, from the newest attempt backwards. */
enum effect { EFFECT_NEUTRAL, EFFECT_COUNTS, EFFECT_ENDS_RUN };

static const enum effect effects[] = {
	[QMR_OPEN] = EFFECT_NEUTRAL,
	[QMR_HEALTHY] = EFFECT_ENDS_RUN,
	[QMR_CLEAN_SHUTDOWN] = EFFECT_NEUTRAL,
	[QMR_PANIC] = EFFECT_COUNTS,
	[QMR_HANG] = EFFECT_COUNTS,
	[QMR_EMERGENCY] = EFFECT_COUNTS,
	[QMR_UNKNOWN] = EFFECT_NEUTRAL,
};

static int count_failures(const struct qmr_state *state)
{
	int n = 0;

	for (int i = 0; i < state->n_attempts; i++) {
		const struct qmr_attempt *a = &state->attempts[i];

		/* It had been healthy, however it ended; and what a remediation followed is not to be counted again. */
		if (effects[a->outcome] == EFFECT_ENDS_RUN || a->phase == QMR_PHASE_HEALTHY)
			break;
		if (state->stage == QMR_STAGE_PROBATION && !(a->flags & QMR_ATTEMPT_PROBATION))
			break;
		if (effects[a->outcome] == EFFECT_COUNTS)
			n++;
	}
	return n;
}

struct qmr_verdict qmr_assess(const struct qmr_state *state, const struct qmr_config *config)
{
	struct qmr_verdict v = {.stage = state->stage, .why = "too few failures"};
	int needed = state->stage == QMR_STAGE_PROBATION ? 1 : config->failures;

	v.failed_boots = count_failures(state);
	if (config->mode == QMR_MODE_OFF) {
		v.why = "mode is off";
	} else if (state->stage == QMR_STAGE_GIVEN_UP || state->stage == QMR_STAGE_FINAL) {
		v.why = "recovery has ended for this incident; a healthy boot begins anew";
	} else if (state->stage == QMR_STAGE_SWITCHING && state->switches >= QMR_SWITCHES_MAX) {
		v.stage = QMR_STAGE_GIVEN_UP;
		v.why = "the recovery image did not start twice";
	} else if (state->stage == QMR_STAGE_SWITCHING) {
		v.recover = 1;
		v.why = "the recovery image did not start, once more";
	} else if (v.failed_boots >= needed && state->recovery_runs >= config->recovery_runs) {
		v.stage = QMR_STAGE_GIVEN_UP;
		v.why = "all recovery runs of this incident are used up";
	} else if (v.failed_boots >= needed) {
		v.recover = 1;
		v.why = needed == 1 ? "the remediation did not help" : "failed boots in a row";
	}
	return v;
}

void qmr_assess_add_attempt(struct qmr_state *state, const struct qmr_attempt *attempt)
{
	memmove(&state->attempts[1], &state->attempts[0], sizeof(state->attempts) - sizeof(state->attempts[0]));
	state->attempts[0] = *attempt;
	if (state->n_attempts < QMR_STATE_ATTEMPTS)
		state->n_attempts++;
}
