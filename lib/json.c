/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"

int qmr_json_parse(const char *name, const char *data, size_t size, json_t **ret_json, struct qmr_error *err)
{
	json_error_t why;
	json_t *json;

	/* jansson passes over one that follows a number. */
	if (memchr(data, '\0', size))
		return qmr_error_set(err, -EINVAL, "'%s' is not valid JSON: it holds a NUL byte", name);
	json = json_loadb(data, size, JSON_REJECT_DUPLICATES, &why);
	if (!json)
		return qmr_error_set(err, -EINVAL, "'%s' is not valid JSON: line %d: %s", name, why.line, why.text);
	if (!json_is_object(json)) {
		json_decref(json);
		return qmr_error_set(err, -EINVAL, "'%s' is not a JSON object", name);
	}
	*ret_json = json;
	return 0;
}

int qmr_json_load(int dirfd, const char *path, size_t max, json_t **ret_json, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	size_t size;
	int r = qmr_file_read(dirfd, path, max, &data, &size, err);

	return r < 0 ? r : qmr_json_parse(path, data, size, ret_json, err);
}

int qmr_json_save(int dirfd, const char *path, const json_t *json, mode_t mode, struct qmr_error *err)
{
	cleanup_free char *text = json_dumps(json, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	size_t size;

	if (!text)
		return qmr_error_set(err, -ENOMEM, "writing '%s': out of memory", path);
	size = strlen(text);
	text[size] = '\n'; /* takes the place of the NUL, which is not written */
	return qmr_file_replace(dirfd, path, text, size + 1, mode, err);
}

const char *qmr_json_string(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

int qmr_json_get_integer(const json_t *object, const char *key, json_int_t min, json_int_t max, json_int_t *ret)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < min || json_integer_value(value) > max)
		return -EBADMSG;
	*ret = json_integer_value(value);
	return 0;
}

int qmr_json_list_has(const json_t *list, const char *text)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (list, i, entry)
		if (json_is_string(entry) && !strcmp(json_string_value(entry), text))
			return 1;
	return 0;
}
