/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_TUF_DELEGATION_H
#define QMR_TUF_DELEGATION_H

#include <jansson.h>

#include "error.h"

/*
 * Keys and roles as root metadata and delegations list them (specification 1.0, sections 4.3
 * and 4.5; TAP 15): their form, and which delegations are to be followed for a target. Pure.
 * docs/remediation.md, "Delegations".
 */

#define QMR_TUF_ROLE_NAME_MAX 256 /* bytes of a delegated role's name, with NUL */

/*
 * what ("root", "targets") begins messages; all that does not hold is -EBADMSG. Keys: an object, at
 * most max, ids of known kinds right, unless any_key_ids; nothing is said of unknown kinds, which
 * sign nothing.
 */
int qmr_tuf_keys_check(const char *what, const json_t *keys, size_t max, int any_key_ids,
		       struct qmr_error *err) QMR_MUST_CHECK;

/* A role: a threshold of 1 or more, a list of different key ids. what and errors as above; name is for messages. */
int qmr_tuf_role_check(const char *what, const char *name, const json_t *role,
		       struct qmr_error *err) QMR_MUST_CHECK;

/* The form of targets metadata's "delegations"; NULL and null: there are none. */
int qmr_tuf_delegations_check(const char *what, const json_t *delegations, int any_key_ids,
			      struct qmr_error *err) QMR_MUST_CHECK;

/* One delegation: whose keys and threshold count for the role name. */
struct qmr_tuf_delegation {
	char name[QMR_TUF_ROLE_NAME_MAX];
	const json_t *role, *keys; /* borrowed from the delegations */
	int is_terminating;
};

/* Negative: stop, and return that. */
typedef int qmr_tuf_delegation_fn(void *user, const struct qmr_tuf_delegation *delegation,
				  struct qmr_error *err);

/*
 * Calls fn for each delegation that is to be followed for the target, in their order, up to a
 * terminating one. delegations were checked, or are NULL. Returns 1 if the last one was
 * terminating, 0 if not; -ENOMEM or what fn said.
 */
int qmr_tuf_delegations_match(const json_t *delegations, const char *target,
			      qmr_tuf_delegation_fn *fn, void *user,
			      struct qmr_error *err) QMR_MUST_CHECK;

/*
 * As _match, for each delegation that may lead to a target whose name begins with folder ("plans")
 * and '/', terminating or not. Bins, of which there are many, are not among them. Returns 0 or what
 * fn said.
 */
int qmr_tuf_delegations_match_folder(const json_t *delegations, const char *folder,
				     qmr_tuf_delegation_fn *fn, void *user,
				     struct qmr_error *err) QMR_MUST_CHECK;

#endif
