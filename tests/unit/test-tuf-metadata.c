/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/pem.h>

#include "test-tuf-repository.h"
#include "tuf-key.h"
#include "tuf-metadata.h"

static struct repository repository;

static int set_up(void **unused)
{
	repository_init(&repository);
	return 0;
}

static int tear_down(void **unused)
{
	repository_done(&repository);
	return 0;
}

static int parse(enum qmr_tuf_role role, const char *text, struct qmr_tuf_metadata *ret,
		 struct qmr_error *err)
{
	return qmr_tuf_metadata_parse(role, text, strlen(text), ret, err);
}

/* Parses the repository's root as it is now. */
static struct qmr_tuf_metadata load_root(void)
{
	struct qmr_tuf_metadata root = {0};
	struct qmr_error err = {0};
	json_t *content = repository_root_content(&repository);
	char *text = repository_sign(&repository, QMR_TUF_ROOT, content);

	if (parse(QMR_TUF_ROOT, text, &root, &err) < 0)
		fail_msg("%s", err.text);
	free(text);
	json_decref(content);
	return root;
}

#define HEAD(type)                                                                                 \
	"{\"signatures\":[],\"signed\":{\"_type\":\"" type                                         \
	"\",\"spec_version\":\"1.0.0\",\"version\":1,"
#define EXPIRES "\"expires\":\"2030-01-01T00:00:00Z\","
#define TIMESTAMP(meta) HEAD("timestamp") EXPIRES "\"meta\":{" meta "}}}"
#define SNAPSHOT(meta) HEAD("snapshot") EXPIRES "\"meta\":{" meta "}}}"
#define TARGETS(targets) HEAD("targets") EXPIRES "\"targets\":{" targets "}}}"
#define HASH "\"hashes\":{\"sha256\":\"00\"}"

