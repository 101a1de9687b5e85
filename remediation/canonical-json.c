/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "canonical-json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define DEPTH_MAX 256

static int write_value(FILE *out, const json_t *value, int depth);

/* Failed writes stay in the stream's error flag, which is looked at once, at the end. */
static void write_string(FILE *out, const char *text, size_t size)
{
	putc_unlocked('"', out);
	for (size_t i = 0; i < size; i++) {
		if (text[i] == '"' || text[i] == '\\')
			putc_unlocked('\\', out);
		putc_unlocked(text[i], out);
	}
	putc_unlocked('"', out);
}

static int write_array(FILE *out, const json_t *array, int depth)
{
	const json_t *item;
	size_t i;
	int r = 0;

	putc_unlocked('[', out);
	json_array_foreach (array, i, item) {
		if (i > 0)
			putc_unlocked(',', out);
		r = write_value(out, item, depth + 1);
		if (r < 0)
			return r;
	}
	putc_unlocked(']', out);
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int write_object(FILE *out, const json_t *object, int depth)
{
	cleanup_free const char **keys = NULL;
	size_t n = json_object_size(object), i = 0;
	const json_t *value;
	const char *key;
	int r;

	keys = calloc(n + 1, sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	json_object_foreach ((json_t *)object, key, value)
		keys[i++] = key;
	qsort(keys, n, sizeof(*keys), compare_keys);
	putc_unlocked('{', out);
	for (i = 0; i < n; i++) {
		if (i > 0)
			putc_unlocked(',', out);
		write_string(out, keys[i], strlen(keys[i]));
		putc_unlocked(':', out);
		r = write_value(out, json_object_get(object, keys[i]), depth + 1);
		if (r < 0)
			return r;
	}
	putc_unlocked('}', out);
	return 0;
}

static int write_value(FILE *out, const json_t *value, int depth)
{
	if (!value || depth > DEPTH_MAX)
		return -EINVAL;
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return write_object(out, value, depth);
	case JSON_ARRAY:
		return write_array(out, value, depth);
	case JSON_STRING:
		write_string(out, json_string_value(value), json_string_length(value));
		return 0;
	case JSON_INTEGER:
		fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		return 0;
	case JSON_TRUE:
	case JSON_FALSE:
		fputs(json_is_true(value) ? "true" : "false", out);
		return 0;
	case JSON_NULL:
		fputs("null", out);
		return 0;
	case JSON_REAL: /* has no canonical form */
		break;
	}
	return -EINVAL;
}

int qmr_canonical_json(const json_t *value, char **ret_text, size_t *ret_size,
		       struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	int r;

	if (!out)
		return qmr_error_set(err, -ENOMEM, "canonical JSON: out of memory");
	r = write_value(out, value, 0);
	if (fclose(out) != 0 || r == -ENOMEM)
		return qmr_error_set(err, -ENOMEM, "canonical JSON: out of memory");
	if (r < 0)
		return qmr_error_set(
			err, r,
			"canonical JSON: a number that is no integer, or nested deeper than %d",
			DEPTH_MAX);
	*ret_text = text;
	*ret_size = size;
	text = NULL;
	return 0;
}
