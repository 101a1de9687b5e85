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

/* The whole number from min to max at an object's key; -EBADMSG where it is missing, another type or out of range. */
int qmr_json_get_integer(const json_t *object, const char *key, json_int_t min, json_int_t max, json_int_t *ret) QMR_MUST_CHECK;

/* Whether a list, NULL allowed, holds the string text. */
int qmr_json_list_has(const json_t *list, const char *text);

#endif
