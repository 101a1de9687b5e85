/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_CHANGE_LOG_UPDATE_H
#define QMR_CHANGE_LOG_UPDATE_H

#include <jansson.h>
#include <stdint.h>

#include "config.h"
#include "error.h"
#include "restore-point.h"

/* Bringing the change log up to date, docs/changes.md. */

struct qmr_change_log_run {
	int root_fd;
	const struct qmr_config *config;
	const char *boot; /* id of this boot, which was found healthy; NULL: no boot is counted */
	/* The newest restore point before this run, zeroed if there was none, and after it (0: none). */
	const struct qmr_restore_point *previous;
	uint64_t newest;
};

/*
 * Appends to the log what changed since its last run, and counts the boot if it was not. Durable; each file is replaced only
 * if its content changes, and the log is not even read if there is nothing new. A part that cannot be looked at is warned of, and the next run looks again. To be called under
 * the lock of the restore points, before older ones are deleted.
 */
int qmr_change_log_update(const struct qmr_change_log_run *run, struct qmr_error *err) QMR_MUST_CHECK;

/* What the parts share: they read and set fields of where, and add entries. */
struct qmr_change_log_state {
	const struct qmr_change_log_run *run;
	int folder_fd;
	json_t *where;	/* owned, changes-state.json: up to where changes are known */
	json_t *log;	/* owned, changes.json; NULL until it is needed */
	json_t *found;	/* owned, entries of this run */
	json_int_t dropped; /* more than a log can hold */
	uint64_t boots; /* before this one */
	int changed;	/* where has to be written */
};

/* Adds an entry (taken over, NULL: -ENOMEM) with its restore point, time and number of boots. */
int qmr_change_log_add(struct qmr_change_log_state *state, json_t *entry, struct qmr_error *err) QMR_MUST_CHECK;

/* Sets a field of where to value (taken over, NULL: -ENOMEM). */
int qmr_change_log_set(struct qmr_change_log_state *state, const char *key, json_t *value,
		       struct qmr_error *err) QMR_MUST_CHECK;

/* An entry of a file; hashes may be empty. NULL when out of memory. */
json_t *qmr_change_log_file(const char *what, const char *path, const char *change, const char *old_sha256,
			    const char *new_sha256);

/* The part "images": initramfs files and unified kernels in /boot and on the ESP. */
int qmr_change_log_images(struct qmr_change_log_state *state, struct qmr_error *err) QMR_MUST_CHECK;

#endif
