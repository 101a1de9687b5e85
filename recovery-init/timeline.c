/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "timeline.h"

#include <stdio.h>
#include <time.h>

int64_t qmr_timeline_now_ms(void)
{
	struct timespec ts = {0};

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct qmr_timeline_step *qmr_timeline_begin(struct qmr_timeline *timeline, const char *name)
{
	struct qmr_timeline_step *step;

	if (timeline->n_steps < QMR_TIMELINE_STEPS)
		timeline->n_steps++;
	step = &timeline->steps[timeline->n_steps - 1];
	*step = (struct qmr_timeline_step){.name = name, .start_ms = qmr_timeline_now_ms()};
	return step;
}

json_t *qmr_timeline_steps_to_json(const struct qmr_timeline *timeline)
{
	json_t *steps = json_array();

	for (unsigned int i = 0; steps && i < timeline->n_steps; i++) {
		const struct qmr_timeline_step *s = &timeline->steps[i];
		json_t *text = json_string(s->text); /* NULL if a message holds what is not UTF-8 */

		(void)json_array_append_new(steps, json_pack("{s:s, s:I, s:I, s:s, s:o}", "step", s->name, "start_ms",
							     (json_int_t)s->start_ms, "duration_ms",
							     (json_int_t)s->duration_ms, "result",
							     qmr_result_name(s->result), "text",
							     text ? text : json_string("")));
	}
	return steps;
}

json_t *qmr_timeline_to_json(const struct qmr_timeline *timeline, const json_t *old, const struct qmr_state *state,
			     const char *end)
{
	int is_known = json_integer_value(json_object_get(old, "schema")) == 1;
	const json_t *old_runs = is_known ? json_object_get(old, "runs") : NULL;
	size_t n_old = json_array_size(old_runs);
	json_t *runs = json_array();

	for (size_t i = n_old < QMR_TIMELINE_RUNS ? 0 : n_old - QMR_TIMELINE_RUNS + 1; runs && i < json_array_size(old_runs); i++)
		(void)json_array_append(runs, json_array_get(old_runs, i)); /* without memory the next call fails too */
	if (!runs || json_array_append_new(runs, json_pack("{s:i, s:s, s:I, s:o, s:s}", "run", (int)state->recovery_runs,
							   "reason", qmr_reason_name(state->reason), "started_unix_s",
							   (json_int_t)timeline->started_unix_s, "steps",
							   qmr_timeline_steps_to_json(timeline), "end", end)) < 0) {
		json_decref(runs);
		return NULL;
	}
	return json_pack("{s:i, s:o}", "schema", 1, "runs", runs);
}
