/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "canonical-json.h"
#include "hash.h"
#include "test-tuf-repository.h"

static json_t *public_value(EVP_PKEY *pkey, const char *type)
{
	char hex[65] = "", *pem;
	unsigned char raw[32];
	size_t size = sizeof(raw);
	json_t *value;
	BIO *bio;

	if (!strcmp(type, "ed25519")) {
		assert_int_equal(EVP_PKEY_get_raw_public_key(pkey, raw, &size), 1);
		for (size_t i = 0; i < size; i++)
			sprintf(hex + 2 * i, "%02x", raw[i]);
		return json_string(hex);
	}
	bio = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_PUBKEY(bio, pkey), 1);
	size = (size_t)BIO_get_mem_data(bio, &pem);
	value = json_stringn(pem, size);
	BIO_free(bio);
	return value;
}

void repository_key_set_id(struct repository_key *key)
{
	char *text;
	size_t size;

	assert_int_equal(qmr_canonical_json(key->json, &text, &size, NULL), 0);
	assert_int_equal(qmr_sha256(text, size, key->id, NULL), 0);
	free(text);
}

struct repository_key repository_key_make(const char *type)
{
	struct repository_key key = {0};
	const char *scheme = !strcmp(type, "ed25519") ? type
			     : !strcmp(type, "rsa")   ? "rsassa-pss-sha256"
						      : "ecdsa-sha2-nistp256";

	if (!strcmp(type, "ed25519"))
		key.pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else if (!strcmp(type, "rsa"))
		key.pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	else
		key.pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	assert_non_null(key.pkey);
	key.json = json_pack("{s:s, s:s, s:{s:o}}", "keytype", type, "scheme", scheme, "keyval",
			     "public", public_value(key.pkey, type));
	assert_non_null(key.json);
	repository_key_set_id(&key);
	return key;
}

void repository_key_done(struct repository_key *key)
{
	EVP_PKEY_free(key->pkey);
	json_decref(key->json);
	memset(key, 0, sizeof(*key));
}

static json_t *make_signature(const struct repository_key *key, const char *data, size_t size)
{
	int is_ed25519 = EVP_PKEY_get_base_id(key->pkey) == EVP_PKEY_ED25519;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pkey_ctx = NULL;
	unsigned char bytes[1024];
	char hex[2049] = "";
	size_t n = sizeof(bytes);

	assert_int_equal(EVP_DigestSignInit(ctx, &pkey_ctx, is_ed25519 ? NULL : EVP_sha256(), NULL,
					    key->pkey),
			 1);
	if (EVP_PKEY_get_base_id(key->pkey) == EVP_PKEY_RSA) {
		assert_true(EVP_PKEY_CTX_set_rsa_padding(pkey_ctx, RSA_PKCS1_PSS_PADDING) > 0);
		assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(pkey_ctx, RSA_PSS_SALTLEN_DIGEST) > 0);
	}
	assert_int_equal(EVP_DigestSign(ctx, bytes, &n, (const unsigned char *)data, size), 1);
	EVP_MD_CTX_free(ctx);
	for (size_t i = 0; i < n; i++)
		sprintf(hex + 2 * i, "%02x", bytes[i]);
	return json_pack("{s:s, s:s}", "keyid", key->id, "sig", hex);
}

char *repository_sign(struct repository *r, enum qmr_tuf_role role, json_t *content)
{
	json_t *signatures = json_array(), *file;
	char *data, *text;
	size_t size;

	if (r->edit)
		r->edit(role, content);
	if (qmr_canonical_json(content, &data, &size, NULL) < 0) {
		data = strdup("what cannot be signed"); /* a test of that */
		size = strlen(data);
	}
	for (int i = 0; i < r->n_signers[role]; i++)
		json_array_append_new(signatures, make_signature(&r->keys[role][i], data, size));
	if (role == QMR_TUF_ROOT && *r->old_root.id)
		json_array_append_new(signatures, make_signature(&r->old_root, data, size));
	free(data);
	file = json_pack("{s:o, s:O}", "signatures", signatures, "signed", content);
	if (r->edit_file)
		r->edit_file(role, file);
	text = json_dumps(file, JSON_INDENT(1));
	assert_non_null(text);
	json_decref(file);
	return text;
}

void repository_init(struct repository *r)
{
	memset(r, 0, sizeof(*r));
	for (int role = 0; role < QMR_TUF_ROLES; role++) {
		r->keys[role][0] = repository_key_make("ed25519");
		r->n_keys[role] = r->n_signers[role] = r->threshold[role] = r->version[role] = 1;
		r->expires[role] = "2030-01-01T00:00:00Z";
	}
	r->is_consistent = r->has_hashes = 1;
	r->targets = json_pack("{s:s}", "plans/1.json", "{}");
}

void repository_done(struct repository *r)
{
	for (int role = 0; role < QMR_TUF_ROLES; role++)
		for (int i = 0; i < REPOSITORY_KEYS_MAX; i++)
			repository_key_done(&r->keys[role][i]);
	repository_key_done(&r->old_root);
	json_decref(r->targets);
	qmr_fetch_files_done(&r->files);
}

