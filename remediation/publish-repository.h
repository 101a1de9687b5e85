/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PUBLISH_REPOSITORY_H
#define QMR_PUBLISH_REPOSITORY_H

#include <jansson.h>
#include <stdint.h>

#include "error.h"
#include "publish-keys.h"
#include "publish-metadata.h"

/*
 * A repository on disk (docs/remediation.md, "Publishing"): what is published, and what is about to
 * be. now[] has passed every check a client makes but expiry; next[] holds what a change, or the
 * folder staged/, puts in its place.
 */

struct qmr_repository {
	int fd;                      /* the folder */
	int64_t now_unix_s;          /* the time that all of one run goes by */
	int days[QMR_ROLE_COUNT];    /* how long new metadata is valid */
	json_t *now[QMR_ROLE_COUNT]; /* owned */
	json_t *root_before; /* owned; the root before now[ROOT], NULL if that is the first */
	json_t *next[QMR_ROLE_COUNT]; /* owned; NULL: as it is */
	int is_stale[QMR_ROLE_COUNT]; /* a leftover in staged/ of what has been published */
	int is_visible;               /* the writing of what clients look at has begun */
};

/* What qmr_repository_publish() did. */
struct qmr_publication {
	int is_published[QMR_ROLE_COUNT];
	int is_staged[QMR_ROLE_COUNT];
};

/* Days that metadata of each role is valid unless the owner says otherwise. */
extern const int qmr_publish_days[QMR_ROLE_COUNT];

/*
 * Opens the folder. With lock, only one program at a time gets it: -EBUSY. Reads qmr-publish.json
 * if it is there. Release with _close.
 */
int qmr_repository_open(const char *path, int lock, struct qmr_repository *ret,
			struct qmr_error *err) QMR_MUST_CHECK;

/* Frees what it owns and closes the folder, which unlocks it. */
void qmr_repository_close(struct qmr_repository *repository);

/*
 * Loads what is published and verifies it as a client does, beginning with the root in the file
 * trusted_root (NULL: the repository's first), expiry aside. -EBADMSG if a client would refuse it.
 * lenient: takes what was signed for the root before the newest, which is what a cut between the
 * two leaves; publishing then completes it.
 */
int qmr_repository_load(struct qmr_repository *repository, const char *trusted_root, int lenient,
			struct qmr_error *err) QMR_MUST_CHECK;

/* Loads staged/ into next[]. -EBADMSG: it is malformed, or no key of its role has signed it. */
int qmr_repository_load_staged(struct qmr_repository *repository,
			       struct qmr_error *err) QMR_MUST_CHECK;

/* When metadata of the role that is made now expires, in Unix seconds. */
int64_t qmr_repository_expiry(const struct qmr_repository *repository, enum qmr_role role);

/* Whether now[role] has less than a quarter of its days left. */
int qmr_repository_is_near_expiry(const struct qmr_repository *repository, enum qmr_role role);

/*
 * Begins next[role]: a copy of now[role] without signatures, one version on. -EEXIST: a change of
 * it is staged.
 */
int qmr_repository_begin(struct qmr_repository *repository, enum qmr_role role,
			 struct qmr_error *err) QMR_MUST_CHECK;

/* Writes metadata/[N.]ROLE.json durably. */
int qmr_repository_write(const struct qmr_repository *repository, enum qmr_role role,
			 const json_t *document, struct qmr_error *err) QMR_MUST_CHECK;

/* "targets/plans/<sha256>.<name>" (or below requests/), where the bytes of the target lie. -ENAMETOOLONG */
int qmr_repository_target_path(const char *target, const char *sha256, char ret_path[512],
			       struct qmr_error *err) QMR_MUST_CHECK;

/* Reads a target's file and checks it against its entry in targets metadata. The caller frees. */
int qmr_repository_read_target(const struct qmr_repository *repository, const char *target,
			       const json_t *entry, char **ret_data, size_t *ret_size,
			       struct qmr_error *err) QMR_MUST_CHECK;

/* {"meta": {file: reference}} that a snapshot or timestamp document needs, put into it. */
int qmr_repository_refer(json_t *document, const char *file, const json_t *referred,
			 struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Publishes what next[] holds and is signed by enough keys, with a new snapshot and timestamp, and
 * puts the rest into staged/. renew: bits (1 << role) of snapshot and timestamp that are renewed
 * anyway. Until its last write a client sees the old repository, from then on the new one; a
 * failure before leaves the old one.
 */
int qmr_repository_publish(struct qmr_repository *repository, struct qmr_key_ring *ring,
			   unsigned int renew, struct qmr_publication *ret,
			   struct qmr_error *err) QMR_MUST_CHECK;

#endif
