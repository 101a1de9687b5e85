/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_INCIDENT_H
#define QMR_INCIDENT_H

#include <jansson.h>
#include <stddef.h>

#include "changes.h"
#include "config.h"
#include "culprit.h"
#include "error.h"
#include "pstore.h"

/* What is known of an incident while it is collected; docs/incident.md gives the JSON form. */

#define QMR_CRASHES_MAX 64   /* in incident.json, newest first */
#define QMR_DUMP_FILES_MAX 256

struct qmr_incident {
	char id[37];
	json_t *state;              /* boot state (docs/boot-state.md), NULL: could not be read */
	json_t *notes;
	struct qmr_records records;
	struct qmr_dumps dumps;     /* oldest first */
	struct qmr_crash *crashes;  /* newest first */
	size_t n_crashes;
	struct qmr_culprit culprit;
	char culprit_file[1024];    /* empty: not found */
	char culprit_version[128];  /* that its file states, empty: not known */
	char kernel[64];            /* that crashed, empty: not known */
	struct qmr_changes changes;
	uint64_t restore_point;     /* 0: none */
	json_t *recent_changes;     /* of the change log; NULL: there is none that can be read */
	int recent_changes_truncated;
};

/* Frees what it owns and zeroes it; a zeroed one is fine. */
void qmr_incident_done(struct qmr_incident *incident);

/* Time before which a crash belongs to something earlier, by the boot state's attempts; 0: not known. */
uint64_t qmr_incident_oldest_s(const json_t *state);

/* kind of incident.json: "panic", "hang", "emergency", "unknown" or "manual". */
const char *qmr_incident_kind(const struct qmr_incident *incident);

/* The kernel that crashed: by the newest crash, else by the checksum of the newest attempt among the root's kernels. */
void qmr_incident_find_kernel(struct qmr_incident *incident, int root_fd);

/* incident.json; reads machine facts inside the root (-1: none). NULL when out of memory. The caller owns it. */
json_t *qmr_incident_to_json(const struct qmr_incident *incident, int root_fd);

/* What incident.json says of a machine that had none: schema, machine, kernel (the running one) and notes. As above. */
json_t *qmr_machine_facts(int root_fd);

#endif
