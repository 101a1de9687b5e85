/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "key-file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/stat.h>

#include "canonical-json.h"
#include "cleanup.h"
#include "file.h"
#include "hash.h"
#include "tuf-key.h"

#define KEY_FILE_BYTES_MAX 16384
#define REASON_BYTES 200

/*
 * What OWASP asks of PBKDF2 with SHA-256 (2023); OpenSSL's own default, 2048, is from another time.
 */
#define PBKDF2_ROUNDS 600000

/* How the kinds of keys that sign here are called, by OpenSSL and in metadata. */
static const struct qmr_key_form {
	const char *openssl, *keytype, *scheme;
	const char *digest; /* NULL: part of the scheme */
	int is_pss;
} forms[] = {
	{"ED25519", "ed25519", "ed25519", NULL, 0},
	{"EC", "ecdsa", "ecdsa-sha2-nistp256", "SHA256", 0},
	{"RSA", "rsa", "rsassa-pss-sha256", "SHA256", 1},
};

static void cleanup_bio(BIO **bio)
{
	BIO_free(*bio);
}

static void cleanup_md(EVP_MD_CTX **ctx)
{
	EVP_MD_CTX_free(*ctx);
}

static void cleanup_pkcs8(PKCS8_PRIV_KEY_INFO **info)
{
	PKCS8_PRIV_KEY_INFO_free(*info);
}

static void cleanup_sig(X509_SIG **sig)
{
	X509_SIG_free(*sig);
}

static void cleanup_tuf_key(struct qmr_tuf_key **key)
{
	qmr_tuf_key_free(*key);
}

/* What OpenSSL, or a provider, said last, after a colon; empty if nothing. Its details may quote a URI, and that a PIN. */
static void take_reason(char ret_reason[REASON_BYTES])
{
	const char *details = "", *reason;
	int flags = 0;
	unsigned long code = ERR_peek_last_error_data(&details, &flags);

	reason = ERR_reason_error_string(code);
	if (!(flags & ERR_TXT_STRING) || strstr(details, "pin-"))
		details = "";
	if (ERR_GET_LIB(code) == ERR_LIB_OSSL_STORE && ERR_GET_REASON(code) == ERR_R_UNSUPPORTED)
		snprintf(ret_reason, REASON_BYTES, ": no provider that is loaded knows this kind of URI; openssl.cnf(5) has to name "
			 "one, and some do not load without their token");
	else
		snprintf(ret_reason, REASON_BYTES, "%s%s%s%s", reason ? ": " : "", reason ? reason : "", *details ? ": " : "", details);
	ERR_clear_error();
}

static int failed(struct qmr_error *err, int code, const char *what, const char *name)
{
	char reason[REASON_BYTES];

	take_reason(reason);
	return qmr_error_set(err, code, "%s '%s' failed in OpenSSL%s", what, name, reason);
}

void qmr_hex_encode(const unsigned char *data, size_t size, char *ret)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < size; i++) {
		*ret++ = digits[data[i] >> 4];
		*ret++ = digits[data[i] & 15];
	}
	*ret = '\0';
}

static json_t *public_value(EVP_PKEY *pkey, int is_raw)
{
	unsigned char raw[32];
	char hex[2 * sizeof(raw) + 1], *pem;
	size_t size = sizeof(raw);
	QMR_CLEANUP(cleanup_bio) BIO *bio = NULL;
	long length;

	if (is_raw) {
		if (EVP_PKEY_get_raw_public_key(pkey, raw, &size) != 1 || size != sizeof(raw))
			return NULL;
		qmr_hex_encode(raw, sizeof(raw), hex);
		return json_string(hex);
	}
	bio = BIO_new(BIO_s_mem());
	if (!bio || PEM_write_bio_PUBKEY(bio, pkey) != 1 || (length = BIO_get_mem_data(bio, &pem)) <= 0)
		return NULL;
	return json_stringn(pem, (size_t)length);
}

static int name_key(struct qmr_key *key, struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	size_t size;
	int r = qmr_canonical_json(key->public, &text, &size, err);

	return r < 0 ? r : qmr_sha256(text, size, key->id, err);
}

static int describe(struct qmr_key *key, struct qmr_error *err)
{
	QMR_CLEANUP(cleanup_tuf_key) struct qmr_tuf_key *as_clients = NULL;

	for (size_t i = 0; !key->form && i < sizeof(forms) / sizeof(*forms); i++)
		/* A provider's key has no number, but a name. */
		if (EVP_PKEY_is_a(key->pkey, forms[i].openssl))
			key->form = &forms[i];
	if (key->form)
		key->public = json_pack("{s:s, s:s, s:{s:o}}", "keytype", key->form->keytype, "scheme", key->form->scheme,
					"keyval", "public", public_value(key->pkey, !key->form->digest));
	ERR_clear_error();
	/* Machines have to take it: that is where sizes and curves are known. */
	if (!key->public || qmr_tuf_key_parse(key->public, &as_clients, NULL) < 0)
		return qmr_error_set(err, -EBADMSG, "'%s' holds no key of a kind that machines take: Ed25519, ECDSA on P-256, "
				     "RSA of 2048 to 8192 bits", key->name);
	return name_key(key, err);
}

