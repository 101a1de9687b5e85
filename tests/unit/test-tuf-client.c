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
#include "tuf-client.h"

/*
 * A machine: what it was given, what it keeps, and in which order things happened in the last run.
 */
struct machine {
	struct repository repository;
	struct repository kept;          /* used for its files alone */
	struct qmr_fetch_files at_start; /* what a run reads of them: all, before it begins */
	char *root;
	size_t root_size;
	char events[8192];  /* "get PATH; keep NAME; forget; " */
	size_t max_bytes;   /* of the last get */
	int fail_path_with; /* what fetching fail_path answers */
	const char *fail_path;
	int64_t now_unix_s;
	struct qmr_tuf_client client;
	struct qmr_error err;
};

static struct machine m;

static void note(const char *what, const char *name)
{
	size_t used = strlen(m.events);

	snprintf(m.events + used, sizeof(m.events) - used, "%s%s; ", what, name);
}

static int get(void *user, const char *path, size_t max_bytes, char **ret_data, size_t *ret_size,
	       struct qmr_error *err)
{
	note("get ", path);
	m.max_bytes = max_bytes;
	if (m.fail_path && !strcmp(path, m.fail_path))
		return qmr_error_set(err, m.fail_path_with, "as the test wants it");
	return qmr_fetch_files_fetch(&m.repository.files, path, max_bytes, ret_data, ret_size, err);
}

static int keep(void *user, const char *path, const char *kept_as, const char *data, size_t size,
		struct qmr_error *err)
{
	if (!kept_as)
		return 0;
	note("keep ", kept_as);
	repository_put(&m.kept, kept_as, data, size);
	return 0;
}

static int forget(void *user, struct qmr_error *err)
{
	note("forget", "");
	repository_put(&m.kept, "timestamp.json", NULL, 0);
	repository_put(&m.kept, "snapshot.json", NULL, 0);
	return 0;
}

static int set_up(void **unused)
{
	const struct qmr_fetch_file *root;

	memset(&m, 0, sizeof(m));
	repository_init(&m.repository);
	repository_publish(&m.repository);
	root = repository_get(&m.repository, "metadata/1.root.json");
	m.root = strdup(root->data);
	m.root_size = root->size;
	m.now_unix_s = REPOSITORY_NOW;
	return 0;
}

static int tear_down(void **unused)
{
	qmr_tuf_client_done(&m.client);
	repository_done(&m.repository);
	qmr_fetch_files_done(&m.kept.files);
	qmr_fetch_files_done(&m.at_start);
	free(m.root);
	return 0;
}

static int refresh(void)
{
	qmr_tuf_client_done(&m.client);
	qmr_fetch_files_done(&m.at_start);
	for (size_t i = 0; i < m.kept.files.n; i++)
		assert_int_equal(qmr_fetch_files_add(&m.at_start, m.kept.files.items[i].name,
						     m.kept.files.items[i].data,
						     m.kept.files.items[i].size, NULL),
				 0);
	m.client = (struct qmr_tuf_client){
		.repository = {get, NULL},
		.cache = {qmr_fetch_files_fetch, &m.at_start},
		.accepted = keep,
		.forget = forget,
	};
	m.events[0] = '\0';
	m.err = (struct qmr_error){0};
	return qmr_tuf_client_refresh(&m.client, m.root, m.root_size, m.now_unix_s, &m.err);
}

static void accept_it(void)
{
	if (refresh() < 0)
		fail_msg("%s", m.err.text);
}

static void refuse_it(const char *role, const char *why)
{
	assert_int_equal(refresh(), -EBADMSG);
	if (strncmp(m.err.text, role, strlen(role)) || !strstr(m.err.text, why))
		fail_msg("'%s' is not said of %s in '%s'", why, role, m.err.text);
}

static void bump_all(void)
{
	for (int role = QMR_TUF_TIMESTAMP; role < QMR_TUF_ROLES; role++)
		m.repository.version[role]++;
}

