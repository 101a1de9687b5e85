/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_MIRRORS_H
#define QMR_FETCH_MIRRORS_H

#include <stddef.h>

#include "error.h"
#include "fetch-run.h"
#include "fetch-source.h"

/*
 * Runs qmr_fetch_run() with one source after the other until one verifies completely, or
 * job->timeout_s are over; docs/remediation.md, "Sources". job's source and its limits are filled in
 * here, its store is opened and loaded again for each; its floor rises with what each proves. client and update hold what the last one tried left;
 * they are released before the next. *ret_winner: the source that the result is about; each one's
 * own is in it. Errors as of qmr_fetch_run(): the gravest (refused before network before the rest).
 */
int qmr_fetch_mirrors_run(struct qmr_fetch_job *job, struct qmr_fetch_source *sources, size_t n,
			  struct qmr_tuf_client *client, struct qmr_fetch_update *update,
			  const struct qmr_fetch_source **ret_winner,
			  struct qmr_error *err) QMR_MUST_CHECK;

#endif
