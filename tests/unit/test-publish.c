/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "canonical-json.h"
#include "cleanup.h"
#include "file.h"
#include "hash.h"
#include "json.h"
#include "publish.h"

/*
 * A root with keys of its own: two of root, three of targets with threshold two, one each of the
 * others.
 */
struct root {
	json_t *document;
	struct qmr_key keys[QMR_ROLE_COUNT][3];
};

static const int n_keys[QMR_ROLE_COUNT] = {2, 3, 1, 1};

static int make_root(void **state)
{
	struct root *root = calloc(1, sizeof(*root));

	if (!root)
		return -1;
	root->document = qmr_metadata_new(QMR_ROLE_ROOT, 1, 2000000000);
	json_object_set_new(json_object_get(root->document, "signed"), "consistent_snapshot",
			    json_true());
	for (int role = 0; role < QMR_ROLE_COUNT; role++)
		for (int i = 0; i < n_keys[role]; i++)
			if (qmr_key_generate(&root->keys[role][i], NULL) < 0 ||
			    qmr_root_add_key(root->document, role, &root->keys[role][i], NULL) < 0)
				return -1;
	*state = root;
	return qmr_root_set_threshold(root->document, QMR_ROLE_TARGETS, 2, NULL);
}

static int free_root(void **state)
{
	struct root *root = *state;

	for (int role = 0; role < QMR_ROLE_COUNT; role++)
		for (int i = 0; i < n_keys[role]; i++)
			qmr_key_done(&root->keys[role][i]);
	json_decref(root->document);
	free(root);
	return 0;
}

static json_t *make_targets(void)
{
	json_t *targets = qmr_metadata_new(QMR_ROLE_TARGETS, 3, 2000000000);

	json_object_set_new(json_object_get(targets, "signed"), "targets", json_object());
	return targets;
}

static void times_have_one_form(void **unused)
{
	static const char *const bad[] = {"",
					  "2026-11-23T15:00:00",
					  "2026-11-23 15:00:00Z",
					  "2026-11-23T15:00:00Zx",
					  "2026-02-30T15:00:00Z",
					  "2026-1-3T15:00:00Z",
					  " 2026-11-23T15:00:00Z",
					  "2026-11-23T24:00:00Z",
					  "2026-11-23T15:00:60Z",
					  "2026-11-23T15:00:00+00:00"};
	int64_t unix_s = 7;
	char text[32];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (qmr_time_parse(bad[i], &unix_s) != -EINVAL)
			fail_msg("'%s' is taken", bad[i]);
	assert_int_equal(unix_s, 7);
	/* date -u -d 2028-02-29T23:59:59Z +%s */
	assert_int_equal(qmr_time_parse("2028-02-29T23:59:59Z", &unix_s), 0);
	assert_int_equal(unix_s, 1835481599);
	qmr_time_format(unix_s, text);
	assert_string_equal(text, "2028-02-29T23:59:59Z");
}

static void a_threshold_counts_keys(void **state)
{
	struct root *root = *state;
	cleanup_json json_t *targets = make_targets();
	json_t *signatures = json_object_get(targets, "signatures");

	assert_int_equal(qmr_metadata_verify(root->document, QMR_ROLE_TARGETS, targets, "t", NULL),
			 -EBADMSG);
	assert_int_equal(qmr_metadata_sign(targets, &root->keys[QMR_ROLE_TARGETS][0], NULL), 0);
	assert_int_equal(qmr_metadata_sign(targets, &root->keys[QMR_ROLE_TARGETS][0], NULL), 0);
	assert_int_equal(json_array_size(signatures), 1);
	/* The same signature again by hand, one of another role, one of a stranger. */
	json_array_append_new(signatures, json_deep_copy(json_array_get(signatures, 0)));
	assert_int_equal(qmr_metadata_sign(targets, &root->keys[QMR_ROLE_SNAPSHOT][0], NULL), 0);
	json_array_append_new(signatures, json_pack("{s:s,s:s}", "keyid", "00", "sig", "00"));
	assert_int_equal(qmr_metadata_count(root->document, QMR_ROLE_TARGETS, targets, NULL), 1);
	assert_int_equal(qmr_metadata_verify(root->document, QMR_ROLE_TARGETS, targets, "t", NULL),
			 -EBADMSG);
	assert_int_equal(qmr_metadata_sign(targets, &root->keys[QMR_ROLE_TARGETS][2], NULL), 0);
	assert_int_equal(qmr_metadata_verify(root->document, QMR_ROLE_TARGETS, targets, "t", NULL),
			 0);
	/* What is signed is the content. */
	json_object_set_new(json_object_get(targets, "signed"), "version", json_integer(4));
	assert_int_equal(qmr_metadata_count(root->document, QMR_ROLE_TARGETS, targets, NULL), 0);
}