static void the_workflow_is_in_order(void **unused)
{
	char *data = NULL;
	size_t size = 0;

	accept_it();
	assert_string_equal(
		m.events,
		"get metadata/2.root.json; get metadata/timestamp.json; keep timestamp.json; "
		"get metadata/1.snapshot.json; keep snapshot.json; get metadata/1.targets.json; "
		"keep targets.json; ");
	assert_int_equal(
		qmr_tuf_client_fetch_target(&m.client, "plans/1.json", &data, &size, &m.err), 0);
	assert_string_equal(data, "{}");
	free(data);
	assert_int_equal(
		qmr_tuf_client_fetch_target(&m.client, "plans/2.json", &data, &size, &m.err),
		-ENOENT);
	accept_it();
	assert_string_equal(m.events, "get metadata/2.root.json; get metadata/timestamp.json; ");
}

static void names_without_consistent_snapshots(void **unused)
{
	char *data = NULL;
	size_t size = 0;

	m.repository.is_consistent = 0;
	m.repository.version[QMR_TUF_ROOT] = 2;
	repository_publish(&m.repository);
	accept_it();
	assert_non_null(strstr(m.events, "get metadata/snapshot.json; "));
	assert_non_null(strstr(m.events, "get metadata/targets.json; "));
	assert_int_equal(
		qmr_tuf_client_fetch_target(&m.client, "plans/1.json", &data, &size, &m.err), 0);
	assert_non_null(strstr(m.events, "get targets/plans/1.json; "));
	free(data);
}

static void at_most_256_roots_are_followed(void **unused)
{
	for (int version = 2; version <= 300; version++) {
		m.repository.version[QMR_TUF_ROOT] = version;
		repository_publish_root(&m.repository);
	}
	repository_publish(&m.repository);
	accept_it();
	assert_int_equal(m.client.trusted.root.version, 257);
	assert_null(strstr(m.events, "258.root.json"));
	/* The next run goes on from there. */
	accept_it();
	assert_int_equal(m.client.trusted.root.version, 300);
	assert_non_null(strstr(m.events, "get metadata/258.root.json; "));
}

static void each_root_needs_the_old_and_the_new_keys(void **unused)
{
	m.repository.version[QMR_TUF_ROOT] = 2;
	repository_rotate(&m.repository, QMR_TUF_ROOT);
	repository_publish(&m.repository);
	accept_it();
	/* Signed by version 1's keys and its own, but not by version 2's. */
	m.repository.version[QMR_TUF_ROOT] = 3;
	repository_key_done(&m.repository.keys[QMR_TUF_ROOT][0]);
	m.repository.keys[QMR_TUF_ROOT][0] = repository_key_make("ed25519");
	repository_publish(&m.repository);
	refuse_it("root", "root version 2 asks for 1");
}

static void cached_timestamp_goes_before_a_root_with_other_keys_is_kept(void **unused)
{
	m.repository.version[QMR_TUF_TIMESTAMP] = 1000;
	repository_publish(&m.repository);
	accept_it();
	m.repository.version[QMR_TUF_ROOT] = 2;
	m.repository.version[QMR_TUF_TIMESTAMP] = 2;
	repository_rotate(&m.repository, QMR_TUF_SNAPSHOT);
	repository_publish(&m.repository);
	accept_it();
	assert_non_null(strstr(m.events, "forget; keep root_history/2.root.json; "));
	assert_int_equal(m.client.trusted.timestamp.version, 2);
	/* That was it: the next run knows the version again. */
	m.repository.version[QMR_TUF_TIMESTAMP] = 1;
	repository_publish(&m.repository);
	refuse_it("timestamp", "rollback");
	assert_null(strstr(m.events, "forget"));
}

static void keys_of_other_roles_forget_nothing(void **unused)
{
	m.repository.version[QMR_TUF_TIMESTAMP] = 1000;
	repository_publish(&m.repository);
	accept_it();
	m.repository.version[QMR_TUF_ROOT] = 2;
	m.repository.version[QMR_TUF_TIMESTAMP] = 2;
	repository_rotate(&m.repository, QMR_TUF_ROOT);
	repository_rotate(&m.repository, QMR_TUF_TARGETS);
	repository_publish(&m.repository);
	refuse_it("timestamp", "rollback");
	assert_null(strstr(m.events, "forget"));
	assert_non_null(strstr(m.events, "keep root_history/2.root.json; "));
}

