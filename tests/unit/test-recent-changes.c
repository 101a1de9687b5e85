/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "file.h"
#include "json.h"
#include "recent-changes.h"

#define MODULE_FILE "/usr/lib/modules/6.1.0/updates/acme.ko"
#define AGE(boots) "\"restore_point\": 3, \"first_seen_unix_s\": 5, \"healthy_boots_before\": " #boots "}"
#define FILE_ENTRY(path) "{\"what\": \"file\", \"path\": \"" path "\", \"change\": \"modified\", \"secret\": 1, " AGE(4)
#define PACKAGE_ENTRY(name)                                                                                                \
	"{\"what\": \"package\", \"package\": \"" name "\", \"change\": \"upgrade\", \"from\": \"1\", \"to\": \"2\", " AGE(9)

static char folder[] = "/tmp/qmr-test-recent-XXXXXX";
static int root = -1, truncated;
static json_t *notes, *list;

static int set_up(void **unused)
{
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	root = mkdtemp(folder) ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	notes = json_array();
	list = NULL;
	truncated = 0;
	return root < 0 ? -1 : 0;
}

static int tear_down(void **unused)
{
	json_decref(notes);
	json_decref(list);
	close(root);
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static void write_file(const char *path, const char *text)
{
	char parent[256];

	snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(path, '/') - path - 1), path + 1);
	assert_int_equal(qmr_file_mkdirs(root, parent, 0755, NULL), 0);
	assert_int_equal(qmr_file_replace(root, path + 1, text, strlen(text), 0644, NULL), 0);
}

static void write_log(const char *entries)
{
	static char text[1 << 20];

	snprintf(text, sizeof(text), "{\"schema\": 1, \"healthy_boots\": 6, \"generation\": 2, \"entries\": [%s]}", entries);
	write_file("/var/lib/qmr/changes.json", text);
}

static void find(const char *module, const char *file)
{
	struct qmr_linker *linker = qmr_linker_new(root, module, file, notes);

	assert_non_null(linker);
	json_decref(list);
	list = qmr_recent_changes(root, linker, notes, &truncated);
	assert_non_null(list);
	qmr_linker_free(linker);
}

static const char *text_of(size_t i, const char *key)
{
	return qmr_json_string(json_array_get(list, i), key);
}

static json_int_t boots_since(size_t i)
{
	return json_integer_value(json_object_get(json_array_get(list, i), "healthy_boots_since"));
}

static void newest_first_with_link_and_boots(void **unused)
{
	write_file(MODULE_FILE, "/opt/acme/channels/%s");
	write_file("/etc/modprobe.d/a.conf", "options acme p=/srv/x/p.bin\n");
	write_file("/var/lib/qmr/changes-state.json", "{\"schema\": 1, \"generation\": 2, \"healthy_boots\": 8, \"boot\": \"b\"}");
	write_log(FILE_ENTRY(MODULE_FILE) ", " FILE_ENTRY("/opt/acme/channels/1.bin") ", " FILE_ENTRY("/srv/x/p.bin") ", " FILE_ENTRY(
		"/opt/other") ", {\"what\": \"later\", " AGE(1) ", {\"what\": \"kernel\", \"change\": \"modified\", \"from\": \"6.0\", "
						      "\"to\": \"6.1\", \"build\": \"#1\", " AGE(9));
	find("acme", MODULE_FILE);
	assert_int_equal(json_array_size(list), 5);
	assert_string_equal(text_of(0, "what"), "kernel");
	assert_string_equal(text_of(0, "to"), "6.1");
	assert_null(text_of(0, "link"));
	assert_int_equal(boots_since(0), 0); /* more than have been counted: never less than none */
	assert_null(text_of(1, "link"));
	assert_string_equal(text_of(2, "link"), "module-option");
	assert_string_equal(text_of(3, "link"), "module-string");
	assert_string_equal(text_of(4, "link"), "module-file");
	assert_string_equal(text_of(4, "change"), "modified");
	assert_true(json_is_null(json_object_get(json_array_get(list, 4), "old_sha256")));
	assert_int_equal(boots_since(4), 4);
	assert_null(json_object_get(json_array_get(list, 4), "secret"));
	assert_int_equal(json_array_size(notes), 0);
	assert_false(truncated);
}

