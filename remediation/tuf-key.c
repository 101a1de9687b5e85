/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tuf-key.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "canonical-json.h"
#include "cleanup.h"
#include "hash.h"
#include "json.h"

#define SIGNATURE_BYTES_MAX 1024 /* RSA with 8,192 bits */
#define RSA_BITS_MIN 2048        /* specification 1.0, section 4.2 */
#define RSA_BITS_MAX 8192

struct qmr_tuf_key {
	EVP_PKEY *pkey;
	const struct scheme *scheme;
	unsigned char fingerprint[QMR_TUF_FINGERPRINT];
};

static void cleanup_pkey(EVP_PKEY **pkey)
{
	EVP_PKEY_free(*pkey);
}

static void cleanup_md_ctx(EVP_MD_CTX **ctx)
{
	EVP_MD_CTX_free(*ctx);
}

static void cleanup_bio(BIO **bio)
{
	BIO_free(*bio);
}

/* Returns the number of bytes, or -1. */
static int hex_decode(const char *hex, unsigned char *ret, size_t max)
{
	size_t size = strlen(hex);

	if (size % 2 || size / 2 > max)
		return -1;
	for (size_t i = 0; i < size / 2; i++) {
		int high = OPENSSL_hexchar2int((unsigned char)hex[2 * i]),
		    low = OPENSSL_hexchar2int((unsigned char)hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return -1;
		ret[i] = (unsigned char)(high << 4 | low);
	}
	return (int)(size / 2);
}

static EVP_PKEY *load_ed25519(const char *hex)
{
	unsigned char raw[32];

	if (hex_decode(hex, raw, sizeof(raw)) != sizeof(raw))
		return NULL;
	return EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", QMR_TUF_PROVIDER, raw, sizeof(raw));
}

/* OpenSSL's own would ask on the terminal for an "encrypted" public key. */
static int no_password(char *buffer, int size, int writing, void *user)
{
	return -1;
}

static EVP_PKEY *load_pem(const char *pem, int type)
{
	QMR_CLEANUP(cleanup_bio) BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *pkey = bio ? PEM_read_bio_PUBKEY_ex(bio, NULL, no_password, NULL, NULL, QMR_TUF_PROVIDER) : NULL;

	if (pkey && EVP_PKEY_get_base_id(pkey) != type) {
		EVP_PKEY_free(pkey);
		return NULL;
	}
	return pkey;
}

static EVP_PKEY *load_p256(const char *pem)
{
	EVP_PKEY *pkey = load_pem(pem, EVP_PKEY_EC);
	char group[32] = "";

	if (pkey && (EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) != 1 ||
		     strcmp(group, "prime256v1"))) {
		EVP_PKEY_free(pkey);
		return NULL;
	}
	return pkey;
}

static EVP_PKEY *load_rsa(const char *pem)
{
	EVP_PKEY *pkey = load_pem(pem, EVP_PKEY_RSA);

	if (pkey &&
	    (EVP_PKEY_get_bits(pkey) < RSA_BITS_MIN || EVP_PKEY_get_bits(pkey) > RSA_BITS_MAX)) {
		EVP_PKEY_free(pkey);
		return NULL;
	}
	return pkey;
}

static const struct scheme {
	const char *type, *scheme;
	EVP_PKEY *(*load)(const char *value);
	const char *digest; /* NULL: part of the scheme itself */
	int is_pss;
} schemes[] = {
	{"ed25519", "ed25519", load_ed25519, NULL, 0},
	{"ecdsa", "ecdsa-sha2-nistp256", load_p256, "SHA256", 0},
	{"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", load_p256, "SHA256", 0},
	{"rsa", "rsassa-pss-sha256", load_rsa, "SHA256", 1},
	{"rsa", "rsa-pkcs1v15-sha256", load_rsa, "SHA256", 0},
};

static const struct scheme *find_scheme(const json_t *json)
{
	const char *type = qmr_json_string(json, "keytype"),
		   *name = qmr_json_string(json, "scheme");

	for (size_t i = 0; type && name && i < sizeof(schemes) / sizeof(*schemes); i++)
		if (!strcmp(schemes[i].type, type) && !strcmp(schemes[i].scheme, name))
			return &schemes[i];
	return NULL;
}

int qmr_tuf_key_is_known(const json_t *json)
{
	return find_scheme(json) != NULL;
}

static int take_fingerprint(struct qmr_tuf_key *key)
{
	unsigned char *der = NULL;
	int size, ok = 1;

	/* A point may be written in three forms, and OpenSSL would write it as it was read: a key in two of them would count twice. */
	if (EVP_PKEY_get_base_id(key->pkey) == EVP_PKEY_EC)
		ok = EVP_PKEY_set_utf8_string_param(
			     key->pkey, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
			     OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED) == 1;
	size = ok ? i2d_PUBKEY(key->pkey, &der) : -1;
	ok = size > 0 &&
	     EVP_Digest(der, (size_t)size, key->fingerprint, NULL, EVP_sha256(), NULL) == 1;
	OPENSSL_free(der);
	return ok ? 0 : -ENOMEM;
}

