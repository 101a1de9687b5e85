/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_RUN_H
#define QMR_FETCH_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "fetch-store.h"
#include "fetch-transfer.h"
#include "fetch-update.h"
#include "tuf-client.h"

/* All that a run needs, read before there is a byte from the network. Borrowed. */
struct qmr_fetch_job {
	const char *url;  /* of the source */
	int folder_fd;    /* the source is this folder, -1: a server */
	const char *root; /* content of the first trusted root */
	size_t root_size;
	struct qmr_fetch_network network;
	int64_t now_unix_s;  /* what expiry is measured against */
	int timeout_s;       /* for all sources together */
	int64_t deadline_ms; /* of this source, CLOCK_MONOTONIC */
	int flags;           /* QMR_FETCH_HAS_OTHERS */
	struct qmr_fetch_store *store;
	int wants_requests;     /* requests for recovery as well as plans */
	struct qmr_floor floor; /* what is remembered; all zero: nothing */
};

/*
 * One run: a sandboxed child downloads and verifies, and passes on what it verified; this process
 * verifies all of it again with the same code, keeps metadata in the store as it is accepted, and
 * fills update with the plans. client is zero-initialised; its trusted set holds afterwards what
 * was accepted, after a failure too. -EBADMSG and -EKEYREJECTED: the repository or its server does
 * not verify. -ETIMEDOUT, -EBUSY: network. Others: neither is to blame.
 */
int qmr_fetch_run(const struct qmr_fetch_job *job, struct qmr_tuf_client *client,
		  struct qmr_fetch_update *update, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * The half of qmr_fetch_run() after the child has ended: files and result are what it said, and are
 * believed in nothing. Files are taken in their order; where they end, result is the error if it is
 * one.
 */
int qmr_fetch_accept(const struct qmr_fetch_job *job, const struct qmr_fetch_files *files,
		     const struct qmr_error *result, struct qmr_tuf_client *client,
		     struct qmr_fetch_update *update, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * What qmr_fetch_run() runs in the child; the result goes to fd. parent: the process it ends with.
 * Returns its exit code.
 */
int qmr_fetch_child(int fd, pid_t parent, const struct qmr_fetch_job *job);

#endif
