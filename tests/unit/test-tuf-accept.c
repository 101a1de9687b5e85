/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fetch-run.h"
#include "file.h"
#include "test-tuf-repository.h"

/*
 * The parent of remediation-fetch, whose child has been taken over: it may say anything, and gains
 * nothing by it.
 */

static struct repository repository;
static struct qmr_fetch_files said; /* by the child */
static struct qmr_error result;     /* the same */
static struct qmr_fetch_store store;
static struct qmr_tuf_client client;
static struct qmr_fetch_update update;
static struct qmr_error err;
static char folder[64], *root;

static void say(const char *path)
{
	const struct qmr_fetch_file *file = repository_get(&repository, path);

	assert_non_null(file);
	assert_int_equal(qmr_fetch_files_add(&said, path, file->data, file->size, NULL), 0);
}

static const char *plan_path(void)
{
	for (size_t i = 0; i < repository.files.n; i++)
		if (!strncmp(repository.files.items[i].name, "targets/", 8))
			return repository.files.items[i].name;
	fail();
	return NULL;
}

static int set_up(void **unused)
{
	repository_init(&repository);
	repository_publish(&repository);
	root = strdup(repository_get(&repository, "metadata/1.root.json")->data);
	snprintf(folder, sizeof(folder), "/tmp/qmr-accept-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	qmr_fetch_store_open(folder, &store);
	qmr_fetch_store_load(&store);
	memset(&result, 0, sizeof(result));
	memset(&client, 0, sizeof(client));
	return 0;
}

static int tear_down(void **unused)
{
	qmr_tuf_client_done(&client);
	qmr_fetch_update_done(&update);
	qmr_fetch_store_done(&store);
	qmr_fetch_files_done(&said);
	repository_done(&repository);
	free(root);
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static int run(void)
{
	const struct qmr_fetch_job job = {.root = root,
					  .root_size = strlen(root),
					  .now_unix_s = REPOSITORY_NOW,
					  .store = &store};

	err = (struct qmr_error){0};
	return qmr_fetch_accept(&job, &said, &result, &client, &update, &err);
}

static int is_kept(const char *name)
{
	return faccessat(store.fd, name, F_OK, 0) == 0;
}

static void say_metadata(void)
{
	say("metadata/timestamp.json");
	say("metadata/1.snapshot.json");
	say("metadata/1.targets.json");
}

static void what_an_honest_child_says_is_accepted(void **unused)
{
	say_metadata();
	say(plan_path());
	if (run() < 0)
		fail_msg("%s", err.text);
	assert_int_equal(update.plans.n, 1);
	assert_string_equal(update.plans.items[0].name, "plans/1.json");
	assert_string_equal(update.plans.items[0].data, "{}");
	assert_true(is_kept("timestamp.json") && is_kept("snapshot.json") &&
		    is_kept("targets.json"));
}

static void metadata_signed_by_others_is_refused(void **unused)
{
	struct repository other;

	repository_init(&other);
	repository_publish(&other);
	repository_put(&repository, "metadata/timestamp.json",
		       repository_get(&other, "metadata/timestamp.json")->data,
		       repository_get(&other, "metadata/timestamp.json")->size);
	say_metadata();
	say(plan_path());
	assert_int_equal(run(), -EBADMSG);
	assert_int_equal(update.plans.n, 0);
	assert_false(is_kept("timestamp.json"));
	repository_done(&other);
}

static void a_root_signed_by_others_is_refused(void **unused)
{
	struct repository other;

	repository_init(&other);
	other.version[QMR_TUF_ROOT] = 2;
	repository_publish(&other);
	repository_put(&repository, "metadata/2.root.json",
		       repository_get(&other, "metadata/2.root.json")->data,
		       repository_get(&other, "metadata/2.root.json")->size);
	say("metadata/2.root.json");
	say_metadata();
	assert_int_equal(run(), -EBADMSG);
	assert_false(is_kept("root_history/2.root.json"));
	repository_done(&other);
}

static void a_changed_plan_is_refused(void **unused)
{
	char path[256];

	snprintf(path, sizeof(path), "%s", plan_path());
	repository_put(&repository, path, "[]", 2);
	say_metadata();
	say(path);
	assert_int_equal(run(), -EBADMSG);
	assert_non_null(strstr(err.text, "sha256"));
	assert_int_equal(update.plans.n, 0);
}

static void a_plan_that_is_kept_back_is_missed(void **unused)
{
	say_metadata();
	assert_int_equal(run(), -EBADMSG);
	assert_non_null(strstr(err.text, "the repository has no"));
}

static void files_out_of_order_are_refused(void **unused)
{
	say("metadata/1.snapshot.json");
	say("metadata/timestamp.json");
	say("metadata/1.targets.json");
	assert_int_equal(run(), -EBADMSG);
}

static void the_childs_error_is_the_runs(void **unused)
{
	(void)qmr_error_set(&result, -ETIMEDOUT, "as the child said");
	assert_int_equal(run(), -ETIMEDOUT);
	assert_string_equal(err.text, "as the child said");
}

static void what_came_before_an_error_is_kept(void **unused)
{
	repository.version[QMR_TUF_ROOT] = 2;
	repository_publish(&repository);
	say("metadata/2.root.json");
	say("metadata/timestamp.json");
	(void)qmr_error_set(&result, -EBADMSG, "snapshot: as the child said");
	assert_int_equal(run(), -EBADMSG);
	assert_string_equal(err.text, "snapshot: as the child said");
	assert_true(is_kept("root_history/2.root.json") && is_kept("root.json") && is_kept("timestamp.json"));
	assert_false(is_kept("snapshot.json"));
}

/* Withholding what was seen before is all that is left to it, as to any network. */
static void older_metadata_is_refused(void **unused)
{
	repository.version[QMR_TUF_TIMESTAMP] = 7;
	repository_publish(&repository);
	say_metadata();
	say(plan_path());
	assert_int_equal(run(), 0);
	qmr_fetch_store_done(&store);
	qmr_fetch_store_open(folder, &store);
	qmr_fetch_store_load(&store);
	qmr_fetch_files_done(&said);
	qmr_fetch_update_done(&update);
	qmr_tuf_client_done(&client);
	repository.version[QMR_TUF_TIMESTAMP] = 6;
	repository_publish(&repository);
	say_metadata();
	assert_int_equal(run(), -EBADMSG);
	assert_non_null(strstr(err.text, "rollback"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_an_honest_child_says_is_accepted),
		TEST(metadata_signed_by_others_is_refused),
		TEST(a_root_signed_by_others_is_refused),
		TEST(a_changed_plan_is_refused),
		TEST(a_plan_that_is_kept_back_is_missed),
		TEST(files_out_of_order_are_refused),
		TEST(the_childs_error_is_the_runs),
		TEST(what_came_before_an_error_is_kept),
		TEST(older_metadata_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
