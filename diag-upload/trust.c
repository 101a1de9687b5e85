/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trust.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <time.h>

#include "cleanup.h"
#include "envelope.h"
#include "file.h"
#include "json.h"

#define PEM_BYTES_MAX (4U << 20)
#define CERTIFICATES_MAX 1024

static void cleanup_bio(BIO **bio)
{
	BIO_free(*bio);
}

static void cleanup_x509(X509 **certificate)
{
	X509_free(*certificate);
}

static int add(struct qmr_trust_file *file, const X509 *certificate)
{
	struct tm tm = {0};
	int64_t end;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) != 1)
		return -EKEYREJECTED;
	end = timegm(&tm);
	if (!file->n || end < file->first_unix_s)
		file->first_unix_s = end;
	if (!file->n || end > file->last_unix_s)
		file->last_unix_s = end;
	file->n++;
	return 0;
}

int qmr_trust_read(const char *path, struct qmr_trust_file *ret_file, struct qmr_error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* may be a link: the owner's */
	QMR_CLEANUP(cleanup_bio) BIO *bio = NULL;
	struct qmr_trust_file file = {0};
	cleanup_free char *pem = NULL;
	size_t size;
	int r;

	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", path);
	r = qmr_file_read_fd(fd, path, PEM_BYTES_MAX, &pem, &size, err);
	if (r < 0)
		return r;
	bio = BIO_new_mem_buf(pem, (int)size);
	if (!bio)
		return qmr_error_set(err, -ENOMEM, "reading '%s': out of memory", path);
	while (file.n < CERTIFICATES_MAX) {
		QMR_CLEANUP(cleanup_x509) X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);

		if (!certificate)
			break;
		if (add(&file, certificate) < 0)
			return qmr_error_set(err, -EKEYREJECTED, "'%s': certificate %zu does not say when it ends", path, file.n + 1);
	}
	ERR_clear_error(); /* the end of the file is one for OpenSSL */
	if (!file.n)
		return qmr_error_set(err, -EKEYREJECTED, "'%s': there is no certificate in it", path);
	*ret_file = file;
	return 0;
}

static int append(json_t *list, const char *use, const char *path, struct qmr_error *err)
{
	struct qmr_trust_file file;
	int r = qmr_trust_read(path, &file, err);

	if (r == 0 && json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:I}", "use", use, "path", path, "certificates",
							    (json_int_t)file.n, "first_unix_s", (json_int_t)file.first_unix_s,
							    "last_unix_s", (json_int_t)file.last_unix_s)) < 0)
		r = qmr_error_set(err, -ENOMEM, "out of memory");
	return r;
}

int qmr_trust_print(const struct qmr_config *config, struct qmr_error *err)
{
	cleanup_json json_t *list = json_array();
	cleanup_json json_t *json = json_pack("{s:i, s:O}", "schema", 1, "files", list);
	cleanup_free char *sealed = NULL;
	size_t size;
	int r = 0;

	if (!json)
		return qmr_error_set(err, -ENOMEM, "out of memory");
	if (config->upload_url[0]) {
		r = qmr_envelope_seal(config->upload_certificate, "x", 1, &sealed, &size, err);
		if (r == 0)
			r = append(list, "upload", config->upload_certificate, err);
	}
	if (r == 0 && (config->upload_url[0] || qmr_config_has_source(config, "https:")))
		r = append(list, "ca", config->ca, err);
	if (r < 0)
		return r;
	if (json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) < 0 || putchar('\n') == EOF)
		return qmr_error_set(err, -EIO, "writing to standard output failed");
	return (int)json_array_size(list);
}
