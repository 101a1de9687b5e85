/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot-state-json.h"

#include "uuid.h"

json_t *qmr_attempt_to_json(const struct qmr_attempt *a)
{
	return json_pack("{s:I, s:I, s:s, s:s, s:s, s:i, s:I, s:I}", "number", (json_int_t)a->number, "started_unix_s",
			 (json_int_t)a->started_unix_s, "outcome", qmr_outcome_name(a->outcome), "phase", qmr_phase_name(a->phase),
			 "evidence", qmr_evidence_name(a->evidence), "flags", (int)a->flags, "uptime_s", (json_int_t)a->uptime_s,
			 "kernel_crc32", (json_int_t)a->kernel_crc32);
}

static json_t *attempts_to_json(const struct qmr_state *state)
{
	json_t *list = json_array();

	for (int i = 0; i < state->n_attempts; i++)
		(void)json_array_append_new(list, qmr_attempt_to_json(&state->attempts[i]));
	return list;
}

/* Text from the variable may hold any byte: what is not UTF-8 is left out rather than failing the whole. */
static json_t *text(const char *s)
{
	json_t *j = json_string(s);

	return j ? j : json_string("");
}

json_t *qmr_state_to_json(const struct qmr_state *state)
{
	char root[QMR_UUID_TEXT], incident[QMR_UUID_TEXT], floor[QMR_FLOOR_TEXT] = "";
	json_t *modules = json_array();

	qmr_uuid_format(state->root, root);
	if (qmr_floor_is_set(&state->floor))
		qmr_floor_format(&state->floor, floor);
	qmr_uuid_format(state->incident, incident);
	for (int i = 0; i < QMR_STATE_MODULES; i++)
		if (state->modules[i][0])
			(void)json_array_append_new(modules, text(state->modules[i]));
	return json_pack("{s:i, s:I, s:I, s:s, s:s, s:I, s:s, s:s, s:i, s:i, s:s, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:I, s:s}",
			 "schema", 1, "sequence", (json_int_t)state->sequence, "flags", (json_int_t)state->flags,
			 "root", root, "incident", incident, "boots", (json_int_t)state->boots, "stage",
			 qmr_stage_name(state->stage), "reason", qmr_reason_name(state->reason), "switches",
			 (int)state->switches, "recovery_runs", (int)state->recovery_runs, "final_condition",
			 qmr_final_condition_name(state->final), "rungs", (int)state->rungs, "failed_boots",
			 (int)state->failed_boots, "attempts", attempts_to_json(state), "blocked_modules", modules,
			 "remediation", text(state->remediation), "kernel", text(state->kernel), "note",
			 text(state->note), "machine", (json_int_t)state->machine, "floor", floor);
}