static void nothing_unverified_is_kept(void **unused)
{
	static const struct {
		enum qmr_tuf_role role;
		const char *kept; /* the last thing that is */
	} cases[] = {
		{QMR_TUF_TIMESTAMP, "get metadata/timestamp.json; "},
		{QMR_TUF_SNAPSHOT, "keep timestamp.json; get metadata/1.snapshot.json; "},
		{QMR_TUF_TARGETS, "keep snapshot.json; get metadata/1.targets.json; "},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int role = cases[i].role;

		qmr_fetch_files_done(&m.kept.files);
		m.repository.n_signers[role] = 0;
		repository_publish(&m.repository);
		refuse_it(qmr_tuf_role_name(cases[i].role), "0 different keys");
		assert_non_null(strstr(m.events, cases[i].kept));
		assert_string_equal(m.events + strlen(m.events) - strlen(cases[i].kept),
				    cases[i].kept);
		m.repository.n_signers[role] = 1;
	}
}

static void network_errors_are_passed_on(void **unused)
{
	static const char *const paths[] = {"metadata/2.root.json", "metadata/timestamp.json",
					    "metadata/1.snapshot.json", "metadata/1.targets.json"};

	m.fail_path_with = -ETIMEDOUT;
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		m.fail_path = paths[i];
		assert_int_equal(refresh(), -ETIMEDOUT);
		assert_string_equal(m.err.text, "as the test wants it");
	}
}

static void missing_and_oversized_files_are_refused(void **unused)
{
	static const int codes[] = {-ENOENT, -EFBIG};

	for (size_t i = 0; i < 2; i++) {
		qmr_fetch_files_done(&m.kept.files);
		m.fail_path_with = codes[i];
		m.fail_path = "metadata/timestamp.json";
		refuse_it("timestamp", "metadata/timestamp.json");
		m.fail_path = "metadata/1.snapshot.json";
		refuse_it("snapshot", "metadata/1.snapshot.json");
		m.fail_path = "metadata/1.targets.json";
		refuse_it("targets", "metadata/1.targets.json");
	}
	m.fail_path = "metadata/2.root.json";
	refuse_it("root", "more than 512000");
}

static void edit_length(enum qmr_tuf_role role, json_t *content)
{
	if (role == QMR_TUF_TIMESTAMP)
		json_object_set_new(
			json_object_get(json_object_get(content, "meta"), "snapshot.json"),
			"length", json_integer(2000001));
}

static void signed_lengths_are_bounded_too(void **unused)
{
	m.repository.edit = edit_length;
	repository_publish(&m.repository);
	refuse_it("snapshot", "2000001, is more than 2000000");
	assert_null(strstr(m.events, "snapshot.json; keep"));
	assert_null(strstr(m.events, "get metadata/1.snapshot.json"));
}

static void expiry_is_against_the_start_time(void **unused)
{
	static const char *const expires = "2026-09-21T14:13:20Z"; /* REPOSITORY_NOW */

	for (int role = 0; role < QMR_TUF_ROLES; role++) {
		qmr_fetch_files_done(&m.kept.files);
		m.repository.expires[role] = expires;
		repository_publish(&m.repository);
		free(m.root);
		m.root = strdup(repository_get(&m.repository, "metadata/1.root.json")->data);
		m.root_size = strlen(m.root);
		/*
		 * Not expired one second before; expired in that second: it must be higher than the
		 * start time.
		 */
		m.now_unix_s = REPOSITORY_NOW - 1;
		accept_it();
		qmr_fetch_files_done(&m.kept.files);
		m.now_unix_s = REPOSITORY_NOW;
		refuse_it(qmr_tuf_role_name((enum qmr_tuf_role)role), "expired at");
		m.repository.expires[role] = "2030-01-01T00:00:00Z";
	}
}

static void cached_files_expire_too(void **unused)
{
	accept_it();
	m.now_unix_s = 1893456000; /* 2030-01-01 */
	m.repository.expires[QMR_TUF_ROOT] = "2031-01-01T00:00:00Z";
	m.repository.version[QMR_TUF_ROOT] = 2;
	repository_publish_root(&m.repository);
	refuse_it("timestamp", "expired at");
	m.repository.expires[QMR_TUF_TIMESTAMP] = "2031-01-01T00:00:00Z";
	m.repository.version[QMR_TUF_TIMESTAMP] = 2;
	repository_publish(&m.repository);
	refuse_it("snapshot", "expired at");
	m.repository.expires[QMR_TUF_SNAPSHOT] = "2031-01-01T00:00:00Z";
	m.repository.version[QMR_TUF_TIMESTAMP]++;
	m.repository.version[QMR_TUF_SNAPSHOT]++;
	repository_publish(&m.repository);
	refuse_it("targets", "expired at");
}

