/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "assess.h"

#include <string.h>

struct qmr_verdict qmr_assess(const struct qmr_state *state, const struct qmr_config *config)
{
	struct qmr_verdict v = {.stage = state->stage, .why = "too few failures"};
	int needed = state->stage == QMR_STAGE_PROBATION ? 1 : config->failures;
	int is_open = state->stage == QMR_STAGE_RECOVERING || state->stage == QMR_STAGE_PROBATION;

	v.failed_boots = qmr_state_failures(state);
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
	} else if (v.failed_boots >= needed && is_open && state->recovery_runs >= config->recovery_runs) {
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
