/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_TUF_TRUSTED_H
#define QMR_TUF_TRUSTED_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "floor.h"
#include "tuf-delegation.h"
#include "tuf-metadata.h"

/*
 * The set of metadata that is trusted, and what may enter it: the checks of the specification's
 * client workflow (1.0, sections 5.2 to 5.6) in its order. Pure. What does not hold is -EBADMSG
 * with the role and the check in the message, and leaves the set as it was.
 *
 * Files are given in the order of the workflow: start; roots, each the next version; roots_done;
 * then timestamp, snapshot, targets. Of timestamp and snapshot the copies of an earlier run may
 * come first, as QMR_TUF_CACHED: they need not be fresh or fit the rest, since all they do then is
 * set the lowest versions that are accepted.
 */

enum qmr_tuf_origin { QMR_TUF_CACHED, QMR_TUF_FETCHED };

#define QMR_TUF_DELEGATED_MAX                                                                      \
	64 /* more than one search visits: what it looked at is there until its end */

/* A delegated role's targets metadata, and the delegation that it was verified by. */
struct qmr_tuf_delegated {
	char *name;          /* owned */
	json_t *role, *keys; /* owned references */
	struct qmr_tuf_metadata metadata;
};

struct qmr_tuf_trusted {
	int64_t now_unix_s; /* the fixed start time of the run */
	int any_key_ids; /* policy, set before _start and kept by it: ids of keys need not be their
			    hashes */
	struct qmr_tuf_metadata root, timestamp, snapshot, targets; /* owned */
	json_t *known_roles; /* owned: "roles" of the root that _mark_known saw */
	struct qmr_tuf_delegated
		delegated[QMR_TUF_DELEGATED_MAX]; /* a ring: the oldest goes first */
	size_t n_delegated;                       /* ever added */
	struct qmr_floor floor; /* lowest versions of roles that are accepted; only its versions
				   count here */
};

/*
 * Begins with the root that came with the system; its expiry does not matter yet. What the set held
 * is not looked at, but for any_key_ids. Release with _done, after a failure too.
 */
int qmr_tuf_trusted_start(struct qmr_tuf_trusted *set, const char *root, size_t size,
			  int64_t now_unix_s, struct qmr_error *err) QMR_MUST_CHECK;

/* Frees the metadata of all roles; a zeroed set is fine. */
void qmr_tuf_trusted_done(struct qmr_tuf_trusted *set);

/* Section 5.3.4 to 5.3.7: the next root, signed by enough keys of the trusted one and of itself. */
int qmr_tuf_trusted_add_root(struct qmr_tuf_trusted *set, const char *data, size_t size,
			     struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Says that the present root is the one that the cached timestamp and snapshot were accepted under.
 */
void qmr_tuf_trusted_mark_known(struct qmr_tuf_trusted *set);

/*
 * Section 5.3.11: 1 if the keys of timestamp or snapshot differ from those of the known root, so
 * that cached ones must go.
 */
int qmr_tuf_trusted_has_rotated(const struct qmr_tuf_trusted *set);

/*
 * What an earlier run remembered of this repository: its versions count from now on, those of
 * timestamp, snapshot and targets only if their keys are still the same (5.3.11). Call it when the
 * last root is there; -EBADMSG: that one is older than it was.
 */
int qmr_tuf_trusted_set_floor(struct qmr_tuf_trusted *set, const struct qmr_floor *floor,
			      struct qmr_error *err) QMR_MUST_CHECK;

/* The first 8 bytes of the SHA-256, as a number. */
int qmr_tuf_short_hash(const void *data, size_t size, uint64_t *ret_hash,
		       struct qmr_error *err) QMR_MUST_CHECK;

/* Fills keys and versions with what is trusted now, 0 for what is not there; versions that are too
 * large are cut off. */
int qmr_tuf_trusted_get_floor(const struct qmr_tuf_trusted *set, struct qmr_floor *ret_floor,
			      struct qmr_error *err) QMR_MUST_CHECK;

/* Section 5.3.10: the last root must not have expired. */
int qmr_tuf_trusted_roots_done(const struct qmr_tuf_trusted *set,
			       struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Section 5.4. 1: it has become the trusted timestamp. 0: the trusted one has the same version and
 * stays. A trusted timestamp that stays and has expired is -EBADMSG.
 */
int qmr_tuf_trusted_set_timestamp(struct qmr_tuf_trusted *set, const char *data, size_t size,
				  enum qmr_tuf_origin origin, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Section 5.5. A fetched one is checked whole; so may a copy of an earlier run be, to see whether
 * it need be fetched at all.
 */
int qmr_tuf_trusted_set_snapshot(struct qmr_tuf_trusted *set, const char *data, size_t size,
				 enum qmr_tuf_origin origin, struct qmr_error *err) QMR_MUST_CHECK;

/* Section 5.6.2 to 5.6.5, for the top-level role. */
int qmr_tuf_trusted_set_targets(struct qmr_tuf_trusted *set, const char *data, size_t size,
				struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Sections 5.6.2 to 5.6.5 for a delegated role: what snapshot names, signed as the delegation asks,
 * not expired. It takes the place of the role's earlier one.
 */
int qmr_tuf_trusted_set_delegated(struct qmr_tuf_trusted *set,
				  const struct qmr_tuf_delegation *delegation, const char *data,
				  size_t size, struct qmr_error *err) QMR_MUST_CHECK;

/* The delegated role if it is in the set and the delegation vouches for it; else NULL. */
const struct qmr_tuf_metadata *
qmr_tuf_trusted_get_delegated(const struct qmr_tuf_trusted *set,
			      const struct qmr_tuf_delegation *delegation);

/* What snapshot says about a delegated role's file; -EBADMSG if it does not list it. */
int qmr_tuf_trusted_get_delegated_file(const struct qmr_tuf_trusted *set, const char *role,
				       struct qmr_tuf_file *ret_file,
				       struct qmr_error *err) QMR_MUST_CHECK;

#endif