/* Under the same version another content: it is not what the timestamp names, so it is fetched. */
static void a_cached_snapshot_with_another_hash_is_not_used(void **unused)
{
	const struct qmr_fetch_file *kept;
	char *other;

	accept_it();
	kept = repository_get(&m.kept, "snapshot.json");
	other = malloc(kept->size + 2);
	snprintf(other, kept->size + 2, "%s\n", kept->data);
	repository_put(&m.kept, "snapshot.json", other, kept->size + 1);
	free(other);
	accept_it();
	assert_non_null(strstr(m.events, "get metadata/1.snapshot.json; keep snapshot.json; "));
}

static void damaged_caches_are_passed_over(void **unused)
{
	static const char *const names[] = {"root_history/2.root.json", "timestamp.json", "snapshot.json",
					    "targets.json"};

	m.repository.version[QMR_TUF_ROOT] = 2;
	repository_publish(&m.repository);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		accept_it();
		assert_non_null(repository_get(&m.kept, names[i]));
		repository_put(&m.kept, names[i], "{", 1);
		accept_it();
		assert_int_equal(m.client.trusted.root.version, 2);
		assert_int_not_equal(repository_get(&m.kept, names[i])->size, 1);
	}
}

/* The cache lies on the broken machine's disk: whoever writes there has no keys. */
static void forged_caches_are_passed_over(void **unused)
{
	static const char *const paths[][2] = {{"metadata/2.root.json", "root_history/2.root.json"},
					       {"metadata/timestamp.json", "timestamp.json"},
					       {"metadata/9.snapshot.json", "snapshot.json"},
					       {"metadata/9.targets.json", "targets.json"}};
	struct repository forged;

	repository_init(&forged);
	forged.version[QMR_TUF_ROOT] = 2;
	for (int role = QMR_TUF_TIMESTAMP; role < QMR_TUF_ROLES; role++)
		forged.version[role] = 9;
	repository_publish(&forged);
	for (size_t i = 0; i < 4; i++) {
		const struct qmr_fetch_file *file = repository_get(&forged, paths[i][0]);

		repository_put(&m.kept, paths[i][1], file->data, file->size);
	}
	accept_it();
	assert_int_equal(m.client.trusted.root.version, 1);
	assert_int_equal(m.client.trusted.timestamp.version, 1);
	repository_done(&forged);
}

static void edit_more_files(enum qmr_tuf_role role, json_t *content)
{
	if (role == QMR_TUF_SNAPSHOT)
		json_object_set_new(json_object_get(content, "meta"), "team.json",
				    json_pack("{s:i}", "version", 7));
}

static void listed_files_stay_listed(void **unused)
{
	m.repository.edit = edit_more_files;
	repository_publish(&m.repository);
	accept_it();
	m.repository.edit = NULL;
	bump_all();
	repository_publish(&m.repository);
	refuse_it("snapshot", "no longer lists 'team.json'");
}

/*
 * The old keys stay beside new ones, so that the kept timestamp still verifies: it goes
 * nevertheless.
 */
static void an_added_key_forgets_as_well(void **unused)
{
	m.repository.version[QMR_TUF_TIMESTAMP] = 1000;
	repository_publish(&m.repository);
	accept_it();
	m.repository.keys[QMR_TUF_TIMESTAMP][1] = repository_key_make("ed25519");
	m.repository.n_keys[QMR_TUF_TIMESTAMP] = 2;
	m.repository.version[QMR_TUF_TIMESTAMP] = 2;
	m.repository.version[QMR_TUF_ROOT] = 2;
	repository_publish(&m.repository);
	accept_it();
	assert_int_equal(m.client.trusted.timestamp.version, 2);
}