static void keys_come_and_go(void **state)
{
	struct root *root = *state;
	const char *id = root->keys[QMR_ROLE_TARGETS][1].id;
	cleanup_json json_t *copy = qmr_metadata_next(root->document, 2, 2000000000);
	const json_t *keys = json_object_get(json_object_get(copy, "signed"), "keys");

	assert_int_equal(qmr_metadata_version(copy), 2);
	assert_int_equal(json_object_size(keys), 7);
	assert_int_equal(qmr_root_remove_key(copy, QMR_ROLE_SNAPSHOT, id, NULL), -ENOENT);
	assert_int_equal(qmr_root_remove_key(copy, QMR_ROLE_TARGETS, id, NULL), 0);
	assert_false(qmr_root_has_key(copy, QMR_ROLE_TARGETS, id));
	assert_true(qmr_root_has_key(root->document, QMR_ROLE_TARGETS, id));
	assert_int_equal(json_object_size(keys), 6);
	/* A key of two roles stays until the second gives it up. */
	assert_int_equal(
		qmr_root_add_key(copy, QMR_ROLE_SNAPSHOT, &root->keys[QMR_ROLE_TIMESTAMP][0], NULL),
		0);
	assert_int_equal(qmr_root_remove_key(copy, QMR_ROLE_TIMESTAMP,
					     root->keys[QMR_ROLE_TIMESTAMP][0].id, NULL),
			 0);
	assert_int_equal(json_object_size(keys), 6);
}

/*
 * Sets the field that path names ("signed.roles.root.threshold") to the JSON in value; NULL removes
 * it.
 */
static void set_field(json_t *document, const char *path, const char *value)
{
	char copy[200], *save = NULL, *part, *next;

	snprintf(copy, sizeof(copy), "%s", path);
	for (part = strtok_r(copy, ".", &save); (next = strtok_r(NULL, ".", &save)); part = next)
		document = json_object_get(document, part);
	if (value)
		json_object_set_new(document, part, json_loads(value, JSON_DECODE_ANY, NULL));
	else
		json_object_del(document, part);
}

