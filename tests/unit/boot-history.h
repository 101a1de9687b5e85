/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_BOOT_HISTORY_H
#define TEST_BOOT_HISTORY_H

#include "assess.h"

/*
 * Histories of boots for tests: texts of letters, oldest first, one for each way a boot may go; what stands behind a '|' was started on
 * probation. Made from docs/detector.md and the headers, without a look at the code.
 */

#define HEALTHY_AT_S 40
#define WINDOW_S 120 /* the default crash_window */

enum effect { GOOD, NONE, UNKNOWN, CRASH, FAILURE }; /* the table "What counts"; each adds evidence to those before it */
enum record { NO_RECORD, AT_ONCE, AT_WINDOW, LATE, NO_TIME };

/* One way a boot may go: what it recorded itself, what the next start finds of it, and what it counts as. */
struct way {
	char letter;
	uint8_t outcome, phase, flags, evidence;
	enum record record; /* when the crash record says it was */
	int watchdog;
	enum effect effect;
};

extern const struct way ways[];
extern const unsigned int n_ways;

/* Fails the test if there is none. */
const struct way *way_of(char letter);

/* A machine that was never started. */
void begin(struct qmr_state *state);

/* A boot is started, goes that way, and the next start closes it. */
void boot(struct qmr_state *state, const struct way *way, int probation, int window_s, uint64_t started_unix_s);

/* All of a history. */
void play(struct qmr_state *state, const char *history, int window_s);

/* The defaults but for failures, crashes_after_healthy, unknowns and recovery_runs. */
void set_policy(struct qmr_config *config, int mode, const int policy[4]);

/* Fails the test where they differ in what matters: the stage does not where a switch is made, nor do the rungs where none is. */
void check_verdict(const char *name, const struct qmr_verdict *is, const struct qmr_verdict *should);

#endif
