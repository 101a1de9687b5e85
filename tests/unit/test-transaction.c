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
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "boot-state.h"
#include "cleanup.h"
#include "file.h"
#include "json.h"
#include "transaction.h"

static char folder[] = "/var/tmp/qmr-test-transaction-XXXXXX";
static int root = -1;
static struct qmr_transactions transactions;

static void put(const char *path, const char *text)
{
	assert_int_equal(qmr_file_replace(root, path, text, strlen(text), 0640, NULL), 0);
}

static void assert_holds(const char *path, const char *text)
{
	cleanup_free char *data = NULL;
	size_t size;

	assert_int_equal(qmr_file_read(root, path, 4096, &data, &size, NULL), 0);
	assert_string_equal(data, text);
}

static int set_up(void **unused)
{
	struct qmr_error err = {0};

	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	root = mkdtemp(folder) ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (root < 0 || mkdirat(root, "opt", 0755) < 0)
		return -1;
	return qmr_transactions_open(root, 1, &transactions, &err);
}

static int tear_down(void **unused)
{
	qmr_transactions_close(&transactions);
	close(root);
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static int run(const struct qmr_changes *changes, struct qmr_journal *ret_journal)
{
	cleanup_json json_t *plan = json_object();
	struct qmr_error err = {0};
	int r = qmr_transaction_run(&transactions, changes, &(struct qmr_transaction_cause){.plan = "p"}, plan, ret_journal, &err);

	assert_true(r == 0 || err.text[0]);
	return r;
}

static void add_text(struct qmr_changes *changes, const char *path, const char *text)
{
	struct qmr_node node = {
		.type = QMR_NODE_FILE, .mode = 0600, .uid = geteuid(), .gid = getegid()};

	assert_int_equal(qmr_changes_add(changes, path, &node, NULL, text, NULL), 0);
}

static void paths_that_may_be_changed(void **unused)
{
	static const char *const good[] = {"/a",       "/a/..b/.c",     "/opt/..x",
					   "/procx/a", "/var/lib/qmrx", "/.a",
					   "/...",     "/a/b c"};
	static const char *const bad[] = {
		"",        "a",      "/",        "/a/",    "//a",          "/a//b",
		"/./a",    "/a/.",   "/..",      "/a/..",  "/a/../b",      "/proc",
		"/proc/1", "/sys/x", "/dev/sda", "/run/x", "/var/lib/qmr", "/var/lib/qmr/x"};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		if (!qmr_journal_path_is_allowed(good[i]))
			fail_msg("'%s' is refused", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (qmr_journal_path_is_allowed(bad[i]))
			fail_msg("'%s' is allowed", bad[i]);
	assert_false(qmr_journal_path_is_allowed(NULL));
}

static void module_names(void **unused)
{
	struct qmr_modules modules = {0};

	assert_int_equal(qmr_modules_add(&modules, "cs-agent", NULL), 0);
	assert_int_equal(qmr_modules_add(&modules, "cs_agent", NULL), 0);
	assert_int_equal(modules.n, 1);
	assert_true(qmr_modules_has(&modules, "cs_agent"));
	assert_int_equal(qmr_modules_add(&modules, "a b", NULL), -EINVAL);
	assert_int_equal(qmr_modules_add(&modules, "../x", NULL), -EINVAL);
	assert_int_equal(qmr_modules_add(&modules, "", NULL), -EINVAL);
	qmr_modules_remove(&modules, "cs_agent");
	assert_int_equal(modules.n, 0);
}

static void everything_belongs_to_a_file(void **unused)
{
	struct qmr_changes changes = {0}, back = {0};
	struct qmr_journal journal;
	struct qmr_node nothing = {0};
	char value[8] = "", incident[64], path[64];
	struct stat before, after;
	int has_xattrs;

	put("opt/f", "old");
	assert_int_equal(fchmodat(root, "opt/f", 04751, 0), 0);
	assert_int_equal(symlinkat("f", root, "opt/l"), 0);
	snprintf(path, sizeof(path), "%s/opt/f", folder);
	has_xattrs = setxattr(path, "user.qmr", "x", 1, 0) == 0;
	assert_int_equal(fstatat(root, "opt/f", &before, 0), 0);
	add_text(&changes, "/opt/f", "new");
	assert_int_equal(qmr_changes_add(&changes, "/opt/l", &nothing, NULL, NULL, NULL), 0);
	assert_int_equal(run(&changes, &journal), 0);
	assert_int_equal(journal.n_files, 2);
	assert_int_equal(journal.state, QMR_JOURNAL_COMMITTED);
	assert_holds("opt/f", "new");
	assert_int_equal(faccessat(root, "opt/l", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	qmr_journal_done(&journal);

	assert_int_equal(qmr_transaction_inverse(&transactions, 1, 0, &back, incident, NULL), 0);
	assert_int_equal(run(&back, &journal), 0);
	assert_holds("opt/f", "old");
	assert_int_equal(fstatat(root, "opt/f", &after, 0), 0);
	assert_int_equal(after.st_mode, before.st_mode);
	assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
	if (has_xattrs)
		assert_int_equal(getxattr(path, "user.qmr", value, sizeof(value)), 1);
	assert_int_equal(faccessat(root, "opt/l", F_OK, AT_SYMLINK_NOFOLLOW), 0);
	qmr_journal_done(&journal);
	qmr_changes_done(&changes);
	qmr_changes_done(&back);
}

static void a_bad_source_changes_nothing(void **unused)
{
	struct qmr_node node = {.type = QMR_NODE_FILE, .mode = 0600};
	struct qmr_changes changes = {0};
	struct qmr_journal journal;
	cleanup_free uint64_t *ids = NULL;

	put("opt/a", "old");
	put("opt/source", "damaged");
	memset(node.sha256, '0', 64);
	add_text(&changes, "/opt/a", "new");
	assert_int_equal(qmr_changes_add(&changes, "/opt/b", &node, "/opt/source", NULL, NULL), 0);
	assert_int_equal(run(&changes, &journal), -EBADMSG);
	assert_holds("opt/a", "old");
	assert_int_equal(qmr_numbered_list(transactions.fd, &ids, NULL), 0);
	qmr_changes_done(&changes);
}

static void the_last_change_of_a_path_counts(void **unused)
{
	struct qmr_changes changes = {0};
	struct qmr_node nothing = {0};
	struct qmr_journal journal;

	put("opt/a", "old");
	assert_int_equal(qmr_changes_add(&changes, "/opt/a", &nothing, NULL, NULL, NULL), 0);
	add_text(&changes, "/opt/a", "new");
	assert_int_equal(changes.n, 1);
	assert_int_equal(run(&changes, &journal), 0);
	assert_holds("opt/a", "new");
	qmr_journal_done(&journal);
	qmr_changes_done(&changes);
}

static void block_list_of_the_boot_state(void **unused)
{
	static const uint8_t uuid[16] = {1};
	struct qmr_changes changes = {0}, back = {0};
	struct qmr_state state;
	struct qmr_journal journal;
	struct qmr_error err = {0};
	char incident[64];

	qmr_state_init(&state, uuid);
	assert_int_equal(qmr_state_block_module(&state, "other", &err), 0);
	if (qmr_state_save(&state, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(qmr_modules_add(&changes.block, "cs-agent", NULL), 0);
	assert_int_equal(run(&changes, &journal), 0);
	assert_int_equal(journal.block.n, 2);
	assert_int_equal(journal.old_block.n, 1);
	qmr_journal_done(&journal);
	assert_int_equal(qmr_state_load(uuid, &state, &err), 0);
	assert_string_equal(state.modules[0], "other");
	assert_string_equal(state.modules[1], "cs_agent");

	assert_int_equal(qmr_transaction_inverse(&transactions, 1, 0, &back, incident, NULL), 0);
	assert_int_equal(run(&back, &journal), 0);
	qmr_journal_done(&journal);
	assert_int_equal(qmr_state_load(uuid, &state, &err), 0);
	assert_string_equal(state.modules[0], "other");
	assert_string_equal(state.modules[1], "");
	qmr_changes_done(&changes);
	qmr_changes_done(&back);
}

static void only_one_at_a_time(void **unused)
{
	struct qmr_transactions second;
	struct qmr_error err = {0};

	assert_int_equal(qmr_transactions_open(root, 1, &second, &err), -EBUSY);
}

#define NODE                                                                                       \
	"{\"type\": \"file\", \"mode\": 420, \"uid\": 0, \"gid\": 0, \"size\": 1, \"mtime_ns\": "  \
	"1, \"sha256\": \""                                                                        \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}"
#define JOURNAL(state, n, path, old, new, modules)                                                 \
	"{\"schema\": 1, \"id\": 1, \"plan\": \"p\", \"incident\": null, \"state\": \"" state      \
	"\", \"files\": [{\"n\": " n ", \"path\": \"" path "\", \"old\": " old                     \
	", \"new\": " new "}], \"block_modules\": " modules ", \"old_block_modules\": []}"

static int parse(const char *text)
{
	cleanup_json json_t *json = NULL;
	cleanup_json json_t *again = NULL;
	struct qmr_journal journal;
	int r = qmr_json_parse("test", text, strlen(text), &json, NULL);

	if (r == 0)
		r = qmr_journal_from_json(json, &journal, NULL);
	if (r < 0)
		return r;
	again = qmr_journal_to_json(&journal);
	assert_true(json_equal(json, again));
	qmr_journal_done(&journal);
	return 0;
}

static void journals(void **unused)
{
	static const char *const bad[] = {
		"{}",
		JOURNAL("done", "1", "/a", NODE, "null", "[]"),
		JOURNAL("prepared", "2", "/a", NODE, "null", "[]"),
		JOURNAL("prepared", "1", "/proc/a", NODE, "null", "[]"),
		JOURNAL("prepared", "1", "/a/../b", NODE, "null", "[]"),
		JOURNAL("prepared", "1", "/a", "{}", "null", "[]"),
		JOURNAL("prepared", "1", "/a", "7", "null", "[]"),
		JOURNAL("prepared", "1", "/a", NODE,
			"{\"type\": \"symlink\", \"uid\": 0, \"gid\": 0}", "[]"),
		JOURNAL("prepared", "1", "/a", NODE, "null", "{}"),
		JOURNAL("prepared", "1", "/a", NODE, "null", "[7]"),
		JOURNAL("prepared", "1", "/a", NODE, "null", "[\"a/b\"]"),
		"{\"schema\": 1, \"id\": 1, \"plan\": \"p\", \"state\": \"prepared\", \"files\": "
		"[]}",
	};

	assert_int_equal(parse(JOURNAL("prepared", "1", "/a", NODE, "null", "[]")), 0);
	assert_int_equal(parse(JOURNAL("committed", "1", "/a", "null", NODE, "[\"m\"]")), 0);
	assert_int_equal(
		parse(JOURNAL("undone", "1", "/a", "null",
			      "{\"type\": \"symlink\", \"target\": \"x\", \"uid\": 0, \"gid\": 0}",
			      "[]")),
		0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (parse(bad[i]) != -EBADMSG)
			fail_msg("case %zu is accepted", i);
}

/* libefivar looks for the variables when it is loaded. */
static int run_again(char **argv)
{
	char variables[] = "/tmp/qmr-test-efivars-XXXXXX", path[64];

	if (!mkdtemp(variables))
		return 1;
	snprintf(path, sizeof(path), "%s/", variables);
	setenv("EFIVARFS_PATH", path, 1);
	execv("/proc/self/exe", argv);
	return 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_that_may_be_changed),
		cmocka_unit_test(module_names),
		cmocka_unit_test(journals),
		cmocka_unit_test_setup_teardown(everything_belongs_to_a_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_bad_source_changes_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_last_change_of_a_path_counts, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(block_list_of_the_boot_state, set_up, tear_down),
		cmocka_unit_test_setup_teardown(only_one_at_a_time, set_up, tear_down),
	};
	int failed;

	if (!getenv("EFIVARFS_PATH"))
		return run_again(argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	(void)!qmr_file_remove_tree(AT_FDCWD, getenv("EFIVARFS_PATH"),
				    NULL); /* the result is that of the tests */
	return failed;
}
