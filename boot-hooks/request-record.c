/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request-record.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "json.h"

#define BYTES_MAX 65536
#define REQUESTS_MAX 64
#define DAY_S 86400

#define BEGUN "begun"
#define ASKED "asked"
#define DONE "done"
#define CANCELLED "cancelled"
#define FAILED "failed"

static int is_entry(const json_t *entry)
{
	return qmr_json_string(entry, "id") && qmr_json_string(entry, "result") && qmr_json_string(entry, "incident") &&
	       json_is_integer(json_object_get(entry, "tries")) && json_is_integer(json_object_get(entry, "boots")) &&
	       json_is_integer(json_object_get(entry, "begun_unix_s"));
}

int qmr_request_record_load(int dirfd, const char *path, json_t **ret_record, struct qmr_error *err)
{
	cleanup_json json_t *record = NULL;
	const json_t *entries, *entry;
	size_t i;
	int r = qmr_json_load(dirfd, path, BYTES_MAX, &record, err);

	if (r == -ENOENT) {
		*ret_record = json_pack("{s:i, s:[]}", "schema", 1, "requests");
		return *ret_record ? 0 : qmr_error_set(err, -ENOMEM, "reading '%s': out of memory", path);
	}
	if (r < 0)
		return r;
	entries = json_object_get(record, "requests");
	if (json_integer_value(json_object_get(record, "schema")) != 1 || !json_is_array(entries))
		return qmr_error_set(err, -EBADMSG, "'%s' is no record of requests, schema 1", path);
	json_array_foreach (entries, i, entry)
		if (!is_entry(entry))
			return qmr_error_set(err, -EBADMSG, "'%s': requests[%zu] lacks what it has to have", path, i);
	*ret_record = json_incref(record);
	return 0;
}

int qmr_request_record_save(int dirfd, const char *path, const json_t *record, struct qmr_error *err)
{
	return qmr_json_save(dirfd, path, record, 0600, err);
}

static int is(const json_t *entry, const char *result)
{
	return !strcmp(qmr_json_string(entry, "result"), result);
}

static int is_over(const json_t *entry)
{
	return is(entry, DONE) || is(entry, CANCELLED) || is(entry, FAILED);
}

static json_int_t number(const json_t *entry, const char *key)
{
	return json_integer_value(json_object_get(entry, key));
}

static json_t *find(const json_t *record, const char *id)
{
	const json_t *entries = json_object_get(record, "requests");
	json_t *entry;
	size_t i;

	json_array_foreach (entries, i, entry)
		if (!strcmp(qmr_json_string(entry, "id"), id))
			return entry;
	return NULL;
}

/* Asking for recovery failed: what is asked for now is somebody else's. */
static int is_unasked(const json_t *entry)
{
	return json_is_string(json_object_get(entry, "why"));
}

static int is_due(const json_t *entry, const struct qmr_request_now *now)
{
	return !is_unasked(entry) && number(entry, "boots") == now->boots && now->is_asked_for;
}

/* What became of one that was begun; NULL: nothing yet. */
static const char *settle(const json_t *entry, const struct qmr_request_now *now)
{
	if (is_due(entry, now) || is_unasked(entry))
		return NULL;
	if (number(entry, "boots") == now->boots && is(entry, ASKED))
		return CANCELLED;
	if (strcmp(qmr_json_string(entry, "incident"), now->incident) || now->tested_unix_s >= number(entry, "begun_unix_s"))
		return DONE;
	return number(entry, "tries") >= QMR_REQUEST_TRIES ? FAILED : NULL;
}

const char *qmr_request_record_settle(json_t *record, const struct qmr_request_now *now, int *ret_changed)
{
	const char *due = NULL;
	json_t *entry;
	size_t i;

	*ret_changed = 0;
	json_array_foreach (json_object_get(record, "requests"), i, entry) {
		const char *result = is_over(entry) ? NULL : settle(entry, now);

		if (result)
			*ret_changed |= json_object_set_new(entry, "result", json_string(result)) == 0;
		else if (!is_over(entry) && is_due(entry, now))
			due = qmr_json_string(entry, "id");
	}
	return due;
}

int qmr_request_record_allows(const json_t *record, const struct qmr_request *request, int per_day, int64_t now_unix_s,
			      struct qmr_error *ret_why)
{
	const json_t *entries = json_object_get(record, "requests"), *entry = find(record, request->id);
	int today = 0;
	size_t i;

	if (entry && is_over(entry))
		return qmr_error_set(ret_why, 0, "request '%s' is over: %s", request->id, qmr_json_string(entry, "result"));
	json_array_foreach (entries, i, entry)
		today += strcmp(qmr_json_string(entry, "id"), request->id) && number(entry, "begun_unix_s") > now_unix_s - DAY_S;
	if (today >= per_day)
		return qmr_error_set(ret_why, 0, "request '%s' has to wait: %d in the last 24 hours, [requests] per_day is %d",
				     request->id, today, per_day);
	return 1;
}

static int out_of_memory(const char *id, struct qmr_error *err)
{
	return qmr_error_set(err, -ENOMEM, "request '%s': out of memory", id);
}

int qmr_request_record_begin(json_t *record, const struct qmr_request *request, const struct qmr_request_now *now, int64_t now_unix_s,
			     struct qmr_error *err)
{
	json_t *entries = json_object_get(record, "requests");
	const json_t *old = find(record, request->id);
	json_t *entry = json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:I, s:n}", "id", request->id, "mode",
				  qmr_request_mode_name(request->mode), "result", BEGUN, "tries", old ? number(old, "tries") + 1 : 1,
				  "boots", (json_int_t)now->boots, "incident", now->incident, "begun_unix_s", (json_int_t)now_unix_s, "why");
	const json_t *other;
	size_t i;

	if (!entry)
		return out_of_memory(request->id, err);
	json_array_foreach (entries, i, other)
		if (other == old) {
			json_array_remove(entries, i);
			break;
		}
	if (json_array_insert_new(entries, 0, entry) < 0)
		return out_of_memory(request->id, err);
	while (json_array_size(entries) > REQUESTS_MAX)
		json_array_remove(entries, REQUESTS_MAX);
	return 0;
}

static int set(json_t *record, const char *id, const char *key, const char *value, struct qmr_error *err)
{
	json_t *entry = find(record, id);

	return entry && json_object_set_new(entry, key, json_string(value)) == 0 ? 0 : out_of_memory(id, err);
}

int qmr_request_record_ask(json_t *record, const char *id, struct qmr_error *err)
{
	return set(record, id, "result", ASKED, err);
}

int qmr_request_record_fail(json_t *record, const char *id, const char *why, struct qmr_error *err)
{
	const json_t *entry = find(record, id);

	if (entry && number(entry, "tries") >= QMR_REQUEST_TRIES) {
		int r = set(record, id, "result", FAILED, err);

		if (r < 0)
			return r;
	}
	return set(record, id, "why", why, err);
}
