/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tuf-metadata.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "canonical-json.h"
#include "json.h"
#include "tuf-delegation.h"
#include "tuf-key.h"

/* Far above what repositories use; they bound the work that a hostile file can cause. */
#define SIGNATURES_MAX 64
#define ROOT_KEYS_MAX 256

static const struct {
	const char *name;
	size_t max_bytes;
} roles[QMR_TUF_ROLES] = {
	[QMR_TUF_ROOT] = {"root", 512000},
	[QMR_TUF_TIMESTAMP] = {"timestamp", 16384},
	[QMR_TUF_SNAPSHOT] = {"snapshot", 2000000},
	[QMR_TUF_TARGETS] = {"targets", 5000000},
};

const char *qmr_tuf_role_name(enum qmr_tuf_role role)
{
	return roles[role].name;
}

size_t qmr_tuf_role_max_bytes(enum qmr_tuf_role role)
{
	return roles[role].max_bytes;
}

__attribute__((format(printf, 3, 4))) static int
refuse(struct qmr_error *err, enum qmr_tuf_role role, const char *format, ...)
{
	char why[384];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(why, sizeof(why), format, ap);
	va_end(ap);
	return qmr_error_set(err, -EBADMSG, "%s: %s", roles[role].name, why);
}

static int is_positive(const json_t *value)
{
	return json_is_integer(value) && json_integer_value(value) >= 1;
}

static int count_digits(const char *text)
{
	return (int)strspn(text, "0123456789");
}

/* "1.N" or "1.N.N" (section 4.3, SPEC_VERSION). */
static int is_spec_version(const char *text)
{
	int minor;

	if (!text || strncmp(text, "1.", 2))
		return 0;
	text += 2;
	minor = count_digits(text);
	if (minor == 0)
		return 0;
	text += minor;
	return !*text ||
	       (*text == '.' && count_digits(text + 1) > 0 && !text[1 + count_digits(text + 1)]);
}

/* "YYYY-MM-DDTHH:MM:SSZ", with or without a fraction of a second before the Z. */
static int parse_expires(const char *text, int64_t *ret_unix_s)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:dd";
	struct tm tm = {0}, check;
	time_t t;

	for (size_t i = 0; i < sizeof(shape) - 1; i++)
		if (shape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i])
			return -EINVAL;
	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		   &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
		return -EINVAL;
	text += sizeof(shape) - 1;
	if (*text == '.') {
		int digits = count_digits(text + 1);

		if (digits < 1 || digits > 9)
			return -EINVAL;
		text += 1 + digits;
	}
	if (strcmp(text, "Z"))
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	check = tm;
	t = timegm(&check);
	/* timegm() turns the 31st of February into a day of March. */
	if (check.tm_mon != tm.tm_mon || check.tm_mday != tm.tm_mday ||
	    check.tm_hour != tm.tm_hour || check.tm_min != tm.tm_min || check.tm_sec != tm.tm_sec)
		return -EINVAL;
	*ret_unix_s = t;
	return 0;
}

static int check_root(const struct qmr_tuf_metadata *m, int any_key_ids, struct qmr_error *err)
{
	const json_t *all = json_object_get(m->content, "roles");
	const json_t *consistent = json_object_get(m->content, "consistent_snapshot");
	int r = qmr_tuf_keys_check("root", json_object_get(m->content, "keys"), ROOT_KEYS_MAX,
				   any_key_ids, err);

	if (r == 0 && consistent && !json_is_boolean(consistent))
		r = refuse(err, QMR_TUF_ROOT, "'consistent_snapshot' is not true or false");
	for (int i = 0; r == 0 && i < QMR_TUF_ROLES; i++)
		r = qmr_tuf_role_check("root", roles[i].name, json_object_get(all, roles[i].name),
				       err);
	return r;
}

/* Whatever else an entry holds is not ours to judge (section 4, undefined attributes). */
static int check_file(enum qmr_tuf_role role, const char *name, const json_t *entry, int is_target,
		      struct qmr_error *err)
{
	const json_t *length = json_object_get(entry, "length"),
		     *hashes = json_object_get(entry, "hashes");
	const json_t *hash;
	const char *algorithm;

	if (!json_is_object(entry) ||
	    (!is_target && !is_positive(json_object_get(entry, "version"))))
		return refuse(err, role, "the entry of '%.128s' has no version of 1 or more", name);
	if ((length || is_target) && (!json_is_integer(length) || json_integer_value(length) < 0))
		return refuse(err, role, "the entry of '%.128s' has no valid length", name);
	if ((hashes || is_target) && json_object_size(hashes) == 0)
		return refuse(err, role, "the entry of '%.128s' has no hashes", name);
	json_object_foreach ((json_t *)hashes, algorithm, hash)
		if (!json_is_string(hash))
			return refuse(err, role,
				      "the entry of '%.128s': hash '%.32s' is not a string", name,
				      algorithm);
	return 0;
}

