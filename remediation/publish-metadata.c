/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "publish-metadata.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "canonical-json.h"
#include "cleanup.h"
#include "hash.h"
#include "json.h"

#define SPEC_VERSION "1.0.31"

static const char *const role_names[] = {"root", "targets", "snapshot", "timestamp"};

const char *qmr_role_name(enum qmr_role role)
{
	return role_names[role];
}

int qmr_role_from_name(const char *name)
{
	for (int i = 0; i < QMR_ROLE_COUNT; i++)
		if (!strcmp(role_names[i], name))
			return i;
	return -1;
}

static int no_memory(struct qmr_error *err)
{
	return qmr_error_set(err, -ENOMEM, "making metadata: out of memory");
}

/* Takes the reference to signed_part. */
static json_t *wrap(json_t *signed_part)
{
	return json_pack("{s:[], s:o}", "signatures", "signed", signed_part);
}

static int stamp(json_t *signed_part, int64_t version, int64_t expires_unix_s)
{
	char expires[32];

	qmr_time_format(expires_unix_s, expires);
	return json_object_set_new(signed_part, "version", json_integer(version)) < 0 ||
	       json_object_set_new(signed_part, "expires", json_string(expires)) < 0;
}

json_t *qmr_metadata_new(enum qmr_role role, int64_t version, int64_t expires_unix_s)
{
	json_t *part =
		json_pack("{s:s, s:s}", "_type", role_names[role], "spec_version", SPEC_VERSION);

	if (!part || stamp(part, version, expires_unix_s)) {
		json_decref(part);
		return NULL;
	}
	return wrap(part);
}

json_t *qmr_metadata_next(const json_t *document, int64_t version, int64_t expires_unix_s)
{
	json_t *part = json_deep_copy(json_object_get(document, "signed"));

	if (!part || stamp(part, version, expires_unix_s)) {
		json_decref(part);
		return NULL;
	}
	return wrap(part);
}

int64_t qmr_metadata_version(const json_t *document)
{
	return json_integer_value(json_object_get(json_object_get(document, "signed"), "version"));
}

int64_t qmr_metadata_expires(const json_t *document)
{
	const char *text = qmr_json_string(json_object_get(document, "signed"), "expires");
	int64_t unix_s = 0; /* what cannot be read has expired */

	if (!text || qmr_time_parse(text, &unix_s) < 0)
		return 0;
	return unix_s;
}

int qmr_metadata_text(const json_t *document, char **ret_text, size_t *ret_size,
		      struct qmr_error *err)
{
	char *text = json_dumps(document, JSON_INDENT(1) | JSON_SORT_KEYS);
	size_t size;

	if (!text)
		return no_memory(err);
	size = strlen(text);
	if (size + 1 > QMR_METADATA_BYTES_MAX) {
		free(text);
		return qmr_error_set(err, -EFBIG,
				     "metadata would be larger than 1 MiB: fewer plans and requests are needed");
	}
	text[size] = '\n'; /* takes the place of the NUL */
	*ret_text = text;
	*ret_size = size + 1;
	return 0;
}

int qmr_metadata_reference(int64_t version, const void *data, size_t size, json_t **ret_reference,
			   struct qmr_error *err)
{
	char hash[QMR_SHA256_HEX];
	json_t *reference;
	int r = qmr_sha256(data, size, hash, err);

	if (r < 0)
		return r;
	reference =
		json_pack("{s:I, s:{s:s}}", "length", (json_int_t)size, "hashes", "sha256", hash);
	if (!reference ||
	    (version && json_object_set_new(reference, "version", json_integer(version)) < 0)) {
		json_decref(reference);
		return no_memory(err);
	}
	*ret_reference = reference;
	return 0;
}

int qmr_metadata_check_reference(const json_t *reference, const void *data, size_t size,
				 const char *name, struct qmr_error *err)
{
	const char *want = qmr_json_string(json_object_get(reference, "hashes"), "sha256");
	json_int_t length = json_integer_value(json_object_get(reference, "length"));
	char is[QMR_SHA256_HEX];
	int r;

	if (length < 0 || (uint64_t)length != size)
		return qmr_error_set(err, -EBADMSG, "'%s': length: %zu bytes, %lld are signed",
				     name, size, (long long)length);
	r = qmr_sha256(data, size, is, err);
	if (r < 0)
		return r;
	if (!want || strcmp(want, is))
		return qmr_error_set(err, -EBADMSG,
				     "'%s': hashes.sha256: not that of the file's content", name);
	return 0;
}

static size_t find_signature(const json_t *signatures, const char *keyid)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (signatures, i, entry) {
		const char *is = qmr_json_string(entry, "keyid");

		if (is && !strcmp(is, keyid))
			return i;
	}
	return json_array_size(signatures);
}

int qmr_metadata_signed_bytes(const json_t *document, char **ret_data, size_t *ret_size, struct qmr_error *err)
{
	return qmr_canonical_json(json_object_get(document, "signed"), ret_data, ret_size, err);
}

static int put_signature(json_t *document, const struct qmr_key *key,
			 const char *signature_hex, struct qmr_error *err)
{
	json_t *signatures = json_object_get(document, "signatures"), *entry;
	size_t old = find_signature(signatures, key->id);
	int r;

	entry = json_pack("{s:s, s:s}", "keyid", key->id, "sig", signature_hex);
	if (old < json_array_size(signatures))
		r = json_array_set_new(signatures, old, entry);
	else
		r = json_array_append_new(signatures, entry);
	return r < 0 ? no_memory(err) : 0;
}

