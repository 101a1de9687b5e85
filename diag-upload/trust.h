/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_TRUST_H
#define QMR_TRUST_H

#include <stddef.h>
#include <stdint.h>

#include "config.h"

/* The certificates of a PEM file, at most 1,024: how many, and when the first and the last of them end. */
struct qmr_trust_file {
	size_t n;
	int64_t first_unix_s, last_unix_s;
};

/* -EKEYREJECTED: there is none in it, or one says no time; otherwise what reading said. */
int qmr_trust_read(const char *path, struct qmr_trust_file *ret_file, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Prints the certificates that the configuration uses as diag-upload(8) says, once it has encrypted a byte to the upload certificate. Returns
 * how many files that were, 0 if no server is configured.
 */
int qmr_trust_print(const struct qmr_config *config, struct qmr_error *err) QMR_MUST_CHECK;

#endif
