/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_ENVELOPE_H
#define QMR_ENVELOPE_H

#include <stddef.h>

#include "error.h"

/*
 * Encrypts data to the certificates in a PEM file (at most 8, each can decrypt): CMS AuthEnvelopedData (RFC 5083) with
 * AES-256-GCM (RFC 5084), DER. RSA keys of at least 2048 bits get the content key by RSAES-OAEP with SHA-256 (RFC 3560),
 * EC keys by ECDH. The result is malloc'ed, the caller frees it. Decrypt with
 * "openssl cms -decrypt -inform DER -inkey KEY -in FILE". -EKEYREJECTED: no usable certificate.
 */
int qmr_envelope_seal(const char *certificate_path, const void *data, size_t size, char **ret_data, size_t *ret_size,
		      struct qmr_error *err) QMR_MUST_CHECK;

#endif
