/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "change-log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "form.h"
#include "json.h"

/* 1,000 entries, each with a path of 4,095 bytes that JSON may write with six for one. */
#define LOG_BYTES_MAX (32U << 20)
#define STATE_BYTES_MAX (4U << 20)
#define STRING_BYTES_MAX 4095

static const struct qmr_logged_kind kinds[] = {
	{"file", {"path", "change", "old_sha256", "new_sha256"}},
	{"initramfs", {"path", "change", "old_sha256", "new_sha256"}},
	{"kernel", {"change", "from", "to", "build"}},
	{"package", {"package", "change", "from", "to", "time"}},
};

const struct qmr_logged_kind *qmr_logged_kind(const json_t *entry)
{
	const char *what = qmr_json_string(entry, "what");

	for (size_t i = 0; what && i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(what, kinds[i].what))
			return &kinds[i];
	return NULL;
}

static int is_absolute(const char *text)
{
	return *text == '/';
}

/* It becomes part of a file's name: dpkg's "name:architecture". */
static int is_package(const char *text)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-._:";

	return *text && *text != '.' && strlen(text) < 256 && text[strspn(text, allowed)] == '\0';
}

static int is_word(const char *text)
{
	return *text && strlen(text) < 32 && strspn(text, "abcdefghijklmnopqrstuvwxyz-") == strlen(text);
}

static const struct {
	const char *key;
	int needed;
	int (*is_good)(const char *text); /* NULL: any text */
} strings[] = {
	{"path", 1, is_absolute}, {"package", 1, is_package},    {"change", 1, is_word},
	{"old_sha256", 0, qmr_form_is_sha256}, {"new_sha256", 0, qmr_form_is_sha256}, {"from", 0, NULL},
	{"to", 0, NULL},	  {"build", 0, NULL},	       {"time", 0, NULL},
};

static int check_string(const json_t *entry, const char *key)
{
	const json_t *value = json_object_get(entry, key);

	for (size_t i = 0; i < sizeof(strings) / sizeof(*strings); i++) {
		if (strcmp(strings[i].key, key))
			continue;
		if (!value || json_is_null(value))
			return !strings[i].needed;
		return json_is_string(value) && json_string_length(value) <= STRING_BYTES_MAX &&
		       (!strings[i].is_good || strings[i].is_good(json_string_value(value)));
	}
	return 0;
}

static int is_count(const json_t *value)
{
	return json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) < INT64_MAX;
}

static int check_entry(const json_t *entry, size_t i, struct qmr_error *err)
{
	const struct qmr_logged_kind *kind = qmr_logged_kind(entry);

	if (!json_is_object(entry) || !qmr_json_string(entry, "what"))
		return qmr_error_set(err, -EBADMSG, "%s: entries[%zu].what: missing", QMR_CHANGE_LOG_FILE, i);
	for (size_t k = 0; kind && kind->keys[k]; k++)
		if (!check_string(entry, kind->keys[k]))
			return qmr_error_set(err, -EBADMSG, "%s: entries[%zu].%s: not what it must be", QMR_CHANGE_LOG_FILE, i,
					     kind->keys[k]);
	if (!is_count(json_object_get(entry, "restore_point")) || !is_count(json_object_get(entry, "healthy_boots_before")) ||
	    !json_is_integer(json_object_get(entry, "first_seen_unix_s")))
		return qmr_error_set(err, -EBADMSG,
				     "%s: entries[%zu]: restore_point, healthy_boots_before or first_seen_unix_s is no number",
				     QMR_CHANGE_LOG_FILE, i);
	return 0;
}

int qmr_change_log_check(const json_t *log, struct qmr_error *err)
{
	const json_t *entries = json_object_get(log, "entries"), *schema = json_object_get(log, "schema"), *entry;
	size_t i;

	if (!json_is_integer(schema) || json_integer_value(schema) != 1)
		return qmr_error_set(err, -EBADMSG, "%s: schema: not 1", QMR_CHANGE_LOG_FILE);
	if (!is_count(json_object_get(log, "healthy_boots")) || !is_count(json_object_get(log, "generation")))
		return qmr_error_set(err, -EBADMSG, "%s: healthy_boots or generation: no number", QMR_CHANGE_LOG_FILE);
	if (!json_is_array(entries) || json_array_size(entries) > QMR_CHANGE_LOG_ENTRIES_MAX)
		return qmr_error_set(err, -EBADMSG, "%s: entries: not a list of at most %d", QMR_CHANGE_LOG_FILE,
				     QMR_CHANGE_LOG_ENTRIES_MAX);
	json_array_foreach (entries, i, entry) {
		int r = check_entry(entry, i, err);

		if (r < 0)
			return r;
	}
	return 0;
}

int qmr_change_log_load(int folder_fd, json_t **ret_log, struct qmr_error *err)
{
	cleanup_json json_t *log = NULL;
	int r = qmr_json_load(folder_fd, QMR_CHANGE_LOG_FILE, LOG_BYTES_MAX, &log, err);

	if (r == 0)
		r = qmr_change_log_check(log, err);
	if (r < 0)
		return r;
	*ret_log = json_incref(log);
	return 0;
}

int qmr_change_log_is_damage(int r)
{
	return r == -ENOENT || r == -EBADMSG || r == -EINVAL || r == -EFBIG || r == -ELOOP || r == -ENOTDIR;
}

static int check_state(const json_t *state, struct qmr_error *err)
{
	const json_t *schema = json_object_get(state, "schema"), *boot = json_object_get(state, "boot");

	if (!json_is_integer(schema) || json_integer_value(schema) != 1)
		return qmr_error_set(err, -EBADMSG, "%s: schema: not 1", QMR_CHANGE_LOG_STATE_FILE);
	if (!is_count(json_object_get(state, "healthy_boots")) || !is_count(json_object_get(state, "generation")))
		return qmr_error_set(err, -EBADMSG, "%s: healthy_boots or generation: no number", QMR_CHANGE_LOG_STATE_FILE);
	if (boot && (!json_is_string(boot) || json_string_length(boot) >= QMR_BOOT_ID_BYTES))
		return qmr_error_set(err, -EBADMSG, "%s: boot: no id of a boot", QMR_CHANGE_LOG_STATE_FILE);
	return 0;
}

int qmr_change_log_load_state(int folder_fd, json_t **ret_state, struct qmr_error *err)
{
	cleanup_json json_t *state = NULL;
	int r = qmr_json_load(folder_fd, QMR_CHANGE_LOG_STATE_FILE, STATE_BYTES_MAX, &state, err);

	if (r == 0)
		r = check_state(state, err);
	if (r < 0)
		return r;
	*ret_state = json_incref(state);
	return 0;
}

uint64_t qmr_change_log_boots(const json_t *state, const json_t *log)
{
	json_int_t a = json_integer_value(json_object_get(state, "healthy_boots"));
	json_int_t b = json_integer_value(json_object_get(log, "healthy_boots"));

	return (uint64_t)(a > b ? a : b);
}
