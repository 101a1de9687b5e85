/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_COLLECT_H
#define QMR_COLLECT_H

#include "error.h"

struct qmr_collect_options {
	const char *root, *pstore, *state, *out, *config;
};

/*
 * Makes the incident folder out (docs/incident.md) from what can be read; everything that cannot is named in its notes.
 * Fails only if the folder itself cannot be written. Never writes below root.
 */
int qmr_collect(const struct qmr_collect_options *options, struct qmr_error *err) QMR_MUST_CHECK;

struct qmr_save_options {
	const char *from, *root, *pstore;
};

/*
 * Copies an incident folder to ROOT/var/lib/qmr/incidents/ID, durably, and reads the copy back. Only then are those
 * files of pstore unlinked whose bytes the copy holds. A folder that is there from an earlier run of the same incident
 * is added to: its records and dumps stay. -EBADMSG: incident.json is missing or no incident's.
 */
int qmr_save(const struct qmr_save_options *options, struct qmr_error *err) QMR_MUST_CHECK;

#endif