static void no_more_is_fetched_than_was_signed(void **unused)
{
	accept_it();
	assert_string_equal(m.events + strlen(m.events) - 48,
			    "get metadata/1.targets.json; keep targets.json; ");
	assert_int_equal(m.max_bytes,
			 repository_get(&m.repository, "metadata/1.targets.json")->size);
	/* Without a signed length the role's limit is what is left. */
	m.repository.has_hashes = 0;
	bump_all();
	repository_publish(&m.repository);
	accept_it();
	assert_int_equal(m.max_bytes, 5000000);
}

static void targets_are_what_was_signed(void **unused)
{
	char *data = NULL;
	size_t size = 0;
	char path[256] = "";

	accept_it();
	for (size_t i = 0; i < m.repository.files.n; i++)
		if (!strncmp(m.repository.files.items[i].name, "targets/", 8))
			snprintf(path, sizeof(path), "%s", m.repository.files.items[i].name);
	repository_put(&m.repository, path, "[]", 2);
	assert_int_equal(
		qmr_tuf_client_fetch_target(&m.client, "plans/1.json", &data, &size, &m.err),
		-EBADMSG);
	assert_non_null(strstr(m.err.text, "sha256"));
	repository_put(&m.repository, path, "{", 1);
	assert_int_equal(
		qmr_tuf_client_fetch_target(&m.client, "plans/1.json", &data, &size, &m.err),
		-EBADMSG);
	assert_non_null(strstr(m.err.text, "signed length"));
	repository_put(&m.repository, path, "{} ", 3);
	assert_int_equal(
		qmr_tuf_client_fetch_target(&m.client, "plans/1.json", &data, &size, &m.err),
		-EBADMSG);
	assert_non_null(strstr(m.err.text, "more than 2 bytes"));
	repository_put(&m.repository, path, NULL, 0);
	assert_int_equal(
		qmr_tuf_client_fetch_target(&m.client, "plans/1.json", &data, &size, &m.err),
		-EBADMSG);
	assert_non_null(strstr(m.err.text, "has no"));
	assert_null(data);
}

static void names_of_targets(void **unused)
{
	static const char *const good[] = {"a",   "a/b",   "plans/x.json", ".a",
					   "..a", "a/...", "a b",          "\xc3\xa9"};
	static const char *const bad[] = {"",    "/",    "/a",   "a/",     "a//b", ".",    "..",
					  "a/.", "a/..", "../a", "a/../b", "./a",  "a\nb", "a\x7f"};
	char *longest = malloc(514);

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_int_equal(qmr_tuf_target_name_is_plain(good[i]), 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(qmr_tuf_target_name_is_plain(bad[i]), 0);
	memset(longest, 'a', 513);
	longest[513] = '\0';
	assert_int_equal(qmr_tuf_target_name_is_plain(longest), 0);
	assert_int_equal(qmr_tuf_target_name_is_plain(longest + 1), 1);
	free(longest);
}

static void a_trusted_root_must_be_its_own(void **unused)
{
	char *sig = strstr(m.root, "\"sig\": \"") + 8;

	*sig = *sig == '0' ? '1' : '0';
	assert_int_equal(refresh(), -EBADMSG);
	assert_non_null(strstr(m.err.text, "trusted root of this system"));
	assert_string_equal(m.events, "");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_workflow_is_in_order),
		TEST(names_without_consistent_snapshots),
		TEST(at_most_256_roots_are_followed),
		TEST(each_root_needs_the_old_and_the_new_keys),
		TEST(cached_timestamp_goes_before_a_root_with_other_keys_is_kept),
		TEST(keys_of_other_roles_forget_nothing),
		TEST(nothing_unverified_is_kept),
		TEST(network_errors_are_passed_on),
		TEST(missing_and_oversized_files_are_refused),
		TEST(signed_lengths_are_bounded_too),
		TEST(expiry_is_against_the_start_time),
		TEST(cached_files_expire_too),
		TEST(a_cached_snapshot_with_another_hash_is_not_used),
		TEST(damaged_caches_are_passed_over),
		TEST(forged_caches_are_passed_over),
		TEST(listed_files_stay_listed),
		TEST(an_added_key_forgets_as_well),
		TEST(no_more_is_fetched_than_was_signed),
		TEST(targets_are_what_was_signed),
		TEST(names_of_targets),
		TEST(a_trusted_root_must_be_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
