/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "boot-history.h"
#include "watchdog.h"

const struct way ways[] = {
	{'h', QMR_HEALTHY, QMR_PHASE_HEALTHY, 0, 0, NO_RECORD, 0, GOOD},
	{'H', QMR_HEALTHY, QMR_PHASE_HEALTHY, 0, 0, LATE, 0, GOOD},
	{'t', QMR_HEALTHY, QMR_PHASE_HEALTHY, 0, 0, NO_TIME, 0, GOOD}, /* a crash, but nothing says that it was soon */
	{'B', QMR_HEALTHY, QMR_PHASE_HEALTHY, QMR_ATTEMPT_ATTENDED, 0, NO_RECORD, 0, GOOD}, /* the shell was left again */
	{'c', QMR_HEALTHY, QMR_PHASE_HEALTHY, 0, 0, AT_ONCE, 0, CRASH},
	{'C', QMR_HEALTHY, QMR_PHASE_HEALTHY, 0, 0, AT_WINDOW, 0, CRASH},
	{'p', QMR_OPEN, QMR_PHASE_INITRAMFS, 0, 0, NO_TIME, 0, FAILURE},
	{'P', QMR_OPEN, QMR_PHASE_USERSPACE, 0, 0, LATE, 1, FAILURE},
	{'W', QMR_OPEN, QMR_PHASE_WAITING, 0, 0, AT_ONCE, 0, FAILURE}, /* a panic at the prompt is no power cut */
	{'k', QMR_PANIC, QMR_PHASE_INITRAMFS, 0, QMR_BY_CRASH_RECORD, NO_RECORD, 0, FAILURE}, /* by kdump's kernel */
	{'d', QMR_HANG, QMR_PHASE_USERSPACE, 0, QMR_BY_DEADLINE, NO_RECORD, 0, FAILURE},
	{'s', QMR_EMERGENCY, QMR_PHASE_INITRAMFS, 0, QMR_BY_INITRAMFS_SHELL, NO_RECORD, 0, FAILURE},
	{'e', QMR_EMERGENCY, QMR_PHASE_USERSPACE, 0, QMR_BY_EMERGENCY_TARGET, NO_RECORD, 0, FAILURE},
	{'E', QMR_EMERGENCY, QMR_PHASE_USERSPACE, 0, QMR_BY_EMERGENCY_TARGET, AT_ONCE, 0, FAILURE},
	{'q', QMR_EMERGENCY, QMR_PHASE_USERSPACE, 0, QMR_BY_REQUIRED_CHECK, NO_RECORD, 0, FAILURE},
	{'u', QMR_OPEN, QMR_PHASE_INITRAMFS, 0, 0, NO_RECORD, 0, UNKNOWN},
	{'U', QMR_OPEN, QMR_PHASE_USERSPACE, 0, 0, NO_RECORD, 0, UNKNOWN},
	{'z', QMR_OPEN, QMR_PHASE_WAITING, 0, 0, NO_RECORD, 0, NONE},
	{'n', QMR_CLEAN_SHUTDOWN, QMR_PHASE_SHUTDOWN, 0, 0, NO_RECORD, 0, NONE},
	{'a', QMR_EMERGENCY, QMR_PHASE_USERSPACE, QMR_ATTEMPT_ATTENDED, QMR_BY_EMERGENCY_TARGET, NO_RECORD, 0, NONE},
	{'A', QMR_OPEN, QMR_PHASE_USERSPACE, QMR_ATTEMPT_ATTENDED, 0, NO_RECORD, 0, NONE},
	{'D', QMR_HANG, QMR_PHASE_USERSPACE, QMR_ATTEMPT_ATTENDED, QMR_BY_DEADLINE, NO_RECORD, 0, NONE},
	{'x', QMR_EMERGENCY, QMR_PHASE_USERSPACE, QMR_ATTEMPT_ATTENDED, QMR_BY_EMERGENCY_TARGET, AT_ONCE, 0, FAILURE},
	{'w', QMR_OPEN, QMR_PHASE_USERSPACE, 0, 0, NO_RECORD, 1, FAILURE},
	{'r', QMR_HEALTHY, QMR_PHASE_HEALTHY, 0, 0, NO_RECORD, 1, GOOD}, /* healthy, and then a reset */
};
const unsigned int n_ways = sizeof(ways) / sizeof(*ways);

const struct way *way_of(char letter)
{
	for (unsigned int i = 0; i < n_ways; i++)
		if (ways[i].letter == letter)
			return &ways[i];
	fail_msg("no way of booting is called '%c'", letter);
	return NULL;
}

void begin(struct qmr_state *state)
{
	static const uint8_t root[16] = {1};

	qmr_state_init(state, root);
}

void boot(struct qmr_state *state, const struct way *way, int probation, int window_s, uint64_t started)
{
	static const int64_t after[] = {[AT_ONCE] = 0, [AT_WINDOW] = 0, [LATE] = 1};
	struct qmr_attempt attempt = {.number = ++state->boots, .started_unix_s = started,
				      .flags = probation ? QMR_ATTEMPT_PROBATION : 0};
	struct qmr_evidence found = {.panic = way->record != NO_RECORD, .crash_uptime_s = -1};

	qmr_assess_add_attempt(state, &attempt);
	state->attempts[0].outcome = way->outcome;
	state->attempts[0].phase = way->phase;
	state->attempts[0].flags |= way->flags;
	state->attempts[0].evidence = way->evidence;
	state->attempts[0].uptime_s = way->outcome == QMR_OPEN ? 0 : HEALTHY_AT_S;
	if (found.panic && way->record != NO_TIME)
		found.crash_uptime_s = HEALTHY_AT_S + after[way->record] + (way->record == AT_ONCE ? 0 : window_s);
	(void)qmr_watchdog_judge(state, 0, way->watchdog);
	qmr_state_close_last(state, &found, window_s);
}

void play(struct qmr_state *state, const char *history, int window_s)
{
	int probation = 0;

	for (; *history; history++)
		if (*history == '|')
			probation = 1;
		else
			boot(state, way_of(*history), probation, window_s, 0);
}

void set_policy(struct qmr_config *config, int mode, const int policy[4])
{
	qmr_config_defaults(config);
	config->mode = mode;
	config->failures = policy[0];
	config->crashes_after_healthy = policy[1];
	config->unknowns = policy[2];
	config->recovery_runs = policy[3];
}

void check_verdict(const char *name, const struct qmr_verdict *is, const struct qmr_verdict *should)
{
	if (is->recover == should->recover && (is->recover || is->stage == should->stage) &&
	    (!is->recover || is->rungs == should->rungs) && !memcmp(&is->run, &should->run, sizeof(is->run)) && is->why && *is->why)
		return;
	fail_msg("%s: recover %d stage %s rungs %d, %d failures %d crashes %d unknowns, '%s'; should be %d %s %d, %d %d %d", name, is->recover,
		 qmr_stage_name((unsigned int)is->stage), is->rungs, is->run.failures, is->run.crashes, is->run.unknowns,
		 is->why ? is->why : "NULL", should->recover, qmr_stage_name((unsigned int)should->stage), should->rungs,
		 should->run.failures, should->run.crashes, should->run.unknowns);
}
