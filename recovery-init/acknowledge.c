/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "acknowledge.h"

/*
 * Recovery ran before, and no boot was started since: the firmware or the loader has nothing else to start, or somebody does not want to. A new
 * incident each time would make that a loop that nobody counts.
 */
static int has_come_back(const struct qmr_state *state)
{
	if (qmr_uuid_is_null(state->incident))
		return 0;
	return state->n_attempts ? state->attempts[0].flags & QMR_ATTEMPT_RECOVERED : state->recovery_runs > 0;
}

int qmr_acknowledge(struct qmr_state *state, const struct qmr_evidence *evidence, int window_s, int is_own)
{
	static const int is_over[] = {[QMR_STAGE_NONE] = 1, [QMR_STAGE_GIVEN_UP] = 1, [QMR_STAGE_FINAL] = 1,
				      [QMR_STAGE_HEALED] = 1};
	int begins = qmr_uuid_is_null(state->incident) ||
		     (!has_come_back(state) && state->stage < sizeof(is_over) / sizeof(*is_over) && is_over[state->stage]);

	if (evidence->panic || (state->n_attempts && state->attempts[0].outcome == QMR_OPEN))
		qmr_state_close_last(state, evidence, window_s);
	if (begins) {
		qmr_uuid_random(state->incident);
		state->recovery_runs = 0;
		state->rungs = 0;
		state->remediation[0] = '\0';
		state->failed_boots = (uint8_t)qmr_state_failures(state);
	}
	/* Nobody asked: the firmware went on to our entry, or somebody or the loader chose it in a menu. */
	if (state->stage != QMR_STAGE_SWITCHING)
		state->reason = is_own ? QMR_REASON_BOOT_ORDER : QMR_REASON_MENU;
	/* Who looks into the menu during probation does not end it. */
	if (state->stage != QMR_STAGE_PROBATION)
		state->stage = QMR_STAGE_RECOVERING;
	state->switches = 0;
	state->final = QMR_END_NONE;
	if (state->n_attempts)
		state->attempts[0].flags |= QMR_ATTEMPT_RECOVERED;
	if (state->recovery_runs < UINT8_MAX)
		state->recovery_runs++;
	return begins;
}

uint32_t qmr_acknowledge_take_request(struct qmr_state *state)
{
	uint32_t request = state->flags & QMR_STATE_REQUESTS;

	state->flags &= ~request;
	/* A switch is never a test: whoever decided it after the test was asked for needs recovery. */
	return request & (state->stage == QMR_STAGE_SWITCHING ? QMR_STATE_COLLECT_ONLY : QMR_STATE_TEST);
}

int qmr_effective_mode(int policy, unsigned int reason, uint32_t request)
{
	if (request & (QMR_STATE_TEST | QMR_STATE_COLLECT_ONLY))
		return QMR_MODE_COLLECT;
	if (policy >= QMR_MODE_COLLECT)
		return policy;
	return reason == QMR_REASON_MENU ? QMR_MODE_ASK : QMR_MODE_COLLECT;
}
