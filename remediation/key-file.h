/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_KEY_FILE_H
#define QMR_KEY_FILE_H

#include <jansson.h>
#include <stddef.h>

#include "error.h"

/*
 * Keys that sign, as The Update Framework names them: Ed25519, which is what is made here, and ECDSA on
 * P-256 and RSA (PSS), which is what tokens have. Private halves are PEM files (PKCS#8, RFC 5958 and
 * 8410), which openssl pkey reads too, or stay where a URI says. Secrets live in OpenSSL's objects and
 * in struct qmr_passphrase only, and are wiped.
 */

#define QMR_KEY_ID 65 /* with NUL: SHA-256 of the public key object's canonical JSON */
#define QMR_KEY_SIGNATURE_BYTES_MAX 1024 /* RSA with 8,192 bits */
#define QMR_KEY_SIGNATURE_HEX (2 * QMR_KEY_SIGNATURE_BYTES_MAX + 1)
#define QMR_PASSPHRASE_BYTES_MAX 1023

struct qmr_key {
	struct evp_pkey_st *pkey; /* owned; holds the private half, or leads to it; NULL: there is none */
	const struct qmr_key_form *form;
	json_t *public; /* owned; the public key object of root metadata */
	char id[QMR_KEY_ID];
	char name[256]; /* where it is, for messages; a URI without its PIN */
};

struct qmr_passphrase {
	char text[QMR_PASSPHRASE_BYTES_MAX + 1];
	size_t size; /* 0: none */
	int asked;   /* it came from the terminal: a wrong one is asked for again */
};

/* A new key pair. Release with _done. */
int qmr_key_generate(struct qmr_key *ret_key, struct qmr_error *err) QMR_MUST_CHECK;

/* Wipes and frees the private half, and zeroes the key; a zeroed one is fine. */
void qmr_key_done(struct qmr_key *key);

/*
 * Reads a private key. Refuses (-EACCES) a file that group or others may read. An encrypted one
 * takes the passphrase; if that is empty, it is asked for on the terminal and kept in it. -EBADMSG:
 * no key of these kinds, or a wrong passphrase. -ENOKEY: it is encrypted and there is neither passphrase
 * nor terminal.
 */
int qmr_key_load(int dirfd, const char *path, struct qmr_passphrase *passphrase,
		 struct qmr_key *ret_key, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Opens a private key by URI, through the loaders of OpenSSL's providers (OSSL_STORE), those that openssl.cnf(5) names among them; engines
 * have none. A passphrase or PIN is taken and asked for as above. What a URI names is guarded by its own store, which may look at the PIN
 * only when it signs. -EBADMSG: it names no private key of these kinds, or more than one.
 */
int qmr_key_load_uri(const char *uri, struct qmr_passphrase *passphrase, struct qmr_key *ret_key,
		     struct qmr_error *err) QMR_MUST_CHECK;

/* Whether text is a URI rather than a path: letters, digits, +, - and . before a colon. */
int qmr_key_is_uri(const char *text);

/* Writes the public half in PEM form, mode 0644. */
int qmr_key_save_public(int dirfd, const char *path, const struct qmr_key *key, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Reads a public key in PEM form (openssl pkey -pubout); the result cannot sign. -EBADMSG: it is
 * none, or of another kind.
 */
int qmr_key_load_public(const char *path, struct qmr_key *ret_key,
			struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Writes a private key durably, mode 0600; encrypted (PBES2, AES-256) if the passphrase, NULL
 * allowed, is not empty.
 */
int qmr_key_save(int dirfd, const char *path, const struct qmr_key *key,
		 const struct qmr_passphrase *passphrase, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Signs with the private half, where that is; lower-case hexadecimal. ECDSA and RSA are over SHA-256. -EBADMSG, with what OpenSSL says: the
 * key does not sign; its token is gone, or the PIN is wrong.
 */
int qmr_key_sign(const struct qmr_key *key, const void *data, size_t size,
		 char ret_signature_hex[QMR_KEY_SIGNATURE_HEX],
		 struct qmr_error *err) QMR_MUST_CHECK;

/* 1 if the signature is over data and of the key with this public key object, as machines see it; 0 if not. */
int qmr_key_verify(const json_t *public, const char *signature_hex, const void *data, size_t size);

/* Lower-case hexadecimal; ret has 2 * size + 1 bytes. */
void qmr_hex_encode(const unsigned char *data, size_t size, char *ret);

/* The first line of a file that only its owner may read. */
int qmr_passphrase_load(const char *path, struct qmr_passphrase *ret_passphrase,
			struct qmr_error *err) QMR_MUST_CHECK;

/* Asks on the terminal without echo; twice is for a new one. -ENOKEY without a terminal. */
int qmr_passphrase_ask(const char *prompt, int twice, struct qmr_passphrase *ret_passphrase,
		       struct qmr_error *err) QMR_MUST_CHECK;

#endif
