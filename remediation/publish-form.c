/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The form of metadata: what must be there before anything else looks at it. */
#include <errno.h>
#include <string.h>

#include "hash.h"
#include "json.h"
#include "publish-metadata.h"
#include "tuf-key.h"

#define SIGNATURES_MAX 64
#define TARGET_NAME_BYTES_MAX 180 /* "<sha256>.<name>.qmr-new" must be a file name */

static int refuse(struct qmr_error *err, const char *name, const char *field, const char *why)
{
	return qmr_error_set(err, -EBADMSG, "'%s': %s: %s", name, field, why);
}

static int is_version(const json_t *version)
{
	return json_is_integer(version) && json_integer_value(version) >= 1 &&
	       json_integer_value(version) <= QMR_METADATA_VERSION_MAX;
}

static int is_reference(const json_t *reference)
{
	const char *hash = qmr_json_string(json_object_get(reference, "hashes"), "sha256");
	const json_t *length = json_object_get(reference, "length");

	return json_is_integer(length) && json_integer_value(length) >= 0 && hash &&
	       strlen(hash) == QMR_SHA256_HEX - 1 &&
	       strspn(hash, "0123456789abcdef") == QMR_SHA256_HEX - 1;
}

static int check_signatures(const json_t *signatures, const char *name, struct qmr_error *err)
{
	const json_t *entry;
	size_t i;

	if (!json_is_array(signatures) || json_array_size(signatures) > SIGNATURES_MAX)
		return refuse(err, name, "signatures", "not a list of at most 64");
	json_array_foreach (signatures, i, entry)
		if (!qmr_json_string(entry, "keyid") || !qmr_json_string(entry, "sig"))
			return refuse(err, name, "signatures", "an entry without 'keyid' or 'sig'");
	return 0;
}

/* *ret_fingerprint tells the key from others however its JSON is written. */
static int check_key(const char *keyid, const json_t *json, const char *name, unsigned char ret_fingerprint[QMR_TUF_FINGERPRINT],
		     struct qmr_error *err)
{
	struct qmr_tuf_key *key = NULL;
	int r;

	if (qmr_tuf_key_parse(json, &key, NULL) < 0)
		return refuse(err, name, "keys", "an entry that is no key of a kind that machines take");
	memcpy(ret_fingerprint, qmr_tuf_key_fingerprint(key), QMR_TUF_FINGERPRINT);
	qmr_tuf_key_free(key);
	r = qmr_tuf_key_id_is_right(keyid, json);
	if (r < 0)
		return qmr_error_set(err, r, "'%s': reading a key: out of memory", name);
	return r ? 0 : refuse(err, name, "keys", "an id that is not the key's hash");
}

static int check_keys(json_t *keys, const char *name, struct qmr_error *err)
{
	unsigned char seen[QMR_ROLE_COUNT * QMR_METADATA_KEYS_MAX][QMR_TUF_FINGERPRINT];
	const char *keyid;
	json_t *key;
	size_t n = 0;

	if (!json_is_object(keys) || json_object_size(keys) > sizeof(seen) / sizeof(*seen))
		return refuse(err, name, "keys", "not an object of at most 64");
	json_object_foreach (keys, keyid, key) {
		int r = check_key(keyid, key, name, seen[n], err);

		if (r < 0)
			return r;
		/* One key under two ids would count twice towards a threshold. */
		for (size_t i = 0; i < n; i++)
			if (!memcmp(seen[i], seen[n], sizeof(*seen)))
				return refuse(err, name, "keys", "one key under two ids");
		n++;
	}
	return 0;
}

static int check_role(const json_t *role, const json_t *keys, const char *name, const char *field,
		      struct qmr_error *err)
{
	const json_t *keyids = json_object_get(role, "keyids"),
		     *threshold = json_object_get(role, "threshold");
	size_t n = json_array_size(keyids);