/* Where a key is, for messages: what follows ? in a URI (RFC 7512) may be a PIN. */
static void set_name(struct qmr_key *key, const char *name)
{
	const char *pin = qmr_key_is_uri(name) ? strstr(name, "pin-") : NULL;
	size_t n = qmr_key_is_uri(name) ? strcspn(name, "?") : strlen(name);

	if (pin && (size_t)(pin - name) < n)
		n = (size_t)(pin - name);
	snprintf(key->name, sizeof(key->name), "%.*s", (int)n, name);
}

/* Takes the reference to pkey, also on failure. */
static int key_from_pkey(EVP_PKEY *pkey, const char *name, struct qmr_key *ret_key,
			 struct qmr_error *err)
{
	struct qmr_key key = {.pkey = pkey};
	int r;

	set_name(&key, name);
	r = describe(&key, err);
	if (r < 0)
		qmr_key_done(&key);
	else
		*ret_key = key;
	return r;
}

int qmr_key_generate(struct qmr_key *ret_key, struct qmr_error *err)
{
	EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, QMR_TUF_PROVIDER, "ED25519");

	if (!pkey)
		return failed(err, -EIO, "making a key of type", "ed25519");
	return key_from_pkey(pkey, "the new key", ret_key, err);
}

void qmr_key_done(struct qmr_key *key)
{
	EVP_PKEY_free(key->pkey); /* wipes the private half */
	json_decref(key->public);
	memset(key, 0, sizeof(*key));
}

/* Reads a file whose content is a secret: refused if anybody but the owner may read it. */
static int read_secret(int dirfd, const char *path, char **ret_data, size_t *ret_size,
		       struct qmr_error *err)
{
	cleanup_close int fd =
		openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", path);
	if (st.st_mode & 077)
		return qmr_error_set(err, -EACCES,
				     "'%s' is open to others than its owner (mode %04o); it is not "
				     "used: chmod 600 it, "
				     "and replace the key if somebody may have read it",
				     path, st.st_mode & 07777);
	return qmr_file_read_fd(fd, path, KEY_FILE_BYTES_MAX, ret_data, ret_size, err);
}

int qmr_passphrase_load(const char *path, struct qmr_passphrase *ret_passphrase,
			struct qmr_error *err)
{
	char *data = NULL;
	size_t size, length;
	int r = read_secret(AT_FDCWD, path, &data, &size, err);

	if (r < 0)
		return r;
	length = strcspn(data, "\r\n");
	if (length == 0 || length > QMR_PASSPHRASE_BYTES_MAX) {
		r = qmr_error_set(err, -EINVAL,
				  "the first line of '%s' is no passphrase of 1 to %d bytes", path,
				  QMR_PASSPHRASE_BYTES_MAX);
	} else {
		memset(ret_passphrase, 0, sizeof(*ret_passphrase));
		memcpy(ret_passphrase->text, data, length);
		ret_passphrase->size = length;
	}
	OPENSSL_cleanse(data, size);
	free(data);
	return r;
}

int qmr_passphrase_ask(const char *prompt, int twice, struct qmr_passphrase *ret_passphrase,
		       struct qmr_error *err)
{
	struct qmr_passphrase passphrase = {.asked = 1};
	int r = 0;

	/* Without a terminal OpenSSL would read standard input instead. */
	cleanup_close int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (tty < 0)
		return qmr_error_set(err, -ENOKEY,
				     "a passphrase is needed and there is no terminal to ask on");
	if (EVP_read_pw_string_min(passphrase.text, 1, QMR_PASSPHRASE_BYTES_MAX, prompt, twice) !=
	    0)
		r = qmr_error_set(err, -ENOKEY, "no passphrase was given");
	passphrase.size = strlen(passphrase.text);
	if (r == 0)
		*ret_passphrase = passphrase;
	OPENSSL_cleanse(&passphrase, sizeof(passphrase));
	return r;
}

struct asking {
	const char *path;
	struct qmr_passphrase *passphrase;
	struct qmr_error *err;
	int used;
	int r;
};

