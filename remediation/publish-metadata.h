/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PUBLISH_METADATA_H
#define QMR_PUBLISH_METADATA_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "key-file.h"
#include "utc.h"

/*
 * The four metadata documents of The Update Framework (specification 1.0, section 4), as JSON
 * objects
 * {"signatures": [..], "signed": {..}}. Functions that take a document expect one that
 * qmr_metadata_check_form() passed or that was made here. Every `const json_t *` is borrowed.
 */

enum qmr_role {
	QMR_ROLE_ROOT,
	QMR_ROLE_TARGETS,
	QMR_ROLE_SNAPSHOT,
	QMR_ROLE_TIMESTAMP,
	QMR_ROLE_COUNT
};

#define QMR_METADATA_BYTES_MAX (1u << 20) /* of a file that is read or written */
#define QMR_METADATA_VERSION_MAX                                                                   \
	2000000000               /* far beyond use; keeps arithmetic away from overflow */
#define QMR_METADATA_KEYS_MAX 16 /* of one role */
#define QMR_PLAN_PREFIX "plans/"
#define QMR_REQUEST_PREFIX "requests/"

/* The name in metadata and options. */
const char *qmr_role_name(enum qmr_role role);

/* The role of that name (enum qmr_role), -1: there is no such role. */
int qmr_role_from_name(const char *name);

/* A document without body or signatures (new reference), NULL without memory. */
json_t *qmr_metadata_new(enum qmr_role role, int64_t version, int64_t expires_unix_s);

/*
 * A deep copy of document without its signatures, with another version and expiry; NULL without
 * memory.
 */
json_t *qmr_metadata_next(const json_t *document, int64_t version, int64_t expires_unix_s);

/*
 * -EBADMSG, with the field named, unless document is one of role's as the specification and this
 * project's profile have it: keys that machines take, none of them twice, ids that are the keys'
 * hashes, consistent snapshots, no delegations. name is for messages.
 */
int qmr_metadata_check_form(enum qmr_role role, const json_t *document, const char *name,
			    struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Whether NAME of plans/NAME or requests/NAME is one: 6 to 180 of A-Za-z0-9._-, not beginning with a dot, ending in
 * ".json".
 */
int qmr_target_name_is_valid(const char *name);

/* Its version, 0 where it has none. */
int64_t qmr_metadata_version(const json_t *document);

/* When it expires, in Unix seconds; 0, which is long ago, where that cannot be read. */
int64_t qmr_metadata_expires(const json_t *document);

/* The bytes that the file of this document has. The caller frees. */
int qmr_metadata_text(const json_t *document, char **ret_text, size_t *ret_size,
		      struct qmr_error *err) QMR_MUST_CHECK;

/*
 * {"version", "length", "hashes"}, by which one document names another (new reference); version 0
 * leaves it out.
 */
int qmr_metadata_reference(int64_t version, const void *data, size_t size, json_t **ret_reference,
			   struct qmr_error *err) QMR_MUST_CHECK;

/* -EBADMSG unless length and SHA-256 are those of the reference. name is for messages. */
int qmr_metadata_check_reference(const json_t *reference, const void *data, size_t size,
				 const char *name, struct qmr_error *err) QMR_MUST_CHECK;

/* Adds the key's signature; one of the same key is replaced. */
int qmr_metadata_sign(json_t *document, const struct qmr_key *key,
		      struct qmr_error *err) QMR_MUST_CHECK;

/* Adds a signature that was made elsewhere, over what qmr_metadata_signed_bytes() gives. -EBADMSG: it is not that key's. */
int qmr_metadata_add_signature(json_t *document, const struct qmr_key *key,
			       const char *signature_hex,
			       struct qmr_error *err) QMR_MUST_CHECK;

/* What a key signs: the canonical JSON of the body. The caller frees. */
int qmr_metadata_signed_bytes(const json_t *document, char **ret_data, size_t *ret_size,
			      struct qmr_error *err) QMR_MUST_CHECK;

/* How many keys of the role, as root has it, have signed; counts each key once. */
int qmr_metadata_count(const json_t *root, enum qmr_role role, const json_t *document,
		       struct qmr_error *err) QMR_MUST_CHECK;

/* -EBADMSG if fewer than the role's threshold have. name is for messages. */
int qmr_metadata_verify(const json_t *root, enum qmr_role role, const json_t *document,
			const char *name, struct qmr_error *err) QMR_MUST_CHECK;

/* How many signatures a role needs by this root document; 0 where that says nothing. */
int qmr_root_threshold(const json_t *root, enum qmr_role role);

/* The key ids of a role, an array of strings; borrowed. */
const json_t *qmr_root_keyids(const json_t *root, enum qmr_role role);

/* Whether the role has the key of that id. */
int qmr_root_has_key(const json_t *root, enum qmr_role role, const char *keyid);

/* Gives key to the role. Root documents are made and changed with these. */
int qmr_root_add_key(json_t *root, enum qmr_role role, const struct qmr_key *key,
		     struct qmr_error *err) QMR_MUST_CHECK;

/* Says how many signatures the role, which must be there, needs; the caller keeps it within its keys. */
int qmr_root_set_threshold(json_t *root, enum qmr_role role, int threshold,
			   struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Takes a key from the role, and out of the document if no other role has it. -ENOENT: the role
 * does not have it.
 */
int qmr_root_remove_key(json_t *root, enum qmr_role role, const char *keyid,
			struct qmr_error *err) QMR_MUST_CHECK;

#endif
