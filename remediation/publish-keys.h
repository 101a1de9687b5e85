/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PUBLISH_KEYS_H
#define QMR_PUBLISH_KEYS_H

#include "key-file.h"
#include "publish-metadata.h"

/*
 * The private keys at hand: a folder of files ROLE-<first 16 digits of the key id>.pem, or .uri with one line that says where OpenSSL finds
 * the key. A key is read, and its passphrase asked for, when it is first needed.
 */

#define QMR_KEY_RING_MAX 64

struct qmr_key_ring {
	int fd;                           /* the folder, -1: none */
	const char *path;                 /* borrowed, for messages */
	struct qmr_passphrase passphrase; /* of encrypted files */
	struct qmr_key keys[QMR_KEY_RING_MAX];
	size_t n_keys;
};

/* Opens the folder; path may be NULL: a ring without keys. Release with _done. */
int qmr_key_ring_open(const char *path, struct qmr_key_ring *ring,
		      struct qmr_error *err) QMR_MUST_CHECK;

/* Wipes keys and passphrase and closes the folder. */
void qmr_key_ring_done(struct qmr_key_ring *ring);

/* Gives a key to the ring, which owns it from now on, also on failure. */
int qmr_key_ring_take(struct qmr_key_ring *ring, struct qmr_key *key,
		      struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Makes a key and its file, encrypted if passphrase is given; *ret_key is borrowed from the ring.
 */
int qmr_key_ring_make(struct qmr_key_ring *ring, enum qmr_role role,
		      const struct qmr_passphrase *passphrase, const struct qmr_key **ret_key,
		      struct qmr_error *err) QMR_MUST_CHECK;

/* Notes that the key of the folder is where the URI says; the key is taken as by _take. */
int qmr_key_ring_note(struct qmr_key_ring *ring, enum qmr_role role, const char *uri, struct qmr_key *key,
		      struct qmr_error *err) QMR_MUST_CHECK;

/* The file's name in the folder; end is "pem", "uri" or "pub.pem". */
void qmr_key_ring_name(enum qmr_role role, const char *keyid, const char *end, char ret_name[64]);

/*
 * Signs document with keys at hand that root gives to the role, until its threshold is reached.
 * Returns how many signatures are missing then, 0: none; negative: a key that is there cannot be
 * used.
 */
int qmr_key_ring_sign(struct qmr_key_ring *ring, const json_t *root, enum qmr_role role,
		      json_t *document, struct qmr_error *err) QMR_MUST_CHECK;

#endif