static int passphrase_callback(char *buffer, int room, int writing, void *data)
{
	struct asking *asking = data;
	char prompt[300];

	asking->used = 1;
	if (asking->passphrase->size == 0) {
		snprintf(prompt, sizeof(prompt), "Passphrase of %s: ", asking->path);
		asking->r = qmr_passphrase_ask(prompt, 0, asking->passphrase, asking->err);
		if (asking->r < 0) {
			qmr_error_set(
				asking->err, asking->r,
				"'%s' needs a passphrase or PIN and there is "
				"no terminal to ask on, no --passphrase-file and no QMR_PASSPHRASE",
				asking->path);
			return -1;
		}
	}
	if (asking->passphrase->size > (size_t)room)
		return -1;
	memcpy(buffer, asking->passphrase->text, asking->passphrase->size);
	return (int)asking->passphrase->size;
}

static int decode(const char *path, const char *data, size_t size,
		  struct qmr_passphrase *passphrase, EVP_PKEY **ret_pkey, struct asking *ret_asking,
		  struct qmr_error *err)
{
	QMR_CLEANUP(cleanup_bio) BIO *bio = BIO_new_mem_buf(data, (int)size);

	*ret_asking = (struct asking){.path = path, .passphrase = passphrase, .err = err};
	if (!bio)
		return qmr_error_set(err, -ENOMEM, "reading '%s': out of memory", path);
	*ret_pkey = PEM_read_bio_PrivateKey_ex(bio, NULL, passphrase_callback, ret_asking, NULL, QMR_TUF_PROVIDER);
	ERR_clear_error();
	if (*ret_pkey)
		return 0;
	if (ret_asking->r < 0)
		return ret_asking->r;
	if (ret_asking->used)
		return qmr_error_set(err, -EBADMSG,
				     "'%s': the passphrase is wrong, or the file is damaged", path);
	return qmr_error_set(err, -EBADMSG, "'%s' holds no private key in PEM form", path);
}

int qmr_key_load(int dirfd, const char *path, struct qmr_passphrase *passphrase,
		 struct qmr_key *ret_key, struct qmr_error *err)
{
	struct asking asking;
	EVP_PKEY *pkey = NULL;
	char *data = NULL;
	size_t size;
	int r = read_secret(dirfd, path, &data, &size, err);

	if (r < 0)
		return r;
	r = decode(path, data, size, passphrase, &pkey, &asking, err);
	if (r == -EBADMSG && asking.used && passphrase->asked) {
		/* The one typed for an earlier file, or a slip: asked for once more. */
		OPENSSL_cleanse(passphrase, sizeof(*passphrase));
		r = decode(path, data, size, passphrase, &pkey, &asking, err);
	}
	OPENSSL_cleanse(data, size);
	free(data);
	return r < 0 ? r : key_from_pkey(pkey, path, ret_key, err);
}

int qmr_key_is_uri(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

	return n > 1 && text[n] == ':';
}

/* The only private key of a store; *ret_pkey is NULL if there is none. */
static int read_store(OSSL_STORE_CTX *store, const char *name, EVP_PKEY **ret_pkey, struct qmr_error *err)
{
	EVP_PKEY *found = NULL;

	while (!OSSL_STORE_eof(store)) {
		OSSL_STORE_INFO *info = OSSL_STORE_load(store);
		EVP_PKEY *pkey = info ? OSSL_STORE_INFO_get1_PKEY(info) : NULL;

		OSSL_STORE_INFO_free(info);
		if (!info && OSSL_STORE_error(store))
			break;
		if (pkey && found) {
			EVP_PKEY_free(pkey);
			EVP_PKEY_free(found);
			return qmr_error_set(err, -EBADMSG, "'%s' names more than one private key", name);
		}
		if (pkey)
			found = pkey;
	}
	*ret_pkey = found;
	return 0;
}

int qmr_key_load_uri(const char *uri, struct qmr_passphrase *passphrase, struct qmr_key *ret_key, struct qmr_error *err)
{
	struct qmr_key key = {0};
	struct asking asking = {.path = key.name, .passphrase = passphrase, .err = err};
	UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(passphrase_callback, 0);
	OSSL_STORE_CTX *store;
	EVP_PKEY *pkey = NULL;
	char reason[REASON_BYTES];
	int r = 0;

	set_name(&key, uri);
	store = ui ? OSSL_STORE_open(uri, ui, &asking, NULL, NULL) : NULL;
	if (store && OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY) == 1)
		r = read_store(store, key.name, &pkey, err);
	take_reason(reason);
	OSSL_STORE_close(store);
	UI_destroy_method(ui);
	ERR_clear_error();
	if (r == 0 && !pkey && asking.r < 0)
		return asking.r;
	if (r == 0 && !pkey)
		return qmr_error_set(err, -EBADMSG, "'%s' names no private key that OpenSSL can open%s%s", key.name,
				     asking.used ? ", or the passphrase is wrong" : "", reason);
	return r < 0 ? r : key_from_pkey(pkey, uri, ret_key, err);
}