void repository_rotate(struct repository *r, enum qmr_tuf_role role)
{
	if (role == QMR_TUF_ROOT) {
		repository_key_done(&r->old_root);
		r->old_root = r->keys[role][0];
	} else {
		repository_key_done(&r->keys[role][0]);
	}
	r->keys[role][0] = repository_key_make("ed25519");
}

void repository_put(struct repository *r, const char *path, const char *data, size_t size)
{
	for (size_t i = 0; i < r->files.n; i++)
		if (!strcmp(r->files.items[i].name, path)) {
			free(r->files.items[i].name);
			free(r->files.items[i].data);
			r->files.total_bytes -= r->files.items[i].size;
			r->files.items[i] = r->files.items[--r->files.n];
			break;
		}
	if (data)
		assert_int_equal(qmr_fetch_files_add(&r->files, path, data, size, NULL), 0);
}

const struct qmr_fetch_file *repository_get(const struct repository *r, const char *path)
{
	for (size_t i = 0; i < r->files.n; i++)
		if (!strcmp(r->files.items[i].name, path))
			return &r->files.items[i];
	return NULL;
}

static json_t *common(const struct repository *r, enum qmr_tuf_role role)
{
	return json_pack("{s:s, s:s, s:i, s:s}", "_type", qmr_tuf_role_name(role), "spec_version",
			 "1.0.31", "version", r->version[role], "expires", r->expires[role]);
}

json_t *repository_root_content(struct repository *r)
{
	json_t *content = common(r, QMR_TUF_ROOT), *keys = json_object(), *roles = json_object();

	for (int role = 0; role < QMR_TUF_ROLES; role++) {
		json_t *ids = json_array();

		for (int i = 0; i < r->n_keys[role]; i++) {
			json_array_append_new(ids, json_string(r->keys[role][i].id));
			json_object_set(keys, r->keys[role][i].id, r->keys[role][i].json);
		}
		json_object_set_new(
			roles, qmr_tuf_role_name((enum qmr_tuf_role)role),
			json_pack("{s:o, s:i}", "keyids", ids, "threshold", r->threshold[role]));
	}
	json_object_set_new(content, "consistent_snapshot", json_boolean(r->is_consistent));
	json_object_set_new(content, "keys", keys);
	json_object_set_new(content, "roles", roles);
	return content;
}

static json_t *describe(const struct repository *r, const char *data, int version)
{
	json_t *entry = json_object();
	char sha256[QMR_SHA256_HEX];

	if (version)
		json_object_set_new(entry, "version", json_integer(version));
	if (version && !r->has_hashes)
		return entry;
	assert_int_equal(qmr_sha256(data, strlen(data), sha256, NULL), 0);
	json_object_set_new(entry, "length", json_integer((json_int_t)strlen(data)));
	json_object_set_new(entry, "hashes", json_pack("{s:s}", "sha256", sha256));
	return entry;
}

/* Serves the file of a role and returns it; the caller frees. */
static char *publish_role(struct repository *r, enum qmr_tuf_role role, json_t *content)
{
	char *text = repository_sign(r, role, content);
	char path[64];

	if (role == QMR_TUF_ROOT || (role != QMR_TUF_TIMESTAMP && r->is_consistent))
		snprintf(path, sizeof(path), "metadata/%d.%s.json", r->version[role],
			 qmr_tuf_role_name(role));
	else
		snprintf(path, sizeof(path), "metadata/%s.json", qmr_tuf_role_name(role));
	repository_put(r, path, text, strlen(text));
	json_decref(content);
	return text;
}

void repository_publish_root(struct repository *r)
{
	free(publish_role(r, QMR_TUF_ROOT, repository_root_content(r)));
}

static json_t *publish_files(struct repository *r)
{
	json_t *entries = json_object(), *content;
	const char *name;

	json_object_foreach (r->targets, name, content) {
		const char *text = json_string_value(content), *base = strrchr(name, '/') + 1;
		json_t *entry = describe(r, text, 0);
		char path[512];

		if (r->is_consistent)
			snprintf(path, sizeof(path), "targets/%.*s%s.%s", (int)(base - name), name,
				 json_string_value(json_object_get(json_object_get(entry, "hashes"),
								   "sha256")),
				 base);
		else
			snprintf(path, sizeof(path), "targets/%s", name);
		repository_put(r, path, text, strlen(text));
		json_object_set_new(entries, name, entry);
	}
	return entries;
}

void repository_publish(struct repository *r)
{
	json_t *content = common(r, QMR_TUF_TARGETS);
	char *text;

	repository_publish_root(r);
	json_object_set_new(content, "targets", publish_files(r));
	text = publish_role(r, QMR_TUF_TARGETS, content);
	content = common(r, QMR_TUF_SNAPSHOT);
	json_object_set_new(
		content, "meta",
		json_pack("{s:o}", "targets.json", describe(r, text, r->version[QMR_TUF_TARGETS])));
	free(text);
	text = publish_role(r, QMR_TUF_SNAPSHOT, content);
	content = common(r, QMR_TUF_TIMESTAMP);
	json_object_set_new(content, "meta",
			    json_pack("{s:o}", "snapshot.json",
				      describe(r, text, r->version[QMR_TUF_SNAPSHOT])));
	free(text);
	free(publish_role(r, QMR_TUF_TIMESTAMP, content));
}
