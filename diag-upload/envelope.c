/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "envelope.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"

#define CERTIFICATES_MAX 8
#define PEM_BYTES_MAX (1U << 20)
#define RSA_BITS_MIN 2048

static void cleanup_bio(BIO **bio)
{
	BIO_free(*bio);
}

static void cleanup_cms(CMS_ContentInfo **cms)
{
	CMS_ContentInfo_free(*cms);
}

static void cleanup_x509(X509 **certificate)
{
	X509_free(*certificate);
}

/* OpenSSL's own words for the last error; its queue is emptied. */
static int openssl_error(struct qmr_error *err, int code, const char *what)
{
	char reason[256] = "no reason given";
	unsigned long e = ERR_peek_last_error();

	if (e)
		ERR_error_string_n(e, reason, sizeof(reason));
	ERR_clear_error();
	return qmr_error_set(err, code, "%s: %s", what, reason);
}

static int add_recipient(CMS_ContentInfo *cms, X509 *certificate, const char *path, struct qmr_error *err)
{
	EVP_PKEY *key = X509_get0_pubkey(certificate);
	CMS_RecipientInfo *recipient;
	EVP_PKEY_CTX *context;

	if (!key || (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) < RSA_BITS_MIN))
		return qmr_error_set(err, -EKEYREJECTED, "certificate '%s': its key is unknown or below %d bits", path,
				     RSA_BITS_MIN);
	recipient = CMS_add1_recipient_cert(cms, certificate, CMS_KEY_PARAM);
	if (!recipient)
		return openssl_error(err, -EKEYREJECTED, "encrypting to the certificate");
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA)
		return 0;
	context = CMS_RecipientInfo_get0_pkey_ctx(recipient);
	if (!context || EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) <= 0 ||
	    EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) <= 0 ||
	    EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) <= 0)
		return openssl_error(err, -EIO, "encrypting with RSAES-OAEP");
	return 0;
}

static int add_recipients(CMS_ContentInfo *cms, const char *path, struct qmr_error *err)
{
	cleanup_free char *pem = NULL;
	size_t size;
	int r, n = 0;
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* may be a link: the owner's */
	QMR_CLEANUP(cleanup_bio) BIO *bio = NULL;

	if (fd < 0)
		return qmr_error_errno(err, -EKEYREJECTED, "opening certificate '%s'", path);
	r = qmr_file_read_fd(fd, path, PEM_BYTES_MAX, &pem, &size, err);
	if (r < 0)
		return r;
	bio = BIO_new_mem_buf(pem, (int)size);
	if (!bio)
		return qmr_error_set(err, -ENOMEM, "reading certificate '%s': out of memory", path);
	for (; n < CERTIFICATES_MAX; n++) {
		QMR_CLEANUP(cleanup_x509) X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);

		if (!certificate)
			break;
		r = add_recipient(cms, certificate, path, err);
		if (r < 0)
			return r;
	}
	ERR_clear_error(); /* the end of the file is one for OpenSSL */
	if (n == 0)
		return qmr_error_set(err, -EKEYREJECTED, "certificate '%s': there is none in it", path);
	return 0;
}

static int copy_out(BIO *bio, char **ret_data, size_t *ret_size, struct qmr_error *err)
{
	char *bytes;
	long n = BIO_get_mem_data(bio, &bytes);
	char *copy = n > 0 ? malloc((size_t)n) : NULL;

	if (!copy)
		return qmr_error_set(err, -ENOMEM, "encrypting the bundle: out of memory");
	memcpy(copy, bytes, (size_t)n);
	*ret_data = copy;
	*ret_size = (size_t)n;
	return 0;
}

int qmr_envelope_seal(const char *certificate_path, const void *data, size_t size, char **ret_data, size_t *ret_size,
		      struct qmr_error *err)
{
	QMR_CLEANUP(cleanup_cms) CMS_ContentInfo *cms = CMS_AuthEnvelopedData_create(EVP_aes_256_gcm());
	QMR_CLEANUP(cleanup_bio) BIO *in = size <= INT_MAX ? BIO_new_mem_buf(data, (int)size) : NULL;
	QMR_CLEANUP(cleanup_bio) BIO *out = BIO_new(BIO_s_mem());
	int r;

	if (!cms || !in || !out)
		return openssl_error(err, -ENOMEM, "starting the encryption");
	r = add_recipients(cms, certificate_path, err);
	if (r < 0)
		return r;
	if (CMS_set_detached(cms, 0) != 1 || CMS_final(cms, in, NULL, CMS_BINARY) != 1)
		return openssl_error(err, -EIO, "encrypting the bundle");
	if (i2d_CMS_bio(out, cms) != 1)
		return openssl_error(err, -EIO, "encoding the bundle");
	return copy_out(out, ret_data, ret_size, err);
}
