/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_JSON_H
#define QMR_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "error.h"

static inline void qmr_cleanup_json(json_t **j)
{
	json_decref(*j);
}
#define cleanup_json __attribute__((cleanup(qmr_cleanup_json)))

/*
 * Parses at most max bytes of a file; refuses duplicate keys, non-objects and anything after the object. The caller
 * owns *ret_json.
 */
int qmr_json_load(int dirfd, const char *path, size_t max, json_t **ret_json, struct qmr_error *err) QMR_MUST_CHECK;

/* The same from memory; name is for messages. */
int qmr_json_parse(const char *name, const char *data, size_t size, json_t **ret_json,
		   struct qmr_error *err) QMR_MUST_CHECK;

/* Durable atomic replacement of path by json, indented, sorted as inserted, newline at the end. Borrows json. */
int qmr_json_save(int dirfd, const char *path, const json_t *json, mode_t mode, struct qmr_error *err) QMR_MUST_CHECK;

/* Borrowed string of an object's key, NULL where missing or not a string. object may be NULL. */
const char *qmr_json_string(const json_t *object, const char *key);

#endif