static void bad_forms_are_refused_with_the_field(void **state)
{
	struct root *root = *state;
	static const struct {
		enum qmr_role role;
		const char *path, *value, *field;
	} cases[] = {
		{QMR_ROLE_ROOT, "signed", NULL, "_type"},
		{QMR_ROLE_ROOT, "signed._type", "\"targets\"", "_type"},
		{QMR_ROLE_ROOT, "signed.spec_version", "\"2.0.0\"", "spec_version"},
		{QMR_ROLE_ROOT, "signed.version", "0", "version"},
		{QMR_ROLE_ROOT, "signed.version", "2000000001", "version"},
		{QMR_ROLE_ROOT, "signed.version", "1.0", "version"},
		{QMR_ROLE_ROOT, "signed.expires", "\"never\"", "expires"},
		{QMR_ROLE_ROOT, "signed.consistent_snapshot", "false", "consistent_snapshot"},
		{QMR_ROLE_ROOT, "signed.keys", "[]", "keys"},
		{QMR_ROLE_ROOT, "signed.keys.00",
		 "{\"keytype\":\"ed25519\",\"scheme\":\"ed25519\",\"keyval\":{\"public\":"
		 "\"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025\"}}",
		 "hash"},
		{QMR_ROLE_ROOT, "signed.keys.00", "{\"keytype\":\"rsa\"}", "no key of a kind"},
		{QMR_ROLE_ROOT, "signed.roles.root.threshold", "0", "threshold"},
		{QMR_ROLE_ROOT, "signed.roles.root.threshold", "3", "threshold"},
		{QMR_ROLE_ROOT, "signed.roles.root.keyids", "[]", "root"},
		{QMR_ROLE_ROOT, "signed.roles.root.keyids", "[\"00\"]", "key id"},
		{QMR_ROLE_ROOT, "signed.roles.timestamp", NULL, "timestamp"},
		{QMR_ROLE_ROOT, "signatures", "{}", "signatures"},
		{QMR_ROLE_ROOT, "signatures", "[1]", "signatures"},
		{QMR_ROLE_TARGETS, "signed.targets", NULL, "targets"},
		{QMR_ROLE_TARGETS, "signed.targets", "{\"plans/../x.json\":{}}", "targets"},
		{QMR_ROLE_TARGETS, "signed.targets", "{\"x.json\":{}}", "targets"},
		{QMR_ROLE_TARGETS, "signed.targets", "{\"plans/x.json\":{\"length\":1}}",
		 "targets"},
		{QMR_ROLE_TARGETS, "signed.targets",
		 "{\"plans/x.json\":{\"length\":-1,\"hashes\":{\"sha256\":\"0\"}}}", "targets"},
		{QMR_ROLE_TARGETS, "signed.delegations", "{}", "delegations"},
		{QMR_ROLE_SNAPSHOT, "signed.meta", "{}", "meta"},
	};

	assert_int_equal(qmr_metadata_check_form(QMR_ROLE_ROOT, root->document, "r", NULL), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		cleanup_json json_t *document =
			cases[i].role == QMR_ROLE_ROOT ? json_deep_copy(root->document)
			: cases[i].role == QMR_ROLE_TARGETS
				? make_targets()
				: qmr_metadata_new(cases[i].role, 1, 2000000000);
		struct qmr_error err = {0};

		set_field(document, cases[i].path, cases[i].value);
		if (qmr_metadata_check_form(cases[i].role, document, "r", &err) != -EBADMSG)
			fail_msg("case %zu, %s, is taken", i, cases[i].path);
		if (!strstr(err.text, cases[i].field))
			fail_msg("'%s' does not name '%s'", err.text, cases[i].field);
	}
}

/* Fields that are not known take part in an id or do not: the same key has two that are right. */
static void one_key_under_two_ids_is_refused(void **state)
{
	struct root *root = *state;
	cleanup_json json_t *document = json_deep_copy(root->document);
	json_t *twin = json_deep_copy(root->keys[QMR_ROLE_TARGETS][0].public);
	cleanup_free char *text = NULL;
	struct qmr_error err = {0};
	char id[QMR_SHA256_HEX];
	size_t size;

	json_object_set_new(twin, "note", json_string("the same"));
	assert_int_equal(qmr_canonical_json(twin, &text, &size, NULL), 0);
	assert_int_equal(qmr_sha256(text, size, id, NULL), 0);
	json_object_set_new(json_object_get(json_object_get(document, "signed"), "keys"), id, twin);
	assert_int_equal(qmr_metadata_check_form(QMR_ROLE_ROOT, document, "r", &err), -EBADMSG);
	assert_non_null(strstr(err.text, "two ids"));
}

