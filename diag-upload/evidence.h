/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_EVIDENCE_H
#define QMR_EVIDENCE_H

#include <jansson.h>
#include <stdint.h>

#include "error.h"
#include "pstore.h"

/* Where crash records are looked for. Reading only: nothing here changes what it reads. */

struct qmr_evidence_places {
	int root_fd;                /* the broken system's root, -1: not usable */
	int pstore_fd;              /* pstore folder, -1: not usable */
	const char *incident;       /* id whose earlier run may have saved records in the root, NULL: none */
	uint64_t oldest_unix_s;     /* copies written before are of another incident, 0: not known */
};

/* Reads the records of all sources into *records; what cannot be read is named in notes. -ENOMEM only. */
int qmr_evidence_read(const struct qmr_evidence_places *places, struct qmr_records *records, json_t *notes,
		      struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Reads one record from an open folder. -EINVAL if the name is not a record's or it is no regular file, -EBADMSG if it
 * could not be decompressed (*ret_record holds it as it is).
 */
int qmr_evidence_read_record(int folder_fd, const char *name, struct qmr_record *ret_record,
			     struct qmr_error *err) QMR_MUST_CHECK;

#endif