static int check_files(const struct qmr_tuf_metadata *m, const char *field, const char *needed,
		       struct qmr_error *err)
{
	const json_t *files = json_object_get(m->content, field), *entry;
	const char *name;
	int r = 0;

	if (!json_is_object(files))
		return refuse(err, m->role, "'%s' is not an object", field);
	if (needed && !json_object_get(files, needed))
		return refuse(err, m->role, "'%s' does not list '%s'", field, needed);
	json_object_foreach ((json_t *)files, name, entry)
		if (r == 0)
			r = check_file(m->role, name, entry, m->role == QMR_TUF_TARGETS, err);
	return r;
}

static int check_signatures(const struct qmr_tuf_metadata *m, struct qmr_error *err)
{
	const json_t *signatures = json_object_get(m->json, "signatures"), *a, *b;
	size_t i, j;

	if (!json_is_array(signatures) || json_array_size(signatures) > SIGNATURES_MAX)
		return refuse(err, m->role, "'signatures' is not a list of at most %d",
			      SIGNATURES_MAX);
	json_array_foreach (signatures, i, a) {
		const json_t *keyid = json_object_get(a, "keyid");

		if (!json_is_string(keyid) || !qmr_json_string(a, "sig"))
			return refuse(err, m->role, "a signature has no 'keyid' or no 'sig'");
		json_array_foreach (signatures, j, b)
			if (j < i && json_equal(keyid, json_object_get(b, "keyid")))
				return refuse(err, m->role, "it is signed twice by key '%.64s'",
					      json_string_value(keyid));
	}
	return 0;
}

static int check_content(struct qmr_tuf_metadata *m, int any_key_ids, struct qmr_error *err)
{
	const char *type = qmr_json_string(m->content, "_type"),
		   *expires = qmr_json_string(m->content, "expires");
	const json_t *version = json_object_get(m->content, "version");
	int r;

	if (!type || strcmp(type, roles[m->role].name))
		return refuse(err, m->role, "its type is '%.32s'", type ? type : "missing");
	if (!is_spec_version(qmr_json_string(m->content, "spec_version")))
		return refuse(err, m->role, "its 'spec_version' is not 1.N or 1.N.N");
	/* The highest number would leave no room for the next root's. */
	if (!is_positive(version) || json_integer_value(version) == INT64_MAX)
		return refuse(err, m->role, "its version is not 1 or more, or has no next");
	m->version = json_integer_value(version);
	if (!expires || parse_expires(expires, &m->expires_unix_s) < 0)
		return refuse(err, m->role, "'expires' is not a time in UTC");
	switch (m->role) {
	case QMR_TUF_ROOT:
		return check_root(m, any_key_ids, err);
	case QMR_TUF_TIMESTAMP:
		return check_files(m, "meta", "snapshot.json", err);
	case QMR_TUF_SNAPSHOT:
		return check_files(m, "meta", "targets.json", err);
	case QMR_TUF_TARGETS:
		r = check_files(m, "targets", NULL, err);
		return r < 0 ? r
			     : qmr_tuf_delegations_check("targets",
							 json_object_get(m->content, "delegations"),
							 any_key_ids, err);
	}
	return -EINVAL;
}

int qmr_tuf_metadata_parse(enum qmr_tuf_role role, const char *data, size_t size,
			   struct qmr_tuf_metadata *ret_metadata, struct qmr_error *err)
{
	return qmr_tuf_metadata_parse_with(role, 0, data, size, ret_metadata, err);
}

int qmr_tuf_metadata_parse_with(enum qmr_tuf_role role, int any_key_ids, const char *data,
				size_t size, struct qmr_tuf_metadata *ret_metadata,
				struct qmr_error *err)
{
	struct qmr_tuf_metadata m = {.role = role};
	struct qmr_error why = {0};
	int r;

	if (size > roles[role].max_bytes)
		return refuse(err, role, "it is larger than %zu bytes", roles[role].max_bytes);
	if (qmr_json_parse(roles[role].name, data, size, &m.json, &why) < 0)
		return refuse(err, role, "%s", why.text);
	m.content = json_object_get(m.json, "signed");
	r = json_is_object(m.content) ? check_content(&m, any_key_ids, err)
				      : refuse(err, role, "'signed' is not an object");
	if (r == 0)
		r = check_signatures(&m, err);
	if (r == 0) {
		r = qmr_canonical_json(m.content, &m.canonical, &m.canonical_size, &why);
		if (r == -EINVAL)
			r = refuse(err, role, "%s", why.text);
		else if (r < 0)
			r = qmr_error_set(err, r, "%s", why.text);
	}
	if (r < 0)
		qmr_tuf_metadata_done(&m);
	else
		*ret_metadata = m;
	return r;
}

