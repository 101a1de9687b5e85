/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_CHILD_H
#define QMR_CHILD_H

#include <stddef.h>

#include "error.h"

/*
 * Runs argv[0] (absolute path) with its own process group and waits for it, at most deadline_ms milliseconds; then the
 * group gets SIGTERM, and SIGKILL once the program is gone or 2 s later. Standard input is /dev/null. If ret_output is not NULL, standard output is
 * collected into it (malloc, caller frees, NUL-terminated, at most output_max bytes, more is dropped); otherwise it is
 * inherited. Returns the exit code (0..255), 128+N if it died of signal N, -ETIMEDOUT, or a negative errno if it
 * could not be started.
 */
int qmr_child_run(char *const argv[], int deadline_ms, char **ret_output, size_t output_max,
		  struct qmr_error *err) QMR_MUST_CHECK;

/* The same with standard output inherited, where any other exit code than 0 and fine_code is an error (-EIO). Returns 0 or a negative errno. */
int qmr_child_require(char *const argv[], int deadline_ms, int fine_code, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * qmr_child_run() with standard output and standard error together: they are added to the *tail_size bytes in tail (tail_max bytes, no
 * NUL is added), and what is too much is dropped from the beginning. What was written before a deadline passed is there too.
 */
int qmr_child_run_tail(char *const argv[], int deadline_ms, char *tail, size_t tail_max, size_t *tail_size,
		       struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Runs function in a forked child, so that a crash or a hang in it (a driver, a firmware call, a hostile file system) costs
 * no more than its result. What it puts into answer (answer_size bytes, at most 4,096, zeroed before) and its error text
 * come back. Returns what function returned; -ETIMEDOUT after deadline_ms, when the child is killed (or left, if it is
 * stuck in the kernel); -EIO if it died. For programs with one thread only.
 */
int qmr_child_call(int (*function)(void *context, void *answer, struct qmr_error *err), void *context, int deadline_ms,
		   void *ret_answer, size_t answer_size, struct qmr_error *err) QMR_MUST_CHECK;

#endif
