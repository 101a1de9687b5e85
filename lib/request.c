/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request.h"

#include <errno.h>
#include <string.h>

#include "form.h"
#include "json.h"

#define TITLE_BYTES_MAX 200

static const char *const mode_names[] = {"recover", "collect-only", "test"};

static int refuse(struct qmr_error *err, const char *name, const char *field, const char *why)
{
	return qmr_error_set(err, -EINVAL, "request '%s': %.64s: %s; the whole request is refused", name, field, why);
}

/* It becomes part of a command line, of a file's content and of what is written to terminals. */
static int is_id(const json_t *json)
{
	const char *id = json_string_value(json);

	return id && id[0] != '-' && qmr_form_is_id(id);
}

static int is_title(const json_t *json)
{
	const char *title = json_string_value(json);

	if (!title || json_string_length(json) > TITLE_BYTES_MAX || strlen(title) != json_string_length(json))
		return 0;
	for (; *title; title++)
		if ((unsigned char)*title < 0x20 || *title == 0x7f)
			return 0;
	return 1;
}

static int is_schema(const json_t *json)
{
	return json_is_integer(json) && json_integer_value(json) == 1;
}

static int is_match(const json_t *json)
{
	return json_is_object(json);
}

static int find_mode(const json_t *json)
{
	const char *name = json_string_value(json);

	for (size_t i = 0; name && i < sizeof(mode_names) / sizeof(*mode_names); i++)
		if (!strcmp(mode_names[i], name))
			return (int)i;
	return -1;
}

static int is_mode(const json_t *json)
{
	return find_mode(json) >= 0;
}

static const struct {
	const char *key;
	int (*is_valid)(const json_t *json);
	const char *why;
} required[] = {
	{"schema", is_schema, "not 1"},
	{"id", is_id, "missing or not 1 to 63 of A-Za-z0-9._-, beginning with a letter, a digit or _"},
	{"title", is_title, "missing, longer than 200 bytes, or with control characters"},
	{"match", is_match, "missing or not an object"},
	{"mode", is_mode, "missing or not recover, collect-only or test"},
};

static const struct {
	const char *key;
	int fallback, max;
	size_t offset;
} numbers[] = {
	{"grace_minutes", 15, 1440, offsetof(struct qmr_request, grace_minutes)},
	{"defer_minutes", 0, 10080, offsetof(struct qmr_request, defer_minutes)},
	{"battery_percent", 30, 100, offsetof(struct qmr_request, battery_percent)},
};

#define N(table) (sizeof(table) / sizeof(*(table)))

static int is_key(const char *key)
{
	for (size_t i = 0; i < N(required); i++)
		if (!strcmp(required[i].key, key))
			return 1;
	for (size_t i = 0; i < N(numbers); i++)
		if (!strcmp(numbers[i].key, key))
			return 1;
	return 0;
}

static int read_fields(const char *name, struct qmr_request *request, struct qmr_error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach (request->json, key, value)
		if (!is_key(key))
			return refuse(err, name, key, "unknown key");
	for (size_t i = 0; i < N(required); i++)
		if (!required[i].is_valid(json_object_get(request->json, required[i].key)))
			return refuse(err, name, required[i].key, required[i].why);
	for (size_t i = 0; i < N(numbers); i++) {
		const json_t *number = json_object_get(request->json, numbers[i].key);
		const json_int_t is = number ? json_integer_value(number) : numbers[i].fallback;

		if ((number && !json_is_integer(number)) || is < 0 || is > numbers[i].max)
			return refuse(err, name, numbers[i].key, "not a whole number within its limits");
		*(int *)(void *)((char *)request + numbers[i].offset) = (int)is;
	}
	request->id = qmr_json_string(request->json, "id");
	request->title = qmr_json_string(request->json, "title");
	request->match = json_object_get(request->json, "match");
	request->mode = find_mode(json_object_get(request->json, "mode"));
	return 0;
}

int qmr_request_parse(const char *name, const char *data, size_t size, struct qmr_request *ret_request, struct qmr_error *err)
{
	struct qmr_request request = {0};
	int r;

	if (size > QMR_REQUEST_BYTES_MAX)
		return refuse(err, name, "size", "more than 64 KiB");
	r = qmr_json_parse(name, data, size, &request.json, err);
	if (r < 0)
		return r;
	r = read_fields(name, &request, err);
	if (r < 0)
		qmr_request_done(&request);
	else
		*ret_request = request;
	return r;
}

void qmr_request_done(struct qmr_request *request)
{
	json_decref(request->json);
	memset(request, 0, sizeof(*request));
}

const char *qmr_request_mode_name(int mode)
{
	return mode >= 0 && mode < (int)N(mode_names) ? mode_names[mode] : "invalid";
}