static void a_sole_change_is_not_linked(void **unused)
{
	write_log(FILE_ENTRY("/opt/other"));
	find("acme", NULL);
	assert_null(text_of(0, "link"));
	assert_int_equal(boots_since(0), 2); /* without a counter: what the log knows */
	assert_int_equal(json_array_size(notes), 1);
	find(NULL, NULL);
	assert_null(text_of(0, "link"));
}

static void packages_by_their_files(void **unused)
{
	write_file(MODULE_FILE, "x");
	write_file("/var/lib/dpkg/info/driver.list", "/.\n/lib/modules/6.1.0/updates/acme.ko\n");
	write_file("/var/lib/dpkg/info/multi:i386.list", "/.\n/usr/lib/modules/6.1.0/updates/acme.ko\n/x\n");
	write_file("/var/lib/dpkg/info/near.list", "/usr/lib/modules/6.1.0/updates/acme.ko.xz\n/x" MODULE_FILE "\n");
	write_log(PACKAGE_ENTRY("driver:amd64") ", " PACKAGE_ENTRY("multi:i386") ", " PACKAGE_ENTRY("near:amd64") ", " PACKAGE_ENTRY(
		"gone:amd64") ", " PACKAGE_ENTRY("driver:amd64"));
	find("acme", MODULE_FILE);
	assert_string_equal(text_of(0, "link"), "package-file");
	assert_null(text_of(1, "link"));
	assert_null(text_of(2, "link"));
	assert_string_equal(text_of(3, "link"), "package-file");
	assert_string_equal(text_of(4, "link"), "package-file");
	assert_string_equal(text_of(4, "package"), "driver:amd64");
	find("acme", NULL);
	assert_null(text_of(4, "link"));
}

static void linked_ones_stay(void **unused)
{
	static char text[1 << 19];
	size_t used = (size_t)snprintf(text, sizeof(text), "%s", FILE_ENTRY(MODULE_FILE));

	for (int i = 0; i < 998; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, ", {\"what\": \"file\", \"path\": \"/opt/%d\", "
					 "\"change\": \"added\", " AGE(4), i);
	write_log(text);
	write_file(MODULE_FILE, "x");
	find("acme", MODULE_FILE);
	assert_int_equal(json_array_size(list), 200);
	assert_true(truncated);
	assert_string_equal(text_of(0, "path"), "/opt/997");
	assert_string_equal(text_of(198, "path"), "/opt/799");
	assert_string_equal(text_of(199, "link"), "module-file");
}

static void hostile_roots(void **unused)
{
	static const char *const bad[] = {"{", "{\"schema\": 1, \"healthy_boots\": 6, \"generation\": 2, \"entries\": 7}", "[]"};

	find("acme", MODULE_FILE);
	assert_int_equal(json_array_size(list), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		json_array_clear(notes);
		write_file("/var/lib/qmr/changes.json", bad[i]);
		find("acme", NULL);
		assert_int_equal(json_array_size(list), 0);
		assert_int_equal(json_array_size(notes), 1);
	}
	json_array_clear(notes);
	assert_int_equal(unlinkat(root, "var/lib/qmr/changes.json", 0), 0);
	assert_int_equal(mkfifoat(root, "var/lib/qmr/changes.json", 0600), 0);
	find("acme", NULL);
	assert_int_equal(json_array_size(notes), 1);
	/* A list of files that is none. */
	json_array_clear(notes);
	assert_int_equal(unlinkat(root, "var/lib/qmr/changes.json", 0), 0);
	write_file(MODULE_FILE, "x");
	write_log(PACKAGE_ENTRY("driver:amd64") ", " PACKAGE_ENTRY("out:amd64"));
	assert_int_equal(qmr_file_mkdirs(root, "var/lib/dpkg/info", 0755, NULL), 0);
	assert_int_equal(mkfifoat(root, "var/lib/dpkg/info/driver.list", 0600), 0);
	assert_int_equal(symlinkat("../../../../../../../../../../dev/zero", root, "var/lib/dpkg/info/out.list"), 0);
	find("acme", MODULE_FILE);
	assert_int_equal(json_array_size(list), 2);
	assert_null(text_of(0, "link"));
	assert_int_equal(json_array_size(notes), 2); /* and the log stands alone */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(newest_first_with_link_and_boots), T(a_sole_change_is_not_linked), T(packages_by_their_files),
		T(linked_ones_stay), T(hostile_roots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