int qmr_key_save_public(int dirfd, const char *path, const struct qmr_key *key, struct qmr_error *err)
{
	QMR_CLEANUP(cleanup_bio) BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long size;

	if (!bio || PEM_write_bio_PUBKEY(bio, key->pkey) != 1 || (size = BIO_get_mem_data(bio, &data)) <= 0)
		return failed(err, -EIO, "encoding the key for", path);
	return qmr_file_replace(dirfd, path, data, (size_t)size, 0644, err);
}

int qmr_key_load_public(const char *path, struct qmr_key *ret_key, struct qmr_error *err)
{
	QMR_CLEANUP(cleanup_bio) BIO *bio = NULL;
	cleanup_free char *data = NULL;
	EVP_PKEY *pkey;
	size_t size;
	int r = qmr_file_read(AT_FDCWD, path, KEY_FILE_BYTES_MAX, &data, &size, err);

	if (r < 0)
		return r;
	bio = BIO_new_mem_buf(data, (int)size);
	pkey = bio ? PEM_read_bio_PUBKEY_ex(bio, NULL, NULL, NULL, NULL, QMR_TUF_PROVIDER) : NULL;
	ERR_clear_error();
	if (!pkey)
		return qmr_error_set(err, -EBADMSG, "'%s' holds no public key in PEM form", path);
	r = key_from_pkey(pkey, path, ret_key, err);
	if (r == 0) {
		EVP_PKEY_free(ret_key->pkey);
		ret_key->pkey = NULL;
	}
	return r;
}

static int write_pem(BIO *bio, const struct qmr_key *key, const struct qmr_passphrase *passphrase)
{
	QMR_CLEANUP(cleanup_pkcs8) PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key->pkey);
	QMR_CLEANUP(cleanup_sig) X509_SIG *sealed = NULL;

	if (!info)
		return 0;
	if (!passphrase || passphrase->size == 0)
		return PEM_write_bio_PKCS8_PRIV_KEY_INFO(bio, info);
	sealed = PKCS8_encrypt(-1, EVP_aes_256_cbc(), passphrase->text, (int)passphrase->size, NULL,
			       0, PBKDF2_ROUNDS, info);
	return sealed && PEM_write_bio_PKCS8(bio, sealed);
}

int qmr_key_save(int dirfd, const char *path, const struct qmr_key *key,
		 const struct qmr_passphrase *passphrase, struct qmr_error *err)
{
	QMR_CLEANUP(cleanup_bio) BIO *bio = BIO_new(BIO_s_secmem()); /* wiped when freed */
	char *data;
	long size;

	if (!bio || write_pem(bio, key, passphrase) != 1 ||
	    (size = BIO_get_mem_data(bio, &data)) <= 0)
		return failed(err, -EIO, "encoding the key for", path);
	return qmr_file_replace(dirfd, path, data, (size_t)size, 0600, err);
}

int qmr_key_sign(const struct qmr_key *key, const void *data, size_t size,
		 char ret_signature_hex[QMR_KEY_SIGNATURE_HEX], struct qmr_error *err)
{
	QMR_CLEANUP(cleanup_md) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const OSSL_PROVIDER *provider = EVP_PKEY_get0_provider(key->pkey);
	unsigned char signature[QMR_KEY_SIGNATURE_BYTES_MAX];
	size_t length = sizeof(signature);
	EVP_PKEY_CTX *pkey_ctx = NULL; /* owned by ctx */
	char who[100] = "";

	/* Left to itself OpenSSL 3.0 may ask another one, which takes the public half and finds no private one. */
	if (provider)
		snprintf(who, sizeof(who), "?provider=%s", OSSL_PROVIDER_get0_name(provider));
	if (!ctx || EVP_DigestSignInit_ex(ctx, &pkey_ctx, key->form->digest, NULL, who, key->pkey, NULL) != 1 ||
	    (key->form->is_pss && EVP_PKEY_CTX_set_rsa_padding(pkey_ctx, RSA_PKCS1_PSS_PADDING) <= 0) ||
	    EVP_DigestSign(ctx, signature, &length, data, size) != 1)
		return failed(err, -EBADMSG, "signing with", key->name);
	qmr_hex_encode(signature, length, ret_signature_hex);
	return 0;
}

int qmr_key_verify(const json_t *public, const char *signature_hex, const void *data, size_t size)
{
	QMR_CLEANUP(cleanup_tuf_key) struct qmr_tuf_key *key = NULL;
	int good = qmr_tuf_key_parse(public, &key, NULL) == 0 && qmr_tuf_key_verify(key, signature_hex, data, size);

	ERR_clear_error();
	return good;
}
