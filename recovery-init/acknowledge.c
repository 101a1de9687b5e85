/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "acknowledge.h"

int qmr_acknowledge(struct qmr_state *state, int new_panic, int is_own)
{
	static const int is_over[] = {[QMR_STAGE_NONE] = 1, [QMR_STAGE_GIVEN_UP] = 1, [QMR_STAGE_FINAL] = 1,
				      [QMR_STAGE_HEALED] = 1};
	/*
	 * The firmware came back to recovery without a boot in between: the system's own entry is dead. A new incident each time
	 * would make that a loop that nobody counts.
	 */
	int came_back = is_own && state->stage == QMR_STAGE_FINAL &&
			(state->n_attempts == 0 || state->attempts[0].outcome != QMR_OPEN);
	int begins = qmr_uuid_is_null(state->incident) ||
		     (!came_back && state->stage < sizeof(is_over) / sizeof(*is_over) && is_over[state->stage]);

	if (new_panic || (state->n_attempts && state->attempts[0].outcome == QMR_OPEN))
		qmr_state_close_last(state, new_panic);
	if (begins) {
		qmr_uuid_random(state->incident);
		state->recovery_runs = 0;
		state->rungs = 0;
		state->remediation[0] = '\0';
		state->failed_boots = (uint8_t)qmr_state_failures(state);
	}
	/* Nobody asked: the firmware went on to our entry, or somebody chose it in a menu. */
	if (state->stage != QMR_STAGE_SWITCHING)
		state->reason = is_own ? QMR_REASON_BOOT_ORDER : QMR_REASON_MENU;
	state->stage = QMR_STAGE_RECOVERING;
	state->switches = 0;
	state->final = QMR_END_NONE;
	if (state->recovery_runs < UINT8_MAX)
		state->recovery_runs++;
	return begins;
}

int qmr_effective_mode(int policy, unsigned int reason)
{
	if (policy >= QMR_MODE_COLLECT)
		return policy;
	return reason == QMR_REASON_MENU ? QMR_MODE_ASK : QMR_MODE_COLLECT;
}
