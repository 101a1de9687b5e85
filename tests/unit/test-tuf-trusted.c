/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test-tuf-repository.h"
#include "tuf-trusted.h"

static struct repository repository;
static struct qmr_tuf_trusted set;
static struct qmr_error err;

static const struct qmr_fetch_file *served(const char *name)
{
	char path[64];
	const struct qmr_fetch_file *file;

	snprintf(path, sizeof(path), "metadata/%s", name);
	file = repository_get(&repository, path);
	assert_non_null(file);
	return file;
}

static int set_up(void **unused)
{
	const struct qmr_fetch_file *root;

	repository_init(&repository);
	repository.has_hashes = 0;
	for (int role = QMR_TUF_TIMESTAMP; role < QMR_TUF_ROLES; role++)
		repository.version[role] = 5;
	repository_publish(&repository);
	root = served("1.root.json");
	return qmr_tuf_trusted_start(&set, root->data, root->size, REPOSITORY_NOW, NULL);
}

static int tear_down(void **unused)
{
	qmr_tuf_trusted_done(&set);
	repository_done(&repository);
	return 0;
}

static int add_root(const char *name)
{
	const struct qmr_fetch_file *file = served(name);

	return qmr_tuf_trusted_add_root(&set, file->data, file->size, &err);
}

static int set_timestamp(enum qmr_tuf_origin origin)
{
	const struct qmr_fetch_file *file = served("timestamp.json");

	return qmr_tuf_trusted_set_timestamp(&set, file->data, file->size, origin, &err);
}

static int set_snapshot(const char *name, enum qmr_tuf_origin origin)
{
	const struct qmr_fetch_file *file = served(name);

	return qmr_tuf_trusted_set_snapshot(&set, file->data, file->size, origin, &err);
}

static int set_targets(const char *name)
{
	const struct qmr_fetch_file *file = served(name);

	return qmr_tuf_trusted_set_targets(&set, file->data, file->size, &err);
}

/* r must be a refusal whose message has the words. */
static void refused(int r, const char *words)
{
	if (r != -EBADMSG || !strstr(err.text, words))
		fail_msg("%d: '%s' is not in '%s'", r, words, err.text);
}

static void files_come_in_their_order(void **unused)
{
	/* A caller's mistake, not the repository's. */
	assert_int_equal(set_snapshot("5.snapshot.json", QMR_TUF_FETCHED), -EINVAL);
	assert_int_equal(set_targets("5.targets.json"), -EINVAL);
	assert_int_equal(set_timestamp(QMR_TUF_FETCHED), 1);
	assert_int_equal(set_targets("5.targets.json"), -EINVAL);
	assert_int_equal(set_snapshot("5.snapshot.json", QMR_TUF_FETCHED), 0);
	assert_int_equal(set_targets("5.targets.json"), 0);
	assert_int_equal(set.targets.version, 5);
}

static void what_is_refused_changes_nothing(void **unused)
{
	assert_int_equal(set_timestamp(QMR_TUF_FETCHED), 1);
	refused(qmr_tuf_trusted_set_timestamp(&set, "{}", 2, QMR_TUF_FETCHED, &err), "timestamp");
	assert_int_equal(set.timestamp.version, 5);
	refused(qmr_tuf_trusted_add_root(&set, "{}", 2, &err), "root");
	assert_int_equal(set.root.version, 1);
}

static void timestamp_and_what_it_names_do_not_go_back(void **unused)
{
	assert_int_equal(set_timestamp(QMR_TUF_CACHED), 1);
	repository.version[QMR_TUF_TIMESTAMP] = 4;
	repository_publish(&repository);
	refused(set_timestamp(QMR_TUF_FETCHED), "timestamp: version 4 is older than 5");
	repository.version[QMR_TUF_TIMESTAMP] = 6;
	repository.version[QMR_TUF_SNAPSHOT] = 4;
	repository_publish(&repository);
	refused(set_timestamp(QMR_TUF_FETCHED), "names version 4 of snapshot, older than 5");
	repository.version[QMR_TUF_SNAPSHOT] = 5;
	repository_publish(&repository);
	assert_int_equal(set_timestamp(QMR_TUF_FETCHED), 1);
	/* The same version again: what is trusted stays, whatever this one says. */
	repository.version[QMR_TUF_SNAPSHOT] = 1;
	repository_publish(&repository);
	assert_int_equal(set_timestamp(QMR_TUF_FETCHED), 0);
	assert_int_equal(set.timestamp.version, 6);
}

