/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_CHANGE_LOG_H
#define QMR_CHANGE_LOG_H

#include <jansson.h>
#include <stdint.h>

#include "error.h"

/* What changed, remembered across boots: docs/changes.md. Written by restore-point, read by crash-collect too. */

#define QMR_CHANGE_LOG_FOLDER "/var/lib/qmr"
#define QMR_CHANGE_LOG_FILE "changes.json"
#define QMR_CHANGE_LOG_STATE_FILE "changes-state.json"
#define QMR_CHANGE_LOG_ENTRIES_MAX 1000
#define QMR_BOOT_ID_BYTES 64 /* with NUL */

/* The strings of an entry of one kind, in the order in which they are written; NULL ends them. */
struct qmr_logged_kind {
	const char *what;
	const char *keys[6];
};

/* The kind of an entry, NULL for one that is not known. */
const struct qmr_logged_kind *qmr_logged_kind(const json_t *entry);

/*
 * Checks a log from an untrusted place: schema, "entries" with at most 1,000 objects, and in each that is of a known
 * kind the type, length and form of every field. -EBADMSG with the field's name.
 */
int qmr_change_log_check(const json_t *log, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Loads and checks changes.json of the open folder. -ENOENT: there is none. The caller owns *ret_log.
 */
int qmr_change_log_load(int folder_fd, json_t **ret_log, struct qmr_error *err) QMR_MUST_CHECK;

/* Whether r, an error of loading, says that there is no log of use, rather than that the disk could not be read. */
int qmr_change_log_is_damage(int r);

/* The same for changes-state.json, of which schema, healthy_boots and boot are checked. */
int qmr_change_log_load_state(int folder_fd, json_t **ret_state, struct qmr_error *err) QMR_MUST_CHECK;

/* Number of healthy boots by state or log, whichever is more; both may be NULL. */
uint64_t qmr_change_log_boots(const json_t *state, const json_t *log);

#endif