int qmr_metadata_sign(json_t *document, const struct qmr_key *key, struct qmr_error *err)
{
	char signature[QMR_KEY_SIGNATURE_HEX];
	cleanup_free char *text = NULL;
	size_t size;
	int r = qmr_metadata_signed_bytes(document, &text, &size, err);

	if (r == 0)
		r = qmr_key_sign(key, text, size, signature, err);
	return r < 0 ? r : put_signature(document, key, signature, err);
}

int qmr_metadata_add_signature(json_t *document, const struct qmr_key *key,
			       const char *signature_hex, struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	size_t size;
	int r = qmr_metadata_signed_bytes(document, &text, &size, err);

	if (r == 0 && !qmr_key_verify(key->public, signature_hex, text, size))
		r = qmr_error_set(err, -EBADMSG, "the signature is not that of key %.16s over this", key->id);
	return r < 0 ? r : put_signature(document, key, signature_hex, err);
}

static const json_t *root_role(const json_t *root, enum qmr_role role)
{
	return json_object_get(json_object_get(json_object_get(root, "signed"), "roles"),
			       role_names[role]);
}

int qmr_root_threshold(const json_t *root, enum qmr_role role)
{
	return (int)json_integer_value(json_object_get(root_role(root, role), "threshold"));
}

const json_t *qmr_root_keyids(const json_t *root, enum qmr_role role)
{
	return json_object_get(root_role(root, role), "keyids");
}

static size_t find_keyid(const json_t *keyids, const char *keyid)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (keyids, i, entry)
		if (json_is_string(entry) && !strcmp(json_string_value(entry), keyid))
			return i;
	return json_array_size(keyids);
}

int qmr_root_has_key(const json_t *root, enum qmr_role role, const char *keyid)
{
	const json_t *keyids = qmr_root_keyids(root, role);

	return find_keyid(keyids, keyid) < json_array_size(keyids);
}

/* One signature of one key: 1 good, 0 missing or bad. */
static int has_signed(const json_t *root, const char *keyid, const json_t *signatures,
		      const char *text, size_t size)
{
	const json_t *key =
		json_object_get(json_object_get(json_object_get(root, "signed"), "keys"), keyid);
	const char *signature_hex = qmr_json_string(
		json_array_get(signatures, find_signature(signatures, keyid)), "sig");

	return key && signature_hex && qmr_key_verify(key, signature_hex, text, size);
}

int qmr_metadata_count(const json_t *root, enum qmr_role role, const json_t *document,
		       struct qmr_error *err)
{
	const json_t *keyids = qmr_root_keyids(root, role), *keyid;
	cleanup_free char *text = NULL;
	size_t size, i;
	int count = 0;
	int r = qmr_canonical_json(json_object_get(document, "signed"), &text, &size, err);

	if (r < 0)
		return r;
	/*
	 * Over the role's keys, which the form check knows to be distinct, not over the signatures,
	 * which anybody can repeat.
	 */
	json_array_foreach (keyids, i, keyid)
		count += has_signed(root, json_string_value(keyid),
				    json_object_get(document, "signatures"), text, size);
	return count;
}

int qmr_metadata_verify(const json_t *root, enum qmr_role role, const json_t *document,
			const char *name, struct qmr_error *err)
{
	int threshold = qmr_root_threshold(root, role);
	int count = qmr_metadata_count(root, role, document, err);

	if (count < 0)
		return count;
	if (threshold < 1 || count < threshold)
		return qmr_error_set(
			err, -EBADMSG,
			"'%s': signatures: %d of the %d that are needed, by root version %lld",
			name, count, threshold, (long long)qmr_metadata_version(root));
	return 0;
}

int qmr_root_add_key(json_t *root, enum qmr_role role, const struct qmr_key *key,
		     struct qmr_error *err)
{
	json_t *part = json_object_get(root, "signed");
	json_t *keys = json_object_get(part, "keys"), *roles = json_object_get(part, "roles"),
	       *entry;

	if (!keys)
		json_object_set_new(part, "keys", keys = json_object());
	if (!roles)
		json_object_set_new(part, "roles", roles = json_object());
	entry = json_object_get(roles, role_names[role]);
	if (!entry) {
		entry = json_pack("{s:[], s:i}", "keyids", "threshold", 1);
		json_object_set_new(roles, role_names[role], entry);
	}
	if (json_array_size(json_object_get(entry, "keyids")) >= QMR_METADATA_KEYS_MAX)
		return qmr_error_set(err, -E2BIG, "role %s has %d keys already", role_names[role],
				     QMR_METADATA_KEYS_MAX);
	if (json_object_set(keys, key->id, key->public) < 0 ||
	    json_array_append_new(json_object_get(entry, "keyids"), json_string(key->id)) < 0)
		return no_memory(err);
	return 0;
}

int qmr_root_set_threshold(json_t *root, enum qmr_role role, int threshold, struct qmr_error *err)
{
	return json_object_set_new((json_t *)root_role(root, role), "threshold",
				   json_integer(threshold)) < 0
		       ? no_memory(err)
		       : 0;
}

int qmr_root_remove_key(json_t *root, enum qmr_role role, const char *keyid, struct qmr_error *err)
{
	json_t *keyids = (json_t *)qmr_root_keyids(root, role);
	size_t at = find_keyid(keyids, keyid);

	if (at >= json_array_size(keyids))
		return qmr_error_set(err, -ENOENT, "role %s has no key %s", role_names[role],
				     keyid);
	json_array_remove(keyids, at);
	for (int other = 0; other < QMR_ROLE_COUNT; other++)
		if (qmr_root_has_key(root, other, keyid))
			return 0;
	json_object_del(json_object_get(json_object_get(root, "signed"), "keys"), keyid);
	return 0;
}
