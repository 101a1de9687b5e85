/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_STORE_H
#define QMR_FETCH_STORE_H

#include <stddef.h>

#include "error.h"
#include "fetch-message.h"

/*
 * Verified metadata kept between runs, docs/remediation.md ("Metadata storage"). It lies on the
 * disk of a broken system: nothing in it is believed, the client verifies it from the built-in root
 * on, and what cannot be kept or read costs a warning.
 */

struct qmr_fetch_store {
	const char *path;             /* borrowed */
	int fd;                       /* owned; -1: the folder cannot be used, nothing is kept */
	struct qmr_fetch_files files; /* what was there at the start; owned */
};

/*
 * Makes the folder if it is missing and reads what is kept in it. Cannot fail: a folder that cannot
 * be used is an empty one.
 */
void qmr_fetch_store_open(const char *path, struct qmr_fetch_store *ret_store);

/*
 * Keeps a file under name, durably; a root also as root.json, the newest one. Warns if it cannot.
 */
void qmr_fetch_store_keep(struct qmr_fetch_store *store, const char *name, const char *data,
			  size_t size);

/* Deletes timestamp and snapshot, durably. Warns if it cannot. */
void qmr_fetch_store_forget(struct qmr_fetch_store *store);

void qmr_fetch_store_done(struct qmr_fetch_store *store);

#endif
