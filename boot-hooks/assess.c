/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "assess.h"

#include <string.h>

/* What the run of bad boots reaches, strongest first; 0 in the policy switches a row off. */
struct threshold {
	int found, needed;
	enum qmr_rung_limit rungs;
	const char *why;
};

static const struct threshold *reached(const struct threshold *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (rows[i].needed > 0 && rows[i].found >= rows[i].needed)
			return &rows[i];
	return NULL;
}

static int larger(int a, int b)
{
	return a > b ? a : b;
}

/* docs/detector.md, "Thresholds". Returns 1 if recovery is due. */
static int is_due(const struct qmr_state *state, const struct qmr_config *c, struct qmr_verdict *v)
{
	int on_probation = state->stage == QMR_STAGE_PROBATION;
	int failed = v->run.failures + v->run.crashes;
	const struct threshold rows[] = {
		{failed, on_probation, QMR_RUNGS_ALL, "the remediation did not help"},
		{v->run.failures, c->failures, QMR_RUNGS_ALL, "failed boots in a row"},
		{v->run.crashes, c->crashes_after_healthy, QMR_RUNGS_ALL, "crashes soon after healthy in a row"},
		{c->crashes_after_healthy ? failed : 0, larger(c->failures, c->crashes_after_healthy), QMR_RUNGS_ALL,
		 "failed boots and crashes soon after healthy in a row"},
		{c->unknowns ? v->run.unknowns + failed : 0, c->unknowns, QMR_RUNGS_SIGNED,
		 "boots in a row that ended without evidence"},
	};
	const struct threshold *row = reached(rows, sizeof(rows) / sizeof(*rows));

	if (!row)
		return 0;
	v->rungs = row->rungs;
	v->why = row->why;
	return 1;
}

struct qmr_verdict qmr_assess(const struct qmr_state *state, const struct qmr_config *config)
{
	struct qmr_verdict v = {.stage = state->stage, .run = qmr_state_run(state), .why = "too few failures"};
	int is_open = state->stage == QMR_STAGE_RECOVERING || state->stage == QMR_STAGE_PROBATION;

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
	} else if (is_due(state, config, &v)) {
		v.recover = !is_open || state->recovery_runs < config->recovery_runs;
		if (!v.recover) {
			v.stage = QMR_STAGE_GIVEN_UP;
			v.why = "all recovery runs of this incident are used up";
		}
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
