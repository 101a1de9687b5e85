/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_HEALTH_CHECK_H
#define QMR_HEALTH_CHECK_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "error.h"
#include "greenboot-conf.h"

#define QMR_CHECKS_MAX 1024
#define QMR_CHECK_OUTPUT_BYTES 65536
#define QMR_GREENBOOT_CONF "/etc/greenboot/greenboot.conf"

enum qmr_check_result { QMR_CHECK_NOT_RUN, QMR_CHECK_PASSED, QMR_CHECK_FAILED, QMR_CHECK_LATE };

struct qmr_check {
	/* set by qmr_checks_find() */
	char *name, *path; /* owned; name is the file's, path begins with the root that was given */
	int required;
	int with_bash; /* greenboot runs *.sh so, whatever their mode */
	int switched_off; /* by greenboot.conf */
	int masked; /* while qmr_checks_find() looks: hides its namesakes; never in what it returns */
	char problem[256]; /* why it cannot be run; empty: it can be */
	/* set by qmr_check_run() */
	enum qmr_check_result result;
	int attempts;
	int exit_code; /* of the last attempt, 128 + N for signal N; -1: there was none */
	int64_t duration_ms; /* of the last attempt */
	char why[512]; /* it did not pass; empty otherwise */
	char *output; /* owned; the last 64 KiB of what all attempts wrote, no NUL at the end */
	size_t output_size;
};

struct qmr_checks {
	struct qmr_check *items; /* owned; required ones first, by name among themselves */
	size_t n;
};

/*
 * Finds the checks below root ("" for /): those of qmr's folders and of greenboot's. What is in a required folder and cannot be run is found
 * too, with its problem, a folder that cannot be read among it. disabled are greenboot's. Fails only for want of memory, or of
 * room: -E2BIG for more than QMR_CHECKS_MAX.
 */
int qmr_checks_find(const char *root, const struct qmr_greenboot_names *disabled, struct qmr_checks *ret_checks,
		    struct qmr_error *err) QMR_MUST_CHECK;

/* Frees what checks holds and leaves it empty. */
void qmr_checks_done(struct qmr_checks *checks);

/* It counts: a required check that did not pass and was not switched off. */
int qmr_check_is_failure(const struct qmr_check *check);

/*
 * Runs one check, a required one up to [checks] attempts times, and fills in its result. Bounded: attempts * (deadline + 4 s + pause). Logs
 * attempts that are made again.
 */
void qmr_check_run(struct qmr_check *check, const struct qmr_config *config);

/* The last line that says something, at most 200 bytes. Empty where there is none. */
void qmr_check_last_line(const struct qmr_check *check, char ret_line[201]);

/* The content of last.json (docs/man/health-check.8). The caller owns it; NULL for want of memory. */
json_t *qmr_checks_json(const struct qmr_checks *checks, int64_t started_unix_s);

/*
 * Replaces ROOT/var/lib/qmr/checks: last.json and an output file of each check that was run. Durable; after a cut the folder is the old one
 * or the new one. On failure it is the old one. -EBUSY: another run is saving.
 */
int qmr_checks_save(const char *root, const struct qmr_checks *checks, const json_t *json, struct qmr_error *err) QMR_MUST_CHECK;

#endif
