/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_CANONICAL_JSON_H
#define QMR_CANONICAL_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "error.h"

/*
 * Writes value as canonical JSON, the bytes that signatures and key ids of The Update Framework are
 * made over (specification 1.0, section 4.1; wiki.laptop.org/go/Canonical_JSON): no white space,
 * object keys in order of their UTF-8 bytes, integers in decimal, strings as they are except that
 * '"' and '\' get a '\' before them. So it need not be JSON that a parser takes: a line feed inside
 * a string stays a line feed. securesystemslib and go-securesystemslib order keys in the same way;
 * tuf-js orders by UTF-16 units, which differs only where one key has U+E000 to U+FFFF and another
 * has a character above U+FFFF at the same place.
 *
 * *ret_text: malloc, the caller frees; a NUL byte follows the *ret_size bytes. Borrows value.
 * -EINVAL: value holds a real number, or is nested deeper than 256. -ENOMEM.
 */
int qmr_canonical_json(const json_t *value, char **ret_text, size_t *ret_size,
		       struct qmr_error *err) QMR_MUST_CHECK;

#endif
