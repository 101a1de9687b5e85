/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fetch-store.h"
#include "file.h"
#include "tuf-client.h"

static char folder[64];
static struct qmr_fetch_store store;
static char synced[1024]; /* what was synced, in order, relative to the folder, a space behind each */

int __wrap_fsync(int fd);

int __wrap_fsync(int fd)
{
	char link[64], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	assert_true(n >= (ssize_t)strlen(folder));
	path[n] = '\0';
	snprintf(synced + strlen(synced), sizeof(synced) - strlen(synced), ".%s ", path + strlen(folder));
	return 0;
}

static int set_up(void **unused)
{
	snprintf(folder, sizeof(folder), "/tmp/qmr-store-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	qmr_fetch_store_open(folder, &store);
	*synced = '\0';
	return store.fd < 0 ? -1 : 0;
}

static int tear_down(void **unused)
{
	qmr_fetch_store_done(&store);
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static void keeps(const char *name, const char *what_is_synced)
{
	char *data;
	size_t size;

	*synced = '\0';
	assert_int_equal(qmr_fetch_store_keep(&store, name, "{\"a\": 1}", 8, NULL), 0);
	assert_string_equal(what_is_synced, synced);
	assert_int_equal(0, qmr_fetch_store_fetch(&store, name, 8, &data, &size, NULL));
	assert_int_equal(8, size);
	assert_memory_equal("{\"a\": 1}", data, 8);
	free(data);
}

/* What the next run refuses to go below is on the disk before the run goes on: the file before its name. Nothing else is waited for. */
static void what_must_last_is_synced(void **unused)
{
	static const char root[] = ". ./root_history/2.root.json.qmr-new ./root_history ./root.json.qmr-new . ";

	for (int i = 0; i < 2; i++) { /* the second one replaces */
		keeps("timestamp.json", "./timestamp.json.qmr-new . ");
		keeps("snapshot.json", "./snapshot.json.qmr-new . ");
		keeps(QMR_TUF_KEPT_ROOTS "/2.root.json", root + 2 * i); /* the first one makes the folder */
		keeps("targets.json", "");
		keeps("bin-0a.json", "");
		keeps("root_history%2F2.root.json", "");
		keeps("1.root.json", "");
	}
}

static void forgetting_is_synced(void **unused)
{
	keeps("timestamp.json", "./timestamp.json.qmr-new . ");
	keeps("snapshot.json", "./snapshot.json.qmr-new . ");
	keeps("targets.json", "");
	*synced = '\0';
	qmr_fetch_store_forget(&store);
	assert_string_equal(". ", synced);
	assert_int_equal(-1, faccessat(store.fd, "timestamp.json", F_OK, 0));
	assert_int_equal(-1, faccessat(store.fd, "snapshot.json", F_OK, 0));
	assert_int_equal(0, faccessat(store.fd, "targets.json", F_OK, 0));
}

/* Names that a power cut may leave: of what was not renamed, and empty ones. */
static void what_a_cut_leaves(void **unused)
{
	char *data;
	size_t size;

	keeps("a.json", "");
	assert_int_equal(0, renameat(store.fd, "a.json", store.fd, "a.json.qmr-new"));
	assert_int_equal(qmr_fetch_store_keep(&store, "empty.json", "", 0, NULL), 0);
	assert_int_equal(0, mkdirat(store.fd, "folder.json", 0755));
	keeps("b.json", "");
	qmr_fetch_store_load(&store);
	assert_int_equal(-ENOENT, qmr_fetch_files_fetch(&store.files, "a.json", 8, &data, &size, NULL));
	assert_int_equal(0, qmr_fetch_files_fetch(&store.files, "b.json", 8, &data, &size, NULL));
	free(data);
	assert_true(qmr_fetch_store_keep(&store, "folder.json", "x", 1, NULL) < 0);
	keeps("a.json", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_must_last_is_synced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(forgetting_is_synced, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_a_cut_leaves, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
