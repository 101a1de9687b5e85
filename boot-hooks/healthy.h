/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_HEALTHY_H
#define QMR_HEALTHY_H

#include "boot-state.h"
#include "error.h"

/* What a healthy boot leaves behind besides the boot state. */

#define QMR_ARCHIVE_KEEP 8
#define QMR_ARCHIVE_RECORD_BYTES (1U << 20)

/*
 * Moves crash records out of the firmware's memory: each is copied to archive/<seconds since 1970>/NAME, and unlinked only when the
 * copy is on stable storage. The newest QMR_ARCHIVE_KEEP folders stay. No record: nothing is made. Returns how many were
 * moved; on a failure those that were not stay where they are.
 */
int qmr_archive_records(const char *pstore, const char *archive, int64_t now_unix_s, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Writes report.json of docs/incident.md into incidents/UUID, which is made if recovery could not. final: how it ended.
 */
int qmr_report_write(const char *incidents, const struct qmr_state *state, const char *final, int64_t now_unix_s,
		     struct qmr_error *err) QMR_MUST_CHECK;

#endif
