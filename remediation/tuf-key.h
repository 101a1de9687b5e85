/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_TUF_KEY_H
#define QMR_TUF_KEY_H

#include <jansson.h>
#include <stddef.h>

#include "error.h"

/*
 * Public keys and digests of The Update Framework; the one file of the client that knows OpenSSL.
 */

#define QMR_TUF_FINGERPRINT 32

/*
 * Whom OpenSSL is to ask for what needs no token: its own provider, if it is there. Where openssl.cnf(5) names others, public keys would
 * be sent to them to be verified, and a token that cannot do it would make good signatures bad.
 */
#define QMR_TUF_PROVIDER "?provider=default"

struct qmr_tuf_key; /* opaque */

/*
 * Makes a key from its JSON (specification 1.0, section 4.2): ed25519; ecdsa on P-256 (key types
 * "ecdsa" and "ecdsa-sha2-nistp256"); rsassa-pss-sha256 and rsa-pkcs1v15-sha256 with 2,048 to 8,192
 * bits. Release with _free. -EOPNOTSUPP: a key type or scheme that is not known here. -EBADMSG: a
 * known one that is malformed or too weak.
 */
int qmr_tuf_key_parse(const json_t *json, struct qmr_tuf_key **ret_key,
		      struct qmr_error *err) QMR_MUST_CHECK;

/* NULL is fine. */
void qmr_tuf_key_free(struct qmr_tuf_key *key);

/*
 * SHA-256 of the public key's DER form: the same for one key however its JSON is written. Borrowed.
 */
const unsigned char *qmr_tuf_key_fingerprint(const struct qmr_tuf_key *key);

/* 1 if signature (hexadecimal) is the key's own over data, 0 if it is not or is malformed. */
int qmr_tuf_key_verify(const struct qmr_tuf_key *key, const char *signature_hex, const void *data,
		       size_t size);

/* 1 if the key's type and scheme are known here, whatever its value. */
int qmr_tuf_key_is_known(const json_t *json);

/*
 * 1 if id is the SHA-256, in lower-case hexadecimal, of the key's canonical JSON: of the whole
 * object, or of the three fields that the specification defines (implementations differ in whether
 * fields they do not know take part). 0 if not, -ENOMEM.
 */
int qmr_tuf_key_id_is_right(const char *id, const json_t *json);

/*
 * Checks data against an object of hashes (sha256, sha512; others are passed over). -EBADMSG with
 * the algorithm named: one differs, or none is known. what is for messages.
 */
int qmr_tuf_hashes_check(const char *what, const json_t *hashes, const void *data, size_t size,
			 struct qmr_error *err) QMR_MUST_CHECK;

/*
 * The hash that a target's file is named by where snapshots are consistent: sha256, else sha512.
 * Borrowed, and checked to be hexadecimal of the right length; NULL if there is none.
 */
const char *qmr_tuf_hashes_name(const json_t *hashes);

#endif