static void snapshot_is_the_one_that_was_named(void **unused)
{
	assert_int_equal(set_timestamp(QMR_TUF_FETCHED), 1);
	repository.version[QMR_TUF_SNAPSHOT] = 6;
	repository_publish(&repository);
	refused(set_snapshot("6.snapshot.json", QMR_TUF_FETCHED),
		"snapshot: version 6 is not the one that timestamp names, 5");
}

static void snapshot_does_not_name_older_targets(void **unused)
{
	assert_int_equal(set_timestamp(QMR_TUF_CACHED), 1);
	assert_int_equal(set_snapshot("5.snapshot.json", QMR_TUF_CACHED), 0);
	repository.version[QMR_TUF_TIMESTAMP] = repository.version[QMR_TUF_SNAPSHOT] = 6;
	repository.version[QMR_TUF_TARGETS] = 4;
	repository_publish(&repository);
	assert_int_equal(set_timestamp(QMR_TUF_FETCHED), 1);
	refused(set_snapshot("6.snapshot.json", QMR_TUF_FETCHED),
		"names version 4 of 'targets.json', older than 5");
}

static void targets_are_those_that_were_named(void **unused)
{
	assert_int_equal(set_timestamp(QMR_TUF_FETCHED), 1);
	assert_int_equal(set_snapshot("5.snapshot.json", QMR_TUF_FETCHED), 0);
	repository.version[QMR_TUF_TARGETS] = 6;
	repository_publish(&repository);
	refused(set_targets("6.targets.json"),
		"targets: version 6 is not the one that snapshot names, 5");
}

static void hashes_bind_snapshot_and_targets(void **unused)
{
	repository.has_hashes = 1;
	repository_publish(&repository);
	assert_int_equal(set_timestamp(QMR_TUF_FETCHED), 1);
	assert_int_equal(set_snapshot("5.snapshot.json", QMR_TUF_FETCHED), 0);
	/* Same versions and lengths, other content, signed as well. */
	for (int role = QMR_TUF_SNAPSHOT; role < QMR_TUF_ROLES; role++)
		repository.expires[role] = "2030-01-01T00:00:01Z";
	repository_publish(&repository);
	refused(set_snapshot("5.snapshot.json", QMR_TUF_FETCHED), "snapshot: its sha256");
	refused(set_targets("5.targets.json"), "targets: its sha256");
}

/*
 * Not fresh or not fitting, it only sets the lowest versions: no targets may be taken on its word.
 */
static void a_cached_snapshot_names_no_targets(void **unused)
{
	repository.expires[QMR_TUF_SNAPSHOT] = "2020-01-01T00:00:00Z";
	repository_publish(&repository);
	assert_int_equal(set_timestamp(QMR_TUF_FETCHED), 1);
	refused(set_snapshot("5.snapshot.json", QMR_TUF_FETCHED), "expired");
	assert_int_equal(set_snapshot("5.snapshot.json", QMR_TUF_CACHED), 0);
	refused(set_targets("5.targets.json"), "snapshot: version 5 expired");
	repository.version[QMR_TUF_TIMESTAMP] = repository.version[QMR_TUF_SNAPSHOT] = 6;
	repository_publish(&repository);
	assert_int_equal(set_timestamp(QMR_TUF_FETCHED), 1);
	refused(set_targets("5.targets.json"), "snapshot: version 5 is not the one");
}

static void a_root_is_the_next_version(void **unused)
{
	repository.version[QMR_TUF_ROOT] = 3;
	repository_publish_root(&repository);
	refused(add_root("3.root.json"), "version 3 stands where version 2 is due");
	refused(add_root("1.root.json"), "version 1 stands where version 2 is due");
	repository.version[QMR_TUF_ROOT] = 2;
	repository_publish_root(&repository);
	assert_int_equal(add_root("2.root.json"), 0);
	assert_int_equal(add_root("3.root.json"), 0);
	assert_int_equal(set.root.version, 3);
}

