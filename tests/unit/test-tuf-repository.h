/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_TUF_REPOSITORY_H
#define TEST_TUF_REPOSITORY_H

#include <jansson.h>
#include <openssl/evp.h>

#include "fetch-message.h"
#include "tuf-metadata.h"

/*
 * A repository in memory, signed by OpenSSL. What is wrong with it is set before it is published.
 */

#define REPOSITORY_NOW                                                                             \
	1790000000 /* 2026-09-21; everything expires in 2030 unless said otherwise                 \
		    */
#define REPOSITORY_KEYS_MAX 4

struct repository_key {
	EVP_PKEY *pkey;
	json_t *json;
	char id[65];
};

struct repository {
	struct repository_key keys[QMR_TUF_ROLES][REPOSITORY_KEYS_MAX]; /* those that root lists */
	int n_keys[QMR_TUF_ROLES], threshold[QMR_TUF_ROLES], version[QMR_TUF_ROLES];
	int n_signers[QMR_TUF_ROLES]; /* how many of the keys sign */
	const char *expires[QMR_TUF_ROLES];
	int is_consistent, has_hashes;
	json_t *targets;                /* name: content */
	struct repository_key old_root; /* signs roots too, if it has an id */
	/* Changes "signed" of a role before it is signed, and the whole file after that. */
	void (*edit)(enum qmr_tuf_role role, json_t *content);
	void (*edit_file)(enum qmr_tuf_role role, json_t *file);
	struct qmr_fetch_files files; /* what is served, by path */
};

/* type: "ed25519", "ecdsa", "ecdsa-sha2-nistp256" or "rsa". */
struct repository_key repository_key_make(const char *type);
/* Makes the id that of the key's JSON as it is now. */
void repository_key_set_id(struct repository_key *key);
void repository_key_done(struct repository_key *key);

/*
 * Version 1 of everything, one ed25519 key for each role, one target "plans/1.json" with the
 * content "{}".
 */
void repository_init(struct repository *repository);
void repository_done(struct repository *repository);

/* Another key in the place of a role's keys. */
void repository_rotate(struct repository *repository, enum qmr_tuf_role role);

/* Signs and serves. The root is served as its version; _publish_root does only that. */
void repository_publish(struct repository *repository);
void repository_publish_root(struct repository *repository);

/* Serves data in the place of what was there; NULL: nothing. */
void repository_put(struct repository *repository, const char *path, const char *data, size_t size);
const struct qmr_fetch_file *repository_get(const struct repository *repository, const char *path);

/* The signed file of a role, dumped; the caller frees. */
char *repository_sign(struct repository *repository, enum qmr_tuf_role role, json_t *content);

/* What root says at present, not signed yet. */
json_t *repository_root_content(struct repository *repository);

#endif