static void a_reference_is_length_and_hash(void **unused)
{
	cleanup_json json_t *reference = NULL;

	assert_int_equal(qmr_metadata_reference(5, "abc", 3, &reference, NULL), 0);
	assert_int_equal(json_integer_value(json_object_get(reference, "version")), 5);
	assert_int_equal(qmr_metadata_check_reference(reference, "abc", 3, "f", NULL), 0);
	assert_int_equal(qmr_metadata_check_reference(reference, "abd", 3, "f", NULL), -EBADMSG);
	assert_int_equal(qmr_metadata_check_reference(reference, "abcd", 4, "f", NULL), -EBADMSG);
	json_object_del(json_object_get(reference, "hashes"), "sha256");
	assert_int_equal(qmr_metadata_check_reference(reference, "abc", 3, "f", NULL), -EBADMSG);
}

/* The commands themselves, one after the other; under sanitizers this is where leaks show. */
struct owner {
	char path[64], repository[80], keys[80], plan[80];
	struct qmr_publish_arguments arguments;
};

static void begin(struct owner *owner, int threshold)
{
	static const char plan[] = "{\"schema\":1,\"id\":\"p\",\"title\":\"t\",\"match\":{"
				   "\"incident-kind\":\"panic\"},"
				   "\"actions\":[{\"type\":\"block-module\",\"module\":\"m\"}]}";

	*owner = (struct owner){.path = "/tmp/test-publish-XXXXXX"};
	assert_non_null(mkdtemp(owner->path));
	snprintf(owner->repository, sizeof(owner->repository), "%s/r", owner->path);
	snprintf(owner->keys, sizeof(owner->keys), "%s/k", owner->path);
	snprintf(owner->plan, sizeof(owner->plan), "%s/p.json", owner->path);
	assert_int_equal(qmr_file_replace(AT_FDCWD, owner->plan, plan, strlen(plan), 0644, NULL),
			 0);
	owner->arguments = (struct qmr_publish_arguments){
		.repository = owner->repository,
		.keys = owner->keys,
		.warn_days = -1,
		.n_keys = {2, 2, 1, 1},
		.threshold = {1, threshold, 1, 1},
	};
	memcpy(owner->arguments.days, qmr_publish_days, sizeof(owner->arguments.days));
	assert_int_equal(qmr_publish_init(&owner->arguments), QMR_EXIT_OK);
}

static int call(struct owner *owner, int (*command)(const struct qmr_publish_arguments *),
		char *operand)
{
	owner->arguments.names = &operand;
	owner->arguments.n_names = operand != NULL;
	return command(&owner->arguments);
}