int qmr_tuf_key_parse(const json_t *json, struct qmr_tuf_key **ret_key, struct qmr_error *err)
{
	QMR_CLEANUP(cleanup_pkey) EVP_PKEY *pkey = NULL;
	const char *value = qmr_json_string(json_object_get(json, "keyval"), "public");
	const struct scheme *scheme = find_scheme(json);
	struct qmr_tuf_key *key;

	if (!scheme)
		return qmr_error_set(err, -EOPNOTSUPP, "a key type or scheme that is not known");
	if (value)
		pkey = scheme->load(value);
	if (!pkey)
		return qmr_error_set(err, -EBADMSG,
				     "a key of type '%s' that is malformed or too weak",
				     scheme->type);
	key = calloc(1, sizeof(*key));
	if (!key)
		return qmr_error_set(err, -ENOMEM, "reading a key: out of memory");
	key->scheme = scheme;
	key->pkey = pkey;
	pkey = NULL;
	if (take_fingerprint(key) < 0) {
		qmr_tuf_key_free(key);
		return qmr_error_set(err, -ENOMEM, "reading a key: out of memory");
	}
	*ret_key = key;
	return 0;
}

void qmr_tuf_key_free(struct qmr_tuf_key *key)
{
	if (!key)
		return;
	EVP_PKEY_free(key->pkey);
	free(key);
}

const unsigned char *qmr_tuf_key_fingerprint(const struct qmr_tuf_key *key)
{
	return key->fingerprint;
}

int qmr_tuf_key_verify(const struct qmr_tuf_key *key, const char *signature_hex, const void *data,
		       size_t size)
{
	QMR_CLEANUP(cleanup_md_ctx) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char signature[SIGNATURE_BYTES_MAX];
	int signature_size = hex_decode(signature_hex, signature, sizeof(signature));
	EVP_PKEY_CTX *pkey_ctx = NULL; /* owned by ctx */

	if (!ctx || signature_size < 0 ||
	    EVP_DigestVerifyInit_ex(ctx, &pkey_ctx, key->scheme->digest, NULL, QMR_TUF_PROVIDER, key->pkey, NULL) != 1)
		return 0;
	/*
	 * The salt's length is not fixed by the specification: implementations sign with 32 bytes
	 * or as many as fit.
	 */
	if (key->scheme->is_pss &&
	    (EVP_PKEY_CTX_set_rsa_padding(pkey_ctx, RSA_PKCS1_PSS_PADDING) <= 0 ||
	     EVP_PKEY_CTX_set_rsa_pss_saltlen(pkey_ctx, RSA_PSS_SALTLEN_AUTO) <= 0 ||
	     EVP_PKEY_CTX_set_rsa_mgf1_md(pkey_ctx, EVP_sha256()) <= 0))
		return 0;
	return EVP_DigestVerify(ctx, signature, (size_t)signature_size, data, size) == 1;
}

static int hash_is(const char *id, const json_t *json)
{
	cleanup_free char *text = NULL;
	char hex[QMR_SHA256_HEX];
	size_t size;
	int r = qmr_canonical_json(json, &text, &size, NULL);

	if (r == -EINVAL)
		return 0;
	if (r < 0 || qmr_sha256(text, size, hex, NULL) < 0)
		return -ENOMEM;
	return !strcmp(hex, id);
}

int qmr_tuf_key_id_is_right(const char *id, const json_t *json)
{
	cleanup_json json_t *defined = json_pack(
		"{s:O?, s:O?, s:O?}", "keytype", json_object_get(json, "keytype"), "scheme",
		json_object_get(json, "scheme"), "keyval", json_object_get(json, "keyval"));
	int r = hash_is(id, json);

	if (r != 0)
		return r;
	return defined ? hash_is(id, defined) : -ENOMEM;
}

/* In the order in which files are named by them. */
static const struct {
	const char *name;
	const EVP_MD *(*digest)(void);
	int bytes;
} digests[] = {
	{"sha256", EVP_sha256, 32},
	{"sha512", EVP_sha512, 64},
};

#define N_DIGESTS (sizeof(digests) / sizeof(*digests))

int qmr_tuf_hashes_check(const char *what, const json_t *hashes, const void *data, size_t size,
			 struct qmr_error *err)
{
	int known = 0;

	for (size_t i = 0; i < N_DIGESTS; i++) {
		const json_t *value = json_object_get(hashes, digests[i].name);
		unsigned char expected[64], found[64];

		if (!value)
			continue;
		if (EVP_Digest(data, size, found, NULL, digests[i].digest(), NULL) != 1)
			return qmr_error_set(err, -ENOMEM, "%s: computing its %s failed", what,
					     digests[i].name);
		if (!json_is_string(value) ||
		    hex_decode(json_string_value(value), expected, sizeof(expected)) !=
			    digests[i].bytes ||
		    memcmp(expected, found, (size_t)digests[i].bytes))
			return qmr_error_set(err, -EBADMSG,
					     "%s: its %s is not the one that was signed", what,
					     digests[i].name);
		known = 1;
	}
	return known ? 0
		     : qmr_error_set(err, -EBADMSG,
				     "%s: no hash of a kind that is known was signed for it", what);
}

const char *qmr_tuf_hashes_name(const json_t *hashes)
{
	unsigned char bytes[64];

	for (size_t i = 0; i < N_DIGESTS; i++) {
		const char *hex = qmr_json_string(hashes, digests[i].name);

		if (hex && hex_decode(hex, bytes, sizeof(bytes)) == digests[i].bytes)
			return hex;
	}
	return NULL;
}