static void good_files_are_read(void **unused)
{
	static const struct {
		enum qmr_tuf_role role;
		const char *text;
	} cases[] = {
		{QMR_TUF_TIMESTAMP, TIMESTAMP("\"snapshot.json\":{\"version\":3}")},
		{QMR_TUF_TIMESTAMP, TIMESTAMP("\"snapshot.json\":{\"version\":3,\"length\":0," HASH
					      ",\"more\":null}")},
		{QMR_TUF_SNAPSHOT,
		 SNAPSHOT("\"targets.json\":{\"version\":1},\"other.json\":{\"version\":9}")},
		{QMR_TUF_TARGETS, TARGETS("")},
		{QMR_TUF_TARGETS, TARGETS("\"a\":{\"length\":1," HASH ",\"custom\":{}}")},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_tuf_metadata m = {0};
		struct qmr_error err = {0};

		if (parse(cases[i].role, cases[i].text, &m, &err) < 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		assert_int_equal(m.version, 1);
		assert_int_equal(m.expires_unix_s, 1893456000);
		assert_int_equal(m.role, cases[i].role);
		qmr_tuf_metadata_done(&m);
	}
}

static void bad_files_are_refused_with_a_reason(void **unused)
{
	static const struct {
		enum qmr_tuf_role role;
		const char *text, *why;
	} cases[] = {
		{QMR_TUF_TIMESTAMP, "", "JSON"},
		{QMR_TUF_TIMESTAMP, "[]", "object"},
		{QMR_TUF_TIMESTAMP, "{\"signed\":[],\"signatures\":[]}", "'signed'"},
		{QMR_TUF_TIMESTAMP, SNAPSHOT("\"targets.json\":{\"version\":1}"),
		 "type is 'snapshot'"},
		{QMR_TUF_TIMESTAMP, "{\"signatures\":[],\"signed\":{\"spec_version\":\"1.0\"}}",
		 "type is 'missing'"},
		{QMR_TUF_TIMESTAMP, HEAD("timestamp") "\"meta\":{}}}", "expires"},
		{QMR_TUF_TIMESTAMP, HEAD("timestamp") "\"version\":2,\"meta\":{}}}", "duplicate"},
		{QMR_TUF_TIMESTAMP, TIMESTAMP(""), "snapshot.json"},
		{QMR_TUF_TIMESTAMP, HEAD("timestamp") EXPIRES "\"meta\":[]}}", "'meta'"},
		{QMR_TUF_TIMESTAMP, TIMESTAMP("\"snapshot.json\":{}"), "version"},
		{QMR_TUF_TIMESTAMP, TIMESTAMP("\"snapshot.json\":7"), "version"},
		{QMR_TUF_TIMESTAMP, TIMESTAMP("\"snapshot.json\":{\"version\":0}"), "version"},
		{QMR_TUF_TIMESTAMP, TIMESTAMP("\"snapshot.json\":{\"version\":1.0}"), "version"},
		{QMR_TUF_TIMESTAMP,
		 TIMESTAMP("\"snapshot.json\":{\"version\":99999999999999999999}"), "JSON"},
		{QMR_TUF_TIMESTAMP, TIMESTAMP("\"snapshot.json\":{\"version\":1,\"length\":-1}"),
		 "length"},
		{QMR_TUF_TIMESTAMP, TIMESTAMP("\"snapshot.json\":{\"version\":1,\"length\":\"1\"}"),
		 "length"},
		{QMR_TUF_TIMESTAMP, TIMESTAMP("\"snapshot.json\":{\"version\":1,\"hashes\":{}}"),
		 "hashes"},
		{QMR_TUF_TIMESTAMP,
		 TIMESTAMP("\"snapshot.json\":{\"version\":1,\"hashes\":[\"x\"]}"), "hashes"},
		{QMR_TUF_TIMESTAMP,
		 TIMESTAMP("\"snapshot.json\":{\"version\":1,\"hashes\":{\"sha256\":1}}"),
		 "sha256"},
		{QMR_TUF_TIMESTAMP, TIMESTAMP("\"snapshot.json\":{\"version\":1,\"x\":1.5}"),
		 "integer"},
		{QMR_TUF_TIMESTAMP, TIMESTAMP("\"snapshot.json\":{\"version\":1}") "x", "JSON"},
		{QMR_TUF_TIMESTAMP,
		 TIMESTAMP("\"snapshot.json\":{\"version\":1,\"x\":\"\\u0000\"}"), "JSON"},
		{QMR_TUF_TIMESTAMP, TIMESTAMP("\"snapshot.json\":{\"version\":1,\"x\":\"\xff\"}"),
		 "JSON"},
		{QMR_TUF_SNAPSHOT, SNAPSHOT("\"other.json\":{\"version\":1}"), "targets.json"},
		{QMR_TUF_SNAPSHOT, SNAPSHOT("\"targets.json\":{\"version\":1},\"x.json\":{}"),
		 "x.json"},
		{QMR_TUF_TARGETS, TARGETS("\"a\":{\"length\":1}"), "hashes"},
		{QMR_TUF_TARGETS, TARGETS("\"a\":{" HASH "}"), "length"},
		{QMR_TUF_TARGETS, TARGETS("\"a\":[]"), "'a'"},
		{QMR_TUF_TARGETS, HEAD("targets") EXPIRES "\"x\":{}}}", "'targets'"},
		{QMR_TUF_TARGETS,
		 "{\"signatures\":{},\"signed\":{\"_type\":\"targets\",\"spec_version\":\"1.0\","
		 "\"version\":1," EXPIRES "\"targets\":{}}}",
		 "'signatures'"},
		{QMR_TUF_TARGETS,
		 "{\"signatures\":[{\"keyid\":\"a\"}],\"signed\":{\"_type\":\"targets\",\"spec_"
		 "version\":\"1.0\","
		 "\"version\":1," EXPIRES "\"targets\":{}}}",
		 "'sig'"},
		{QMR_TUF_TARGETS,
		 "{\"signatures\":[{\"keyid\":\"a\",\"sig\":\"\"},{\"keyid\":\"a\",\"sig\":\"00\"}]"
		 ",\"signed\":{\"_type\":"
		 "\"targets\",\"spec_version\":\"1.0\",\"version\":1," EXPIRES "\"targets\":{}}}",
		 "signed twice"},
		{QMR_TUF_TARGETS,
		 "{\"signatures\":[],\"signed\":{\"_type\":\"targets\",\"spec_version\":\"1.0\","
		 "\"version\":0," EXPIRES "\"targets\":{}}}",
		 "version"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_tuf_metadata m = {0};
		struct qmr_error err = {0};

		if (parse(cases[i].role, cases[i].text, &m, &err) != -EBADMSG)
			fail_msg("not refused: %s", cases[i].text);
		if (!strstr(err.text, cases[i].why) ||
		    strncmp(err.text, qmr_tuf_role_name(cases[i].role), 4))
			fail_msg("'%s' is not in '%s'", cases[i].why, err.text);
		assert_null(m.json);
	}
}

static int parse_with(const char *field, const char *value, int64_t *ret_expires)
{
	char text[512];
	struct qmr_tuf_metadata m = {0};
	int is_expires = !strcmp(field, "expires"), r;

	snprintf(text, sizeof(text),
		 "{\"signatures\":[],\"signed\":{\"_type\":\"targets\",\"version\":1,\"targets\":{}"
		 ",\"expires\":\"%s\",\"spec_version\":\"%s\"}}",
		 is_expires ? value : "2030-01-01T00:00:00Z", is_expires ? "1.0.0" : value);
	r = parse(QMR_TUF_TARGETS, text, &m, NULL);
	if (r == 0 && ret_expires)
		*ret_expires = m.expires_unix_s;
	qmr_tuf_metadata_done(&m);
	return r;
}

static void times_are_read_strictly(void **unused)
{
	static const struct {
		const char *text;
		int64_t unix_s; /* 0: refused */
	} cases[] = {
		{"2030-01-01T00:00:00Z", 1893456000},
		{"2030-01-01T00:00:00.5Z", 1893456000},
		{"2030-01-01T00:00:00.123456789Z", 1893456000},
		{"2028-02-29T23:59:59Z", 1835481599},
		{"9999-12-31T23:59:59Z", 253402300799},
		{"2030-02-29T00:00:00Z", 0},
		{"2030-01-32T00:00:00Z", 0},
		{"2030-00-01T00:00:00Z", 0},
		{"2030-13-01T00:00:00Z", 0},
		{"2030-01-01T24:00:00Z", 0},
		{"2030-01-01T00:60:00Z", 0},
		{"2030-01-01T00:00:00", 0},
		{"2030-01-01T00:00:00z", 0},
		{"2030-01-01T00:00:00+00:00", 0},
		{"2030-01-01T00:00:00.Z", 0},
		{"2030-01-01T00:00:00.1234567890Z", 0},
		{"2030-01-01 00:00:00Z", 0},
		{"2030-01-01T00:00:00Z ", 0},
		{" 2030-01-01T00:00:00Z", 0},
		{"2030-1-1T00:00:00Z", 0},
		{"+2030-01-01T00:00:0Z", 0},
		{"20", 0},
		{"", 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int64_t unix_s = 0;
		int r = parse_with("expires", cases[i].text, &unix_s);

		if (r != (cases[i].unix_s ? 0 : -EBADMSG) || unix_s != cases[i].unix_s)
			fail_msg("'%s': %d, %lld", cases[i].text, r, (long long)unix_s);
	}
}

static void the_specification_is_1(void **unused)
{
	static const char *const good[] = {"1.0", "1.0.0", "1.0.31", "1.99.1"};
	static const char *const bad[] = {"",    "1",   "1.",    "1.0.",   "1.0.0.0", "2.0.0",
					  "0.9", "1.x", "1.0.x", "10.0.0", "v1.0.0"};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_int_equal(parse_with("spec_version", good[i], NULL), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (parse_with("spec_version", bad[i], NULL) != -EBADMSG)
			fail_msg("'%s' was accepted", bad[i]);
}

static void sizes_are_bounded(void **unused)
{
	static const size_t max[] = {512000, 16384, 2000000, 5000000};

	for (int role = 0; role < QMR_TUF_ROLES; role++) {
		char *text = malloc(max[role] + 1);
		struct qmr_tuf_metadata m = {0};
		struct qmr_error err = {0};

		memset(text, ' ', max[role] + 1);
		assert_int_equal(qmr_tuf_metadata_parse((enum qmr_tuf_role)role, text,
							max[role] + 1, &m, &err),
				 -EBADMSG);
		assert_non_null(strstr(err.text, "larger"));
		assert_int_equal(
			qmr_tuf_metadata_parse((enum qmr_tuf_role)role, text, max[role], &m, &err),
			-EBADMSG);
		assert_null(strstr(err.text, "larger"));
		free(text);
	}
}

/* One case of a root that is refused: what is done to its content, and a word of the reason. */
static void edit_threshold(json_t *c)
{
	json_object_set_new(json_object_get(json_object_get(c, "roles"), "targets"), "threshold",
			    json_integer(0));
}

static void edit_missing_role(json_t *c)
{
	json_object_del(json_object_get(c, "roles"), "snapshot");
}

static void edit_keyids(json_t *c)
{
	json_object_set_new(json_object_get(json_object_get(c, "roles"), "root"), "keyids",
			    json_string("x"));
}

static void edit_keyid_number(json_t *c)
{
	json_array_append_new(
		json_object_get(json_object_get(json_object_get(c, "roles"), "root"), "keyids"),
		json_integer(1));
}

static void edit_keyid_twice(json_t *c)
{
	json_t *ids =
		json_object_get(json_object_get(json_object_get(c, "roles"), "root"), "keyids");

	json_array_append(ids, json_array_get(ids, 0));
}

static void edit_key_id(json_t *c)
{
	json_t *keys = json_object_get(c, "keys");

	json_object_set(keys, "0000", json_object_iter_value(json_object_iter(keys)));
}

static void edit_key_form(json_t *c)
{
	json_object_set_new(json_object_get(c, "keys"), "0000",
			    json_pack("{s:s}", "keytype", "ed25519"));
}

static void edit_no_keys(json_t *c)
{
	json_object_del(c, "keys");
}

static void edit_consistent(json_t *c)
{
	json_object_set_new(c, "consistent_snapshot", json_integer(1));
}

static void edit_many_keys(json_t *c)
{
	char id[16];

	for (int i = 0; i < 257; i++) {
		snprintf(id, sizeof(id), "%d", i);
		json_object_set_new(
			json_object_get(c, "keys"), id,
			json_pack("{s:s, s:s, s:{}}", "keytype", "x", "scheme", "y", "keyval"));
	}
}

static void bad_roots_are_refused(void **unused)
{
	static const struct {
		void (*edit)(json_t *content);
		const char *why;
	} cases[] = {
		{edit_threshold, "threshold"},
		{edit_missing_role, "snapshot"},
		{edit_keyids, "keyids"},
		{edit_keyid_number, "not strings"},
		{edit_keyid_twice, "listed twice"},
		{edit_key_id, "not the hash"},
		{edit_key_form, "lacks a type"},
		{edit_no_keys, "'keys'"},
		{edit_consistent, "consistent_snapshot"},
		{edit_many_keys, "256"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		json_t *content = repository_root_content(&repository);
		struct qmr_tuf_metadata m = {0};
		struct qmr_error err = {0};
		char *text;

		cases[i].edit(content);
		text = repository_sign(&repository, QMR_TUF_ROOT, content);
		assert_int_equal(parse(QMR_TUF_ROOT, text, &m, &err), -EBADMSG);
		if (!strstr(err.text, cases[i].why))
			fail_msg("'%s' is not in '%s'", cases[i].why, err.text);
		free(text);
		json_decref(content);
	}
}

static void each_kind_of_key_signs(void **unused)
{
	static const char *const types[] = {"ed25519", "ecdsa", "ecdsa-sha2-nistp256", "rsa"};

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		struct qmr_tuf_metadata root;
		struct qmr_error err = {0};
		const char *sig;
		char *text;
		json_t *signature;

		repository_key_done(&repository.keys[QMR_TUF_ROOT][0]);
		repository.keys[QMR_TUF_ROOT][0] = repository_key_make(types[i]);
		root = load_root();
		if (qmr_tuf_metadata_check_signed(&root, &root, &err) < 0)
			fail_msg("%s: %s", types[i], err.text);
		/* One bit of the signature, then one byte of what was signed. */
		signature = json_array_get(json_object_get(root.json, "signatures"), 0);
		sig = json_string_value(json_object_get(signature, "sig"));
		text = strdup(sig);
		text[strlen(text) - 1] = text[strlen(text) - 1] == '0' ? '1' : '0';
		json_object_set_new(signature, "sig", json_string(text));
		assert_int_equal(qmr_tuf_metadata_check_signed(&root, &root, &err), -EBADMSG);
		free(text);
		qmr_tuf_metadata_done(&root);
		root = load_root();
		root.canonical[10] ^= 1;
		assert_int_equal(qmr_tuf_metadata_check_signed(&root, &root, &err), -EBADMSG);
		qmr_tuf_metadata_done(&root);
	}
}

static void malformed_signatures_count_for_nothing(void **unused)
{
	static const char *const bad[] = {"", "0", "zz", "00", "0x00"};
	char *longest = malloc(4097);

	memset(longest, '0', 4096);
	longest[4096] = '\0';
	for (size_t i = 0; i <= sizeof(bad) / sizeof(*bad); i++) {
		struct qmr_tuf_metadata root = load_root();

		json_object_set_new(json_array_get(json_object_get(root.json, "signatures"), 0),
				    "sig",
				    json_string(i < sizeof(bad) / sizeof(*bad) ? bad[i] : longest));
		assert_int_equal(qmr_tuf_metadata_check_signed(&root, &root, NULL), -EBADMSG);
		qmr_tuf_metadata_done(&root);
	}
	free(longest);
}

static char *to_pem(EVP_PKEY *pkey)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *pem;
	long size;

	assert_int_equal(PEM_write_bio_PUBKEY(bio, pkey), 1);
	size = BIO_get_mem_data(bio, &data);
	pem = strndup(data, (size_t)size);
	BIO_free(bio);
	EVP_PKEY_free(pkey);
	return pem;
}

static void weak_and_malformed_keys_are_refused(void **unused)
{
	char *weak = to_pem(EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024));
	char *rsa = to_pem(EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048));
	char *p256 = to_pem(EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"));
	char *p384 = to_pem(EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384"));
	const struct {
		const char *type, *scheme, *value;
		int r;
	} cases[] = {
		{"ed25519", "ed25519", "00", -EBADMSG},
		{"ed25519", "ed25519",
		 "not hexadecimal, but of the right length: 64 bytes, not one more", -EBADMSG},
		{"ed25519", "ed25519", p256, -EBADMSG},
		{"ecdsa", "ecdsa-sha2-nistp256", rsa, -EBADMSG},
		{"ecdsa", "ecdsa-sha2-nistp256", p384, -EBADMSG},
		{"ecdsa", "ecdsa-sha2-nistp256", p256, 0},
		{"rsa", "rsassa-pss-sha256", p256, -EBADMSG},
		{"rsa", "rsassa-pss-sha256", weak, -EBADMSG},
		{"rsa", "rsassa-pss-sha256", rsa, 0},
		{"rsa", "rsassa-pss-sha256", "", -EBADMSG},
		{"rsa", "rsassa-pss-sha256",
		 "-----BEGIN PUBLIC KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: "
		 "AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n"
		 "AAAA\n-----END PUBLIC KEY-----\n",
		 -EBADMSG},
		{"rsa", "rsa-pkcs1v15-sha256", rsa, 0},
		{"rsa", "rsa-pkcs1v15-sha512", rsa, -EOPNOTSUPP},
		{"ecdsa", "ecdsa-sha2-nistp384", p384, -EOPNOTSUPP},
		{"ed25519", "ecdsa-sha2-nistp256", p256, -EOPNOTSUPP},
		{"sphincs", "sphincs", "", -EOPNOTSUPP},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		json_t *json = json_pack("{s:s, s:s, s:{s:s}}", "keytype", cases[i].type, "scheme",
					 cases[i].scheme, "keyval", "public", cases[i].value);
		struct qmr_tuf_key *key = NULL;

		if (qmr_tuf_key_parse(json, &key, NULL) != cases[i].r)
			fail_msg("case %zu", i);
		assert_int_equal(key != NULL, cases[i].r == 0);
		qmr_tuf_key_free(key);
		json_decref(json);
	}
	free(weak);
	free(rsa);
	free(p256);
	free(p384);
}

static void thresholds_count_different_keys(void **unused)
{
	struct qmr_tuf_metadata root;
	struct qmr_error err = {0};
	struct repository_key *keys = repository.keys[QMR_TUF_ROOT];

	keys[1] = repository_key_make("ecdsa");
	keys[2] = repository_key_make("ed25519");
	repository.n_keys[QMR_TUF_ROOT] = 3;
	repository.threshold[QMR_TUF_ROOT] = 2;
	root = load_root();
	assert_int_equal(qmr_tuf_metadata_check_signed(&root, &root, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "1 different keys"));
	qmr_tuf_metadata_done(&root);
	repository.n_signers[QMR_TUF_ROOT] = 2;
	root = load_root();
	assert_int_equal(qmr_tuf_metadata_check_signed(&root, &root, NULL), 0);
	qmr_tuf_metadata_done(&root);
}

/*
 * A second entry for the same key: its hexadecimal form in other letters, so that it has another,
 * right, id.
 */
static void one_key_in_two_guises_counts_once(void **unused)
{
	struct repository_key *keys = repository.keys[QMR_TUF_ROOT];
	struct repository_key twin = {.json = json_deep_copy(keys[0].json), .pkey = keys[0].pkey};
	json_t *value = json_object_get(twin.json, "keyval");
	char *text = strdup(json_string_value(json_object_get(value, "public")));
	struct qmr_tuf_metadata root;
	struct qmr_error err = {0};

	EVP_PKEY_up_ref(twin.pkey);
	for (char *p = text; *p; p++)
		if (*p >= 'a')
			*p = (char)(*p - 'a' + 'A');
	json_object_set_new(value, "public", json_string(text));
	free(text);
	repository_key_set_id(&twin);
	assert_string_not_equal(twin.id, keys[0].id);
	keys[1] = twin;
	repository.n_keys[QMR_TUF_ROOT] = repository.n_signers[QMR_TUF_ROOT] = 2;
	root = load_root();
	assert_int_equal(qmr_tuf_metadata_check_signed(&root, &root, NULL), 0);
	qmr_tuf_metadata_done(&root);
	repository.threshold[QMR_TUF_ROOT] = 2;
	root = load_root();
	assert_int_equal(qmr_tuf_metadata_check_signed(&root, &root, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "1 different keys"));
	qmr_tuf_metadata_done(&root);
}

/* The same for a point, which has two forms in PEM. */
static void one_point_in_two_forms_counts_once(void **unused)
{
	struct repository_key *keys = repository.keys[QMR_TUF_ROOT];
	struct qmr_tuf_metadata root;
	struct qmr_error err = {0};
	char *pem;

	repository_key_done(&keys[0]);
	keys[0] = repository_key_make("ecdsa");
	keys[1] = (struct repository_key){.json = json_deep_copy(keys[0].json), .pkey = EVP_PKEY_dup(keys[0].pkey)};
	assert_int_equal(EVP_PKEY_set_utf8_string_param(keys[1].pkey, "point-format", "compressed"), 1);
	EVP_PKEY_up_ref(keys[1].pkey);
	pem = to_pem(keys[1].pkey);
	json_object_set_new(json_object_get(keys[1].json, "keyval"), "public", json_string(pem));
	free(pem);
	repository_key_set_id(&keys[1]);
	assert_string_not_equal(keys[1].id, keys[0].id);
	repository.n_keys[QMR_TUF_ROOT] = repository.n_signers[QMR_TUF_ROOT] = 2;
	repository.threshold[QMR_TUF_ROOT] = 2;
	root = load_root();
	assert_int_equal(qmr_tuf_metadata_check_signed(&root, &root, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "1 different keys"));
	qmr_tuf_metadata_done(&root);
}

/* Unknown fields of a key: some implementations hash them into its id, some do not. */
static void both_ways_to_make_an_id_are_right(void **unused)
{
	struct repository_key *key = &repository.keys[QMR_TUF_ROOT][0];
	struct qmr_tuf_metadata root;

	json_object_set_new(key->json, "keyid_hash_algorithms",
			    json_pack("[s, s]", "sha256", "sha512"));
	root = load_root();
	qmr_tuf_metadata_done(&root);
	repository_key_set_id(key);
	root = load_root();
	qmr_tuf_metadata_done(&root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_files_are_read),
		cmocka_unit_test(bad_files_are_refused_with_a_reason),
		cmocka_unit_test(times_are_read_strictly),
		cmocka_unit_test(the_specification_is_1),
		cmocka_unit_test(sizes_are_bounded),
		cmocka_unit_test_setup_teardown(bad_roots_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(each_kind_of_key_signs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(malformed_signatures_count_for_nothing, set_up,
						tear_down),
		cmocka_unit_test(weak_and_malformed_keys_are_refused),
		cmocka_unit_test_setup_teardown(thresholds_count_different_keys, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_key_in_two_guises_counts_once, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_point_in_two_forms_counts_once, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(both_ways_to_make_an_id_are_right, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
