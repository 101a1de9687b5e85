/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_TUF_METADATA_H
#define QMR_TUF_METADATA_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/*
 * One metadata file of The Update Framework, specification 1.0, section 4: read, and checked
 * against the keys of a role. Pure: no files, no network, no clock. What does not hold is -EBADMSG
 * with a message that names the role and the check; other errors (-ENOMEM) say nothing about the
 * file.
 */

enum qmr_tuf_role { QMR_TUF_ROOT, QMR_TUF_TIMESTAMP, QMR_TUF_SNAPSHOT, QMR_TUF_TARGETS };
#define QMR_TUF_ROLES 4

struct qmr_tuf_metadata {
	json_t *json;          /* owned; NULL: nothing was loaded */
	const json_t *content; /* borrowed from json: "signed" */
	enum qmr_tuf_role role;
	int64_t version;        /* 1 or more */
	int64_t expires_unix_s; /* fractions are cut off */
	char *canonical;        /* owned: the bytes that signatures are over */
	size_t canonical_size;
};

/* What one file says about another one. */
struct qmr_tuf_file {
	int64_t version; /* of a metadata file; 0 for a target */
	int64_t length; /* bytes; -1 if it was not given, which only metadata files may leave out */
	const json_t *hashes; /* borrowed; NULL if they were not given */
};

/* "root", "timestamp", "snapshot", "targets". */
const char *qmr_tuf_role_name(enum qmr_tuf_role role);

/* No file of the role may be larger, whatever was signed. */
size_t qmr_tuf_role_max_bytes(enum qmr_tuf_role role);

/*
 * Parses a file of the role and checks everything but its signatures: the format of every field
 * that is used here, and, in a root and in delegations, that ids of keys are right. Release with
 * _done.
 */
int qmr_tuf_metadata_parse(enum qmr_tuf_role role, const char *data, size_t size,
			   struct qmr_tuf_metadata *ret_metadata,
			   struct qmr_error *err) QMR_MUST_CHECK;

/* The same; with any_key_ids an id of a key may be anything, as some implementations make it. */
int qmr_tuf_metadata_parse_with(enum qmr_tuf_role role, int any_key_ids, const char *data,
				size_t size, struct qmr_tuf_metadata *ret_metadata,
				struct qmr_error *err) QMR_MUST_CHECK;

/* Frees what the metadata owns; a zeroed one is fine. */
void qmr_tuf_metadata_done(struct qmr_tuf_metadata *metadata);

/*
 * Checks that metadata carries the signatures of enough different keys of its role according to
 * root. Keys are told apart by what they are, not by their ids; keys of unknown kinds do not count.
 */
int qmr_tuf_metadata_check_signed(const struct qmr_tuf_metadata *metadata,
				  const struct qmr_tuf_metadata *root,
				  struct qmr_error *err) QMR_MUST_CHECK;

/*
 * The same by the keys and the threshold of a delegation ("keyids" and "threshold" of role, keys by
 * id). delegator is for messages.
 */
int qmr_tuf_metadata_check_signed_by(const struct qmr_tuf_metadata *metadata, const json_t *role,
				     const json_t *keys, const char *delegator,
				     struct qmr_error *err) QMR_MUST_CHECK;

/*
 * What timestamp or snapshot metadata says about the file name ("snapshot.json"); 0 if it does not,
 * else 1.
 */
int qmr_tuf_metadata_get_file(const struct qmr_tuf_metadata *metadata, const char *name,
			      struct qmr_tuf_file *ret_file);

/* What targets metadata says about a target; 0 if it does not list it, else 1. */
int qmr_tuf_metadata_get_target(const struct qmr_tuf_metadata *targets, const char *name,
				struct qmr_tuf_file *ret_file);

/* Checks length and hashes of data. what is for messages. */
int qmr_tuf_file_check(const char *what, const struct qmr_tuf_file *file, const void *data,
		       size_t size, struct qmr_error *err) QMR_MUST_CHECK;

/* Whether root says that files are named by version and hash. */
int qmr_tuf_root_is_consistent(const struct qmr_tuf_metadata *root);

#endif
