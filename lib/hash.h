/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_HASH_H
#define QMR_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define QMR_SHA256_HEX 65 /* with NUL */

/* SHA-256 through OpenSSL; lower-case hexadecimal. */
int qmr_sha256(const void *data, size_t size, char ret_hex[QMR_SHA256_HEX], struct qmr_error *err) QMR_MUST_CHECK;

/* Hashes from the current offset to the end; *ret_size may be NULL. name is for messages. */
int qmr_sha256_fd(int fd, const char *name, char ret_hex[QMR_SHA256_HEX], uint64_t *ret_size,
		  struct qmr_error *err) QMR_MUST_CHECK;

#endif