void qmr_tuf_metadata_done(struct qmr_tuf_metadata *metadata)
{
	json_decref(metadata->json);
	free(metadata->canonical);
	memset(metadata, 0, sizeof(*metadata));
}

/* Returns 1 and the key's fingerprint if the signature is one by a key of the role. */
static int check_signature(const struct qmr_tuf_metadata *m, const json_t *signature,
			   const json_t *keyids, const json_t *keys,
			   unsigned char ret_fingerprint[QMR_TUF_FINGERPRINT])
{
	const char *keyid = qmr_json_string(signature, "keyid");
	const json_t *json = json_object_get(keys, keyid);
	struct qmr_tuf_key *key = NULL;
	int good;

	/*
	 * A key that cannot be used here signs nothing; whether the others are enough is what
	 * counts.
	 */
	if (!qmr_json_list_has(keyids, keyid) || !json || qmr_tuf_key_parse(json, &key, NULL) < 0)
		return 0;
	good = qmr_tuf_key_verify(key, qmr_json_string(signature, "sig"), m->canonical,
				  m->canonical_size);
	if (good)
		memcpy(ret_fingerprint, qmr_tuf_key_fingerprint(key), QMR_TUF_FINGERPRINT);
	qmr_tuf_key_free(key);
	return good;
}

int qmr_tuf_metadata_check_signed_by(const struct qmr_tuf_metadata *metadata, const json_t *role,
				     const json_t *keys, const char *delegator,
				     struct qmr_error *err)
{
	const json_t *signatures = json_object_get(metadata->json, "signatures"), *signature,
		     *keyids = json_object_get(role, "keyids");
	int64_t threshold = json_integer_value(json_object_get(role, "threshold"));
	unsigned char seen[SIGNATURES_MAX][QMR_TUF_FINGERPRINT];
	int n_seen = 0;
	size_t i;

	json_array_foreach (signatures, i, signature) {
		int known = 0;

		if (!check_signature(metadata, signature, keyids, keys, seen[n_seen]))
			continue;
		for (int j = 0; j < n_seen; j++)
			known |= !memcmp(seen[j], seen[n_seen], QMR_TUF_FINGERPRINT);
		if (!known)
			n_seen++;
	}
	if (n_seen >= 1 && n_seen >= threshold)
		return 0;
	return refuse(err, metadata->role,
		      "version %lld has valid signatures of %d different keys; %s asks for %lld",
		      (long long)metadata->version, n_seen, delegator, (long long)threshold);
}

int qmr_tuf_metadata_check_signed(const struct qmr_tuf_metadata *metadata,
				  const struct qmr_tuf_metadata *root, struct qmr_error *err)
{
	const json_t *role = json_object_get(json_object_get(root->content, "roles"),
					     roles[metadata->role].name);
	char delegator[64];

	snprintf(delegator, sizeof(delegator), "root version %lld", (long long)root->version);
	return qmr_tuf_metadata_check_signed_by(
		metadata, role, json_object_get(root->content, "keys"), delegator, err);
}

static int get_file(const json_t *files, const char *name, struct qmr_tuf_file *ret_file)
{
	const json_t *entry = json_object_get(files, name);
	const json_t *length = json_object_get(entry, "length");

	if (!entry)
		return 0;
	ret_file->version = json_integer_value(json_object_get(entry, "version"));
	ret_file->length = length ? json_integer_value(length) : -1;
	ret_file->hashes = json_object_get(entry, "hashes");
	return 1;
}

int qmr_tuf_metadata_get_file(const struct qmr_tuf_metadata *metadata, const char *name,
			      struct qmr_tuf_file *ret_file)
{
	return get_file(json_object_get(metadata->content, "meta"), name, ret_file);
}

int qmr_tuf_metadata_get_target(const struct qmr_tuf_metadata *targets, const char *name,
				struct qmr_tuf_file *ret_file)
{
	return get_file(json_object_get(targets->content, "targets"), name, ret_file);
}

int qmr_tuf_file_check(const char *what, const struct qmr_tuf_file *file, const void *data,
		       size_t size, struct qmr_error *err)
{
	if (file->length >= 0 && (uint64_t)file->length != size)
		return qmr_error_set(err, -EBADMSG,
				     "%s: it has %zu bytes, its signed length is %lld", what, size,
				     (long long)file->length);
	return file->hashes ? qmr_tuf_hashes_check(what, file->hashes, data, size, err) : 0;
}

int qmr_tuf_root_is_consistent(const struct qmr_tuf_metadata *root)
{
	return json_is_true(json_object_get(root->content, "consistent_snapshot"));
}
