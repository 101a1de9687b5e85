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
	struct qmr_fetch_files files; /* what _load read; owned */
};

/*
 * Makes the folder if it is missing and opens it. Cannot fail: a folder that cannot be used is an
 * empty one.
 */
void qmr_fetch_store_open(const char *path, struct qmr_fetch_store *ret_store);

/* Reads all that is kept into files, for a process that will not be able to. */
void qmr_fetch_store_load(struct qmr_fetch_store *store);

/* A struct qmr_tuf_fetcher's function that reads what is kept when it is asked for; user is the
 * store. */
int qmr_fetch_store_fetch(void *user, const char *name, size_t max_bytes, char **ret_data,
			  size_t *ret_size, struct qmr_error *err);

/*
 * Keeps a file under name: roots, timestamp and snapshot durably before this returns, a root also as root.json, the
 * newest one; targets and delegated roles without syncing them, docs/remediation.md ("Metadata storage"). A folder
 * that cannot be used is no error: _open has warned.
 */
int qmr_fetch_store_keep(struct qmr_fetch_store *store, const char *name, const char *data,
			 size_t size, struct qmr_error *err);

/* Deletes timestamp and snapshot, durably. Warns if it cannot. */
void qmr_fetch_store_forget(struct qmr_fetch_store *store);

/* Closes the folder and frees what was read. */
void qmr_fetch_store_done(struct qmr_fetch_store *store);

#endif