	if (n < 1 || n > QMR_METADATA_KEYS_MAX)
		return refuse(err, name, field, "not 1 to 16 keys");
	if (!json_is_integer(threshold) || json_integer_value(threshold) < 1 ||
	    (size_t)json_integer_value(threshold) > n)
		return refuse(err, name, field, "threshold: not from 1 to the number of keys");
	for (size_t i = 0; i < n; i++) {
		const char *keyid = json_string_value(json_array_get(keyids, i));

		if (!keyid || !json_object_get(keys, keyid))
			return refuse(err, name, field, "a key id that is not among the keys");
		for (size_t j = 0; j < i; j++)
			if (!strcmp(keyid, json_string_value(json_array_get(keyids, j))))
				return refuse(err, name, field, "a key id twice");
	}
	return 0;
}

static int check_root(const json_t *part, const char *name, struct qmr_error *err)
{
	json_t *keys = json_object_get(part, "keys");
	int r;

	if (!json_is_true(json_object_get(part, "consistent_snapshot")))
		return refuse(err, name, "consistent_snapshot", "not true");
	r = check_keys(keys, name, err);
	for (int i = 0; r == 0 && i < QMR_ROLE_COUNT; i++)
		r = check_role(json_object_get(json_object_get(part, "roles"), qmr_role_name(i)),
			       keys, name, qmr_role_name(i), err);
	return r;
}

/* snapshot names targets.json, timestamp names snapshot.json, and nothing else. */
static int check_meta(const json_t *part, const char *file, const char *name, struct qmr_error *err)
{
	const json_t *meta = json_object_get(part, "meta"), *entry = json_object_get(meta, file);

	if (json_object_size(meta) != 1 || !is_version(json_object_get(entry, "version")) ||
	    !is_reference(entry))
		return refuse(err, name, "meta",
			      "not exactly one file with version, length and SHA-256");
	return 0;
}

int qmr_target_name_is_valid(const char *name)
{
	size_t n = strlen(name);

	return n > strlen(".json") && n <= TARGET_NAME_BYTES_MAX && name[0] != '.' &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
		       n &&
	       !strcmp(name + n - strlen(".json"), ".json");
}

static int is_target(const char *path)
{
	static const char *const folders[] = {QMR_PLAN_PREFIX, QMR_REQUEST_PREFIX};

	for (size_t i = 0; i < 2; i++)
		if (!strncmp(path, folders[i], strlen(folders[i])) && qmr_target_name_is_valid(path + strlen(folders[i])))
			return 1;
	return 0;
}

static int check_targets(const json_t *part, const char *name, struct qmr_error *err)
{
	json_t *targets = json_object_get(part, "targets"), *entry;
	const char *path;

	if (!json_is_object(targets))
		return refuse(err, name, "targets", "not an object");
	if (json_object_get(part, "delegations"))
		return refuse(err, name, "delegations",
			      "qmr-publish makes none and cannot keep those of others");
	json_object_foreach (targets, path, entry) {
		if (!is_target(path))
			return refuse(err, name, "targets", "a name that is not plans/NAME.json or requests/NAME.json");
		if (!is_reference(entry))
			return refuse(err, name, "targets", "an entry without length or SHA-256");
	}
	return 0;
}

int qmr_metadata_check_form(enum qmr_role role, const json_t *document, const char *name,
			    struct qmr_error *err)
{
	const json_t *part = json_object_get(document, "signed");
	const char *type = qmr_json_string(part, "_type"),
		   *spec = qmr_json_string(part, "spec_version");
	const char *expires = qmr_json_string(part, "expires");
	int64_t unix_s;
	int r = check_signatures(json_object_get(document, "signatures"), name, err);

	if (r < 0)
		return r;
	if (!type || strcmp(type, qmr_role_name(role)))
		return refuse(err, name, "_type", "not that of this role");
	if (!spec || strncmp(spec, "1.", 2))
		return refuse(err, name, "spec_version", "not 1.x");
	if (!is_version(json_object_get(part, "version")))
		return refuse(err, name, "version", "not a whole number from 1 on");
	if (!expires || qmr_time_parse(expires, &unix_s) < 0)
		return refuse(err, name, "expires", "not of the form YYYY-MM-DDTHH:MM:SSZ");
	switch (role) {
	case QMR_ROLE_ROOT:
		return check_root(part, name, err);
	case QMR_ROLE_TARGETS:
		return check_targets(part, name, err);
	case QMR_ROLE_SNAPSHOT:
		return check_meta(part, "targets.json", name, err);
	default:
		return check_meta(part, "snapshot.json", name, err);
	}
}
