/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <unistd.h>

#include "cleanup.h"

static void cleanup_md(EVP_MD_CTX **ctx)
{
	EVP_MD_CTX_free(*ctx);
}

static int finish(EVP_MD_CTX *ctx, char ret_hex[QMR_SHA256_HEX], struct qmr_error *err)
{
	unsigned char digest[32];
	unsigned int size = sizeof(digest);

	if (EVP_DigestFinal_ex(ctx, digest, &size) != 1)
		return qmr_error_set(err, -EIO, "computing a SHA-256 failed in OpenSSL");
	for (size_t i = 0; i < sizeof(digest); i++)
		sprintf(ret_hex + 2 * i, "%02x", digest[i]);
	return 0;
}

int qmr_sha256(const void *data, size_t size, char ret_hex[QMR_SHA256_HEX], struct qmr_error *err)
{
	QMR_CLEANUP(cleanup_md) EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 || EVP_DigestUpdate(ctx, data, size) != 1)
		return qmr_error_set(err, -ENOMEM, "starting a SHA-256 failed in OpenSSL");
	return finish(ctx, ret_hex, err);
}

int qmr_sha256_fd(int fd, const char *name, char ret_hex[QMR_SHA256_HEX], uint64_t *ret_size,
		  struct qmr_error *err)
{
	QMR_CLEANUP(cleanup_md) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	cleanup_free char *buffer = malloc(65536);
	uint64_t total = 0;
	int r;

	if (!buffer || !ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
		return qmr_error_set(err, -ENOMEM, "starting a SHA-256 failed");
	for (;;) {
		ssize_t n = read(fd, buffer, 65536);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return qmr_error_errno(err, -errno, "reading '%s'", name);
		if (n == 0)
			break;
		total += (uint64_t)n;
		if (EVP_DigestUpdate(ctx, buffer, (size_t)n) != 1)
			return qmr_error_set(err, -EIO, "computing a SHA-256 failed in OpenSSL");
	}
	r = finish(ctx, ret_hex, err);
	if (r == 0 && ret_size)
		*ret_size = total;
	return r;
}
