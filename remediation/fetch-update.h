/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_UPDATE_H
#define QMR_FETCH_UPDATE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "fetch-message.h"
#include "tuf-client.h"


struct qmr_fetch_update {
	int wants_requests; /* set by the caller: requests too */
	int names_only;     /* the same: accepted() of the client has seen the data, which is not needed here and left empty */
	/* Verified plans, name: that of the target, in the order of names; owned. */
	struct qmr_fetch_files plans;
	struct qmr_fetch_files requests; /* the same of requests (docs/requests.md); owned */
	json_t *refused; /* list of {"target", "why"}: targets that cannot be plans; owned */
};

/*
 * One run against a repository: brings client's metadata up to date and gets every plan (targets
 * below "plans/" whose names end in ".json", of the top-level role and those it delegates to), and every
 * request if they are wanted. Done twice: by the child over the network, and by its parent over what the child passed on. Errors as
 * of qmr_tuf_client_refresh(); then no plan is to be used. Release with _done, after a failure too.
 */
int qmr_fetch_update_run(struct qmr_tuf_client *client, const char *root, size_t root_size,
			 int64_t now_unix_s, struct qmr_fetch_update *update,
			 struct qmr_error *err) QMR_MUST_CHECK;

/* Frees what the update owns; a zeroed one is fine. */
void qmr_fetch_update_done(struct qmr_fetch_update *update);

/* Appends {"target": name, "why": why} to list. */
int qmr_fetch_refuse_plan(json_t *list, const char *name, const char *why,
			  struct qmr_error *err) QMR_MUST_CHECK;

/* A JSON string of text; bytes that are not UTF-8 become '?'. NULL when out of memory. */
json_t *qmr_fetch_text(const char *text);

#endif