static void every_command_in_turn(void **unused)
{
	char root[] = "root", targets[] = "targets", snapshot[] = "snapshot",
	     timestamp[] = "timestamp", nothing[] = "mirrors";
	char name[] = "p.json";
	struct owner owner;

	begin(&owner, 1);
	assert_int_equal(call(&owner, qmr_publish_init, NULL), QMR_EXIT_FAILURE);
	assert_int_equal(call(&owner, qmr_publish_add, owner.plan), QMR_EXIT_OK);
	assert_int_equal(call(&owner, qmr_publish_add, owner.plan), QMR_EXIT_NOTHING);
	assert_int_equal(call(&owner, qmr_publish_list, NULL), QMR_EXIT_OK);
	assert_int_equal(call(&owner, qmr_publish_rotate, snapshot), QMR_EXIT_OK);
	assert_int_equal(call(&owner, qmr_publish_rotate, timestamp), QMR_EXIT_OK);
	assert_int_equal(call(&owner, qmr_publish_rotate, nothing), QMR_EXIT_USAGE);
	assert_int_equal(call(&owner, qmr_publish_rotate, root),
			 QMR_EXIT_USAGE); /* which of the two? */
	owner.arguments.replace = "zz";
	assert_int_equal(call(&owner, qmr_publish_rotate, targets), QMR_EXIT_USAGE);
	owner.arguments.replace = NULL;
	owner.arguments.add = 1;
	owner.arguments.new_threshold = 3;
	assert_int_equal(call(&owner, qmr_publish_rotate, targets), QMR_EXIT_OK);
	owner.arguments.add = 0;
	owner.arguments.new_threshold = 1;
	assert_int_equal(call(&owner, qmr_publish_rotate, targets), QMR_EXIT_OK);
	owner.arguments.public_key = owner.plan;
	assert_int_equal(call(&owner, qmr_publish_rotate, root), QMR_EXIT_USAGE);
	owner.arguments.add = 1;
	assert_int_equal(call(&owner, qmr_publish_rotate, root), QMR_EXIT_REFUSED);
	assert_int_equal(call(&owner, qmr_publish_remove, name), QMR_EXIT_OK);
	assert_int_equal(call(&owner, qmr_publish_remove, name), QMR_EXIT_NOTHING);
	owner.arguments.roles = 1u << QMR_ROLE_ROOT | 1u << QMR_ROLE_TARGETS;
	assert_int_equal(call(&owner, qmr_publish_refresh, NULL), QMR_EXIT_OK);
	assert_int_equal(call(&owner, qmr_publish_sign, NULL), QMR_EXIT_USAGE);
	owner.arguments.json = 1;
	assert_int_equal(call(&owner, qmr_publish_check, NULL), QMR_EXIT_OK);
	assert_int_equal(call(&owner, qmr_publish_list, NULL), QMR_EXIT_OK);
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, owner.path, NULL), 0);
	assert_int_equal(call(&owner, qmr_publish_refresh, NULL), QMR_EXIT_FAILURE);
	assert_int_equal(call(&owner, qmr_publish_check, NULL), QMR_EXIT_FAILURE);
}

static void a_change_waits_for_the_second_signature(void **unused)
{
	char here[256], away[256], key[64];
	struct qmr_repository repository = {.fd = -1};
	struct owner owner;

	begin(&owner, 2);
	assert_int_equal(qmr_repository_open(owner.repository, 0, &repository, NULL), 0);
	assert_int_equal(qmr_repository_load(&repository, NULL, 0, NULL), 0);
	qmr_key_ring_name(
		QMR_ROLE_TARGETS,
		json_string_value(json_array_get(
			qmr_root_keyids(repository.now[QMR_ROLE_ROOT], QMR_ROLE_TARGETS), 0)),
		"pem", key);
	qmr_repository_close(&repository);
	snprintf(here, sizeof(here), "%s/%s", owner.keys, key);
	snprintf(away, sizeof(away), "%s/%s", owner.path, key);
	assert_int_equal(rename(here, away), 0);
	assert_int_equal(call(&owner, qmr_publish_add, owner.plan), QMR_EXIT_NOTHING);
	assert_int_equal(call(&owner, qmr_publish_list, NULL), QMR_EXIT_OK);
	assert_int_equal(call(&owner, qmr_publish_refresh, NULL), QMR_EXIT_OK);
	owner.arguments.roles = 1u << QMR_ROLE_TARGETS;
	owner.arguments.key = away;
	assert_int_equal(call(&owner, qmr_publish_sign, NULL), QMR_EXIT_OK);
	assert_int_equal(call(&owner, qmr_publish_sign, NULL), QMR_EXIT_NOTHING);
	assert_int_equal(call(&owner, qmr_publish_check, NULL), QMR_EXIT_OK);
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, owner.path, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_have_one_form),
		cmocka_unit_test(a_threshold_counts_keys),
		cmocka_unit_test(keys_come_and_go),
		cmocka_unit_test(bad_forms_are_refused_with_the_field),
		cmocka_unit_test(one_key_under_two_ids_is_refused),
		cmocka_unit_test(a_reference_is_length_and_hash),
		cmocka_unit_test(every_command_in_turn),
		cmocka_unit_test(a_change_waits_for_the_second_signature),
	};

	return cmocka_run_group_tests(tests, make_root, free_root);
}
