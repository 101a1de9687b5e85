/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_TIMELINE_H
#define QMR_TIMELINE_H

#include <jansson.h>
#include <stdint.h>

#include "recovery.h"

/* What happened in this run, step by step: timeline.json of docs/incident.md. */

#define QMR_TIMELINE_STEPS 32
#define QMR_TIMELINE_RUNS 16 /* kept of one incident, the newest */

struct qmr_timeline {
	uint64_t started_unix_s;
	unsigned int n_steps;
	struct qmr_timeline_step {
		const char *name; /* static */
		int64_t start_ms, duration_ms; /* since the recovery kernel started */
		enum qmr_result result;
		char text[240];
	} steps[QMR_TIMELINE_STEPS];
};

/* Its steps alone, a list of objects; NULL when out of memory. The caller owns it. */
json_t *qmr_timeline_steps_to_json(const struct qmr_timeline *timeline);

/* Milliseconds since the kernel started. */
int64_t qmr_timeline_now_ms(void);

/* The begun step; beyond the limit the last one is used again. Borrowed. */
struct qmr_timeline_step *qmr_timeline_begin(struct qmr_timeline *timeline, const char *name);

/*
 * The runs so far (old, NULL or not of schema 1: none) and this one, which ends as end says. The caller owns the result; NULL
 * when out of memory.
 */
json_t *qmr_timeline_to_json(const struct qmr_timeline *timeline, const json_t *old, const struct qmr_state *state,
			     const char *end);

#endif