static void a_root_is_signed_by_old_and_new_keys(void **unused)
{
	repository.version[QMR_TUF_ROOT] = 2;
	repository_rotate(&repository, QMR_TUF_ROOT);
	repository.n_signers[QMR_TUF_ROOT] = 0;
	repository_publish_root(&repository);
	refused(add_root("2.root.json"), "root version 2 asks for 1");
	repository.n_signers[QMR_TUF_ROOT] = 1;
	repository_publish_root(&repository);
	assert_int_equal(add_root("2.root.json"), 0);
	repository_key_done(&repository.old_root);
	repository.version[QMR_TUF_ROOT] = 3;
	repository_key_done(&repository.keys[QMR_TUF_ROOT][0]);
	repository.keys[QMR_TUF_ROOT][0] = repository_key_make("ed25519");
	repository_publish_root(&repository);
	refused(add_root("3.root.json"), "root version 2 asks for 1");
}

/* A key of root is no key of targets, although root metadata lists it. */
static void a_key_counts_for_its_role_alone(void **unused)
{
	struct repository_key own = repository.keys[QMR_TUF_TARGETS][0];

	assert_int_equal(set_timestamp(QMR_TUF_FETCHED), 1);
	assert_int_equal(set_snapshot("5.snapshot.json", QMR_TUF_FETCHED), 0);
	repository.keys[QMR_TUF_TARGETS][0] = repository.keys[QMR_TUF_SNAPSHOT][0];
	repository_publish(&repository);
	repository.keys[QMR_TUF_TARGETS][0] = own;
	refused(set_targets("5.targets.json"), "0 different keys");
}

static void rotation_is_seen(void **unused)
{
	qmr_tuf_trusted_mark_known(&set);
	assert_int_equal(qmr_tuf_trusted_has_rotated(&set), 0);
	/* Keys of targets do not matter, nor does a threshold. */
	repository.version[QMR_TUF_ROOT]++;
	repository_rotate(&repository, QMR_TUF_TARGETS);
	repository.threshold[QMR_TUF_TIMESTAMP] = 2;
	repository_publish_root(&repository);
	assert_int_equal(add_root("2.root.json"), 0);
	assert_int_equal(qmr_tuf_trusted_has_rotated(&set), 0);
	for (int role = QMR_TUF_TIMESTAMP; role <= QMR_TUF_SNAPSHOT; role++) {
		char name[32];

		/* One more, one less, another one. */
		repository.keys[role][1] = repository_key_make("ed25519");
		for (int change = 0; change < 3; change++) {
			qmr_tuf_trusted_mark_known(&set);
			repository.n_keys[role] = change == 0 ? 2 : 1;
			if (change == 2)
				repository_rotate(&repository, (enum qmr_tuf_role)role);
			snprintf(name, sizeof(name), "%d.root.json",
				 ++repository.version[QMR_TUF_ROOT]);
			repository_publish_root(&repository);
			assert_int_equal(add_root(name), 0);
			assert_int_equal(qmr_tuf_trusted_has_rotated(&set), 1);
		}
	}
}

static void at_least_one_hash_is_known(void **unused)
{
	struct qmr_tuf_file file = {
		.length = -1, .hashes = json_pack("{s:s, s:s}", "md5", "00", "sha3-256", "00")};

	refused(qmr_tuf_file_check("it", &file, "", 0, &err), "no hash of a kind that is known");
	json_object_set_new(
		(json_t *)file.hashes, "sha256",
		json_string("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
	assert_int_equal(qmr_tuf_file_check("it", &file, "", 0, &err), 0);
	refused(qmr_tuf_file_check("it", &file, "x", 1, &err), "sha256");
	json_object_set_new((json_t *)file.hashes, "sha512", json_string("00"));
	refused(qmr_tuf_file_check("it", &file, "", 0, &err), "sha512");
	file.length = 1;
	refused(qmr_tuf_file_check("it", &file, "", 0, &err), "signed length is 1");
	json_decref((json_t *)file.hashes);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(files_come_in_their_order),
		TEST(what_is_refused_changes_nothing),
		TEST(timestamp_and_what_it_names_do_not_go_back),
		TEST(snapshot_is_the_one_that_was_named),
		TEST(snapshot_does_not_name_older_targets),
		TEST(targets_are_those_that_were_named),
		TEST(hashes_bind_snapshot_and_targets),
		TEST(a_cached_snapshot_names_no_targets),
		TEST(a_root_is_the_next_version),
		TEST(a_root_is_signed_by_old_and_new_keys),
		TEST(a_key_counts_for_its_role_alone),
		TEST(rotation_is_seen),
		cmocka_unit_test(at_least_one_hash_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
