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
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

#include "change-log-update.h"
#include "change-log.h"
#include "file.h"
#include "json.h"

#define LOG "var/lib/qmr/" QMR_CHANGE_LOG_FILE
#define STATE "var/lib/qmr/" QMR_CHANGE_LOG_STATE_FILE
#define INITRD "boot/initrd.img-6.1"

static char folder[] = "/tmp/qmr-test-change-log-XXXXXX";
static int root = -1;
static struct qmr_config config;
static struct qmr_restore_point previous;
static uint64_t newest;
static json_t *log_json, *where;

static int set_up(void **unused)
{
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	root = mkdtemp(folder) ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	qmr_config_defaults(&config);
	config.n_watch = 1;
	strcpy(config.watch[0], "/opt");
	newest = 0;
	log_json = where = NULL;
	return root < 0 ? -1 : qmr_file_mkdirs(root, "var/lib/qmr/restore-points", 0755, NULL);
}

static int tear_down(void **unused)
{
	json_decref(log_json);
	json_decref(where);
	qmr_restore_point_done(&previous);
	close(root);
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static void write_file(const char *path, const char *text)
{
	char parent[256];

	snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(path, '/') - path), path);
	assert_int_equal(qmr_file_mkdirs(root, parent, 0755, NULL), 0);
	assert_int_equal(qmr_file_replace(root, path, text, strlen(text), 0644, NULL), 0);
}

/* A restore point of files that are named after their content: "/opt/a=1" is /opt/a with a hash of ones. */
static void write_point(uint64_t id, const char *files, const char *skipped)
{
	cleanup_json json_t *list = json_array(), *manifest = NULL;
	char path[128], words[512], hash[65];

	snprintf(words, sizeof(words), "%s", files);
	for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) {
		char *equals = strchr(word, '=');

		memset(hash, equals[1], 64);
		hash[64] = '\0';
		*equals = '\0';
		json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:s}", "path", word, "type", "file",
						      "mode", 420, "uid", 0, "gid", 0, "size", 1, "mtime_ns", 1, "sha256", hash));
	}
	manifest = json_pack("{s:i, s:I, s:i, s:s, s:O, s:[{s:s, s:s}]}", "schema", 1, "id", (json_int_t)id, "taken_unix_s", 5,
			     "kernel", "6.1", "files", list, "skipped", "path", skipped, "why", "large");
	assert_non_null(manifest);
	snprintf(path, sizeof(path), "var/lib/qmr/restore-points/%llu", (unsigned long long)id);
	assert_int_equal(qmr_file_mkdirs(root, path, 0700, NULL), 0);
	strcat(path, "/manifest.json");
	assert_int_equal(qmr_json_save(root, path, manifest, 0600, NULL), 0);
	newest = id;
}

static void update(const char *boot)
{
	struct qmr_change_log_run run = {
		.root_fd = root, .config = &config, .boot = boot, .previous = &previous, .newest = newest};
	struct qmr_error err = {0};

	if (qmr_change_log_update(&run, &err) < 0)
		fail_msg("%s", err.text);
	json_decref(log_json);
	json_decref(where);
	log_json = where = NULL;
	if (qmr_json_load(root, LOG, 1 << 24, &log_json, &err) < 0)
		log_json = json_object(); /* there was no change yet */
	assert_int_equal(qmr_json_load(root, STATE, 1 << 24, &where, &err), 0);
	qmr_restore_point_done(&previous);
	if (newest)
		assert_int_equal(qmr_restore_point_load(root, newest, &previous, NULL), 0);
}

static size_t n_entries(void)
{
	return json_array_size(json_object_get(log_json, "entries"));
}

static const json_t *entry(size_t i)
{
	return json_array_get(json_object_get(log_json, "entries"), i);
}

static void assert_entry(size_t i, const char *what, const char *path, const char *change)
{
	assert_string_equal(qmr_json_string(entry(i), "what"), what);
	assert_string_equal(qmr_json_string(entry(i), "path"), path);
	assert_string_equal(qmr_json_string(entry(i), "change"), change);
}

static json_int_t boots(void)
{
	return json_integer_value(json_object_get(where, "healthy_boots"));
}

static void files_between_restore_points(void **unused)
{
	write_point(1, "/opt/a=1 /opt/b=1 /opt/c=1 /opt/large=1", "/opt/l2");
	update("1");
	assert_int_equal(n_entries(), 0);
	write_point(2, "/opt/a=1 /opt/b=2 /opt/d=1 /opt/l2=1", "/opt/large");
	update("2");
	assert_int_equal(n_entries(), 3);
	assert_entry(0, "file", "/opt/b", "modified");
	assert_entry(1, "file", "/opt/c", "removed");
	assert_entry(2, "file", "/opt/d", "added");
	assert_int_equal(json_integer_value(json_object_get(entry(0), "healthy_boots_before")), 1);
	assert_int_equal(json_integer_value(json_object_get(entry(0), "restore_point")), 2);
	update("3");
	assert_int_equal(n_entries(), 3);
	assert_int_equal(boots(), 3);
}

/* Restore point 2 came to be, the log did not. */
static void a_cut_before_the_log_loses_nothing(void **unused)
{
	write_point(1, "/opt/a=1", "");
	update("1");
	write_point(2, "/opt/a=2", "");
	qmr_restore_point_done(&previous);
	assert_int_equal(qmr_restore_point_load(root, 2, &previous, NULL), 0);
	update("2"); /* nothing changed since 2 */
	assert_int_equal(n_entries(), 1);
	write_point(3, "/opt/a=3", "");
	update("3");
	assert_int_equal(n_entries(), 2);
}

static void a_restore_point_that_is_gone(void **unused)
{
	write_point(5, "/opt/a=1", "");
	update("1");
	assert_int_equal(qmr_file_remove_tree(root, "var/lib/qmr/restore-points/5", NULL), 0);
	qmr_restore_point_done(&previous);
	write_point(1, "/opt/a=2", "");
	update("2");
	assert_int_equal(n_entries(), 0);
	write_point(2, "/opt/a=3", "");
	update("3");
	assert_int_equal(n_entries(), 1);
}

static void other_watched_paths(void **unused)
{
	write_point(1, "/opt/a=1 /opt/b=1", "");
	update("1");
	strcpy(config.watch[0], "/srv");
	write_point(2, "/opt/a=2 /srv/c=1", "");
	update("2");
	assert_int_equal(n_entries(), 1);
	assert_entry(0, "file", "/opt/a", "modified");
	write_point(3, "/opt/a=2 /srv/c=1 /srv/d=1", "");
	update("3");
	assert_int_equal(n_entries(), 2);
}

static void boots_are_counted_once(void **unused)
{
	write_point(1, "/opt/a=1", "");
	update("b1");
	update("b1");
	update(NULL);
	assert_int_equal(boots(), 1);
	update("b2");
	assert_int_equal(boots(), 2);
	write_point(2, "/opt/a=2", "");
	update(NULL); /* a change that this boot did not begin with */
	assert_int_equal(json_integer_value(json_object_get(entry(0), "healthy_boots_before")), 2);
	assert_int_equal(unlinkat(root, STATE, 0), 0);
	update("b3");
	assert_int_equal(boots(), 3); /* changes.json knew of two */
	write_file(STATE, "{\"schema\": 1, \"healthy_boots\": -7");
	update("b4");
	assert_int_equal(boots(), 3); /* again from two: the least that is known */
	assert_int_equal(n_entries(), 1);
}

static void nothing_changed_leaves_the_log_alone(void **unused)
{
	write_file(INITRD, "one");
	write_file("var/log/dpkg.log", "2026-11-20 06:10:11 upgrade a:amd64 1 2\n");
	write_point(1, "/opt/a=1", "");
	update("1");
	assert_int_equal(mkfifoat(root, LOG, 0600), 0); /* it is not even opened, or there would be a warning and a new one */
	update("2");
	assert_int_equal(unlinkat(root, LOG, 0), 0);
	assert_int_equal(boots(), 2);
	update(NULL);
	assert_int_equal(boots(), 2);
}

/* The log was written, where it stands was not: what is found again is noted once, what is no longer so goes. */
static void a_cut_between_the_files_doubles_nothing(void **unused)
{
	cleanup_json json_t *before = NULL;

	write_file("var/log/dpkg.log", "");
	write_point(1, "/opt/a=1 /opt/b=1", "");
	update("1");
	write_point(2, "/opt/a=2 /opt/b=1", "");
	update("2");
	before = json_incref(where);
	write_file("var/log/dpkg.log", "2026-11-20 06:10:11 upgrade a:amd64 1 2\n");
	write_point(3, "/opt/a=3 /opt/b=2", "");
	update("3");
	assert_int_equal(n_entries(), 4);
	assert_int_equal(qmr_json_save(root, STATE, before, 0600, NULL), 0);
	write_point(4, "/opt/a=3 /opt/b=1", "");
	update("4");
	assert_int_equal(n_entries(), 3);
	assert_entry(0, "file", "/opt/a", "modified");
	assert_string_equal(qmr_json_string(entry(1), "package"), "a:amd64");
	assert_entry(2, "file", "/opt/a", "modified");
	assert_int_equal(boots(), 3);
	write_point(5, "/opt/a=5 /opt/b=1", "");
	update("5");
	assert_int_equal(n_entries(), 4); /* and nothing is taken back once both are written */
}

static void images_by_time_and_content(void **unused)
{
	struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

	write_file(INITRD, "one");
	write_file("boot/efi/EFI/Linux/a.efi", "uki");
	write_file("boot/efi/EFI/Linux/qmr-recovery.efi", "recovery");
	write_file("efi/0123456789abcdef0123456789abcdef/6.1/initrd.img-6.1", "two");
	update("1");
	assert_int_equal(n_entries(), 0);
	assert_int_equal(json_array_size(json_object_get(where, "images")), 3);
	assert_int_equal(utimensat(root, INITRD, times, 0), 0);
	write_file("boot/efi/EFI/Linux/qmr-recovery.efi", "another");
	update("2");
	assert_int_equal(n_entries(), 0); /* the same content */
	write_file(INITRD, "ONE");
	assert_int_equal(utimensat(root, INITRD, times, 0), 0); /* same size and mtime: ctime tells */
	write_file("boot/initrd.img-6.2", "new");
	update("3");
	assert_int_equal(n_entries(), 2);
	for (size_t i = 0; i < 2; i++) /* folders are read in no order */
		if (!strcmp(qmr_json_string(entry(i), "path"), "/" INITRD))
			assert_entry(i, "initramfs", "/" INITRD, "modified");
		else
			assert_entry(i, "initramfs", "/boot/initrd.img-6.2", "added");
	assert_int_equal(unlinkat(root, "boot/initrd.img-6.2", 0), 0);
	assert_int_equal(renameat(root, "efi", root, "hidden"), 0); /* as if it were not mounted */
	update("4");
	assert_int_equal(n_entries(), 3);
	assert_entry(2, "initramfs", "/boot/initrd.img-6.2", "removed");
	assert_int_equal(renameat(root, "hidden", root, "efi"), 0);
	update("5");
	assert_int_equal(n_entries(), 3);
}

static void images_that_are_links_or_large(void **unused)
{
	int fd;

	update("1");
	write_file("secret/initrd", "one");
	assert_int_equal(qmr_file_mkdirs(root, "boot", 0755, NULL), 0);
	assert_int_equal(symlinkat("/secret/initrd", root, "boot/initrd.img-link"), 0);
	assert_int_equal(mkfifoat(root, "boot/initrd.img-fifo", 0600), 0);
	write_file("boot/initrd.img-large", "");
	fd = openat(root, "boot/initrd.img-large", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 600LL << 20), 0);
	close(fd);
	update("2");
	assert_int_equal(n_entries(), 0);
}

static void packages_and_kernel(void **unused)
{
	cleanup_json json_t *kernel = json_pack("{s:s, s:s}", "release", "5.10.0-1-amd64", "build", "#1");
	struct utsname system;

	write_file("var/log/dpkg.log", "2026-11-20 06:10:11 upgrade a:amd64 1 2\n");
	update("1");
	write_file("var/log/dpkg.log", "2026-11-20 06:10:11 upgrade a:amd64 1 2\n2026-11-20 06:10:12 install b:all <none> 3\n");
	json_object_set(where, "kernel", kernel);
	assert_int_equal(qmr_json_save(root, STATE, where, 0600, NULL), 0);
	update("2");
	assert_int_equal(n_entries(), 2);
	assert_string_equal(qmr_json_string(entry(0), "package"), "b:all");
	assert_string_equal(qmr_json_string(entry(0), "change"), "install");
	assert_true(json_is_null(json_object_get(entry(0), "from")));
	assert_string_equal(qmr_json_string(entry(0), "to"), "3");
	assert_int_equal(uname(&system), 0);
	assert_string_equal(qmr_json_string(entry(1), "from"), "5.10.0-1-amd64");
	assert_string_equal(qmr_json_string(entry(1), "to"), system.release);
	/* The place in the log is lost, and all of it comes again: what is noted stays noted once. */
	json_object_set_new(json_object_get(json_object_get(where, "packages"), "dpkg"), "mark", json_string("lost"));
	assert_int_equal(qmr_json_save(root, STATE, where, 0600, NULL), 0);
	write_file("var/log/dpkg.log", "2026-11-20 06:10:12 install b:all <none> 3\n2026-11-20 06:10:13 remove b:all 3 <none>\n");
	update("3");
	assert_int_equal(n_entries(), 3);
	assert_string_equal(qmr_json_string(entry(2), "change"), "remove");
}

static void a_damaged_log_starts_anew(void **unused)
{
#define HEAD "{\"schema\": 1, \"healthy_boots\": 1, \"generation\": 1, \"entries\": "
#define AGE "\"restore_point\": 1, \"first_seen_unix_s\": 1, \"healthy_boots_before\": 1"
	static const char *const bad[] = {
		"", "[]", "{\"schema\": 1}", "{\"schema\": 2, \"healthy_boots\": 1, \"generation\": 1, \"entries\": []}",
		"{\"schema\": 1, \"healthy_boots\": -1, \"generation\": 1, \"entries\": []}",
		"{\"schema\": 1, \"healthy_boots\": 1, \"generation\": 9223372036854775807, \"entries\": []}", HEAD "{}}", HEAD "[7]}",
		HEAD "[{\"what\": \"file\", \"path\": \"/a\", \"change\": \"added\"}]}",
		HEAD "[{\"what\": \"file\", \"path\": \"a\", \"change\": \"added\", " AGE "}]}",
		HEAD "[{\"what\": \"package\", \"package\": \"../a\", \"change\": \"x\", " AGE "}]}",
	};
	char boot[8], files[32];

	write_point(1, "/opt/a=1", "");
	update("start");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(boot, sizeof(boot), "%zu", i);
		snprintf(files, sizeof(files), "/opt/a=%c", "abcdef"[i % 6]);
		write_file(LOG, bad[i]);
		write_point(i + 2, files, "");
		update(boot);
		assert_int_equal(n_entries(), 1);
		assert_int_equal(boots(), i + 2); /* the counter is in the other file */
	}
	assert_int_equal(unlinkat(root, LOG, 0), 0);
	assert_int_equal(symlinkat("/etc/passwd", root, LOG), 0);
	write_point(30, "/opt/a=1", "");
	update("x");
	assert_int_equal(n_entries(), 1);
}

static void a_damaged_state_begins_at_what_is(void **unused)
{
	static const char *const bad[] = {"", "{\"schema\": 2, \"healthy_boots\": 9, \"generation\": 1}",
					  "{\"schema\": 1, \"healthy_boots\": 9}",
					  "{\"schema\": 1, \"healthy_boots\": 9, \"generation\": 1, \"boot\": 7}"};

	write_file("var/log/dpkg.log", "2026-11-20 06:10:11 upgrade a:amd64 1 2\n");
	write_file(INITRD, "one");
	write_point(1, "/opt/a=1", "");
	update("1");
	write_point(2, "/opt/a=2", "");
	update("2");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		write_file(STATE, bad[i]);
		update("3");
		assert_int_equal(n_entries(), 1);
		assert_int_equal(boots(), 3);
	}
	write_point(3, "/opt/a=3", "");
	update("4");
	assert_int_equal(n_entries(), 2);
	assert_int_equal(json_integer_value(json_object_get(entry(1), "healthy_boots_before")), 3);
}

static void bounded_and_kept(void **unused)
{
	static char text[1200 * 64];
	size_t used = 0;

	write_file("var/log/dpkg.log", "");
	write_point(1, "/opt/a=0", "");
	update("1");
	write_point(2, "/opt/a=1", "");
	update("1");
	json_array_append_new(json_object_get(log_json, "entries"),
			      json_pack("{s:s, s:i, s:i, s:i}", "what", "later-kind", "restore_point", 1, "first_seen_unix_s", 1,
					"healthy_boots_before", 0));
	assert_int_equal(qmr_json_save(root, LOG, log_json, 0600, NULL), 0);
	write_file("var/log/dpkg.log", "2026-11-20 06:10:11 upgrade first:amd64 1 2\n");
	update("2");
	assert_int_equal(n_entries(), 3);
	assert_string_equal(qmr_json_string(entry(1), "what"), "later-kind");
	for (int i = 0; i < 1100; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "2026-11-20 06:10:12 upgrade p%d:amd64 1 2\n", i);
	write_file("var/log/dpkg.log.1", "2026-11-20 06:10:11 upgrade first:amd64 1 2\n");
	write_file("var/log/dpkg.log", text);
	update("3");
	write_point(3, "/opt/a=2", "");
	update("4");
	assert_int_equal(n_entries(), QMR_CHANGE_LOG_ENTRIES_MAX);
	assert_entry(999, "file", "/opt/a", "modified");
	assert_string_equal(qmr_json_string(entry(0), "package"), "p101:amd64");
	assert_int_equal(json_integer_value(json_object_get(log_json, "dropped")), 104);
}

/* What fails halfway leaves nothing behind; the other parts are noted. */
static void a_part_that_fails(void **unused)
{
	write_file(INITRD, "one");
	write_point(1, "/opt/a=1", "");
	update("1");
	write_file(INITRD, "another");
	assert_int_equal(symlinkat("efi", root, "efi"), 0); /* cannot be looked at, after /boot was */
	write_point(2, "/opt/a=2", "");
	update("2");
	assert_int_equal(n_entries(), 1);
	assert_entry(0, "file", "/opt/a", "modified");
	assert_int_equal(unlinkat(root, "efi", 0), 0);
	update("3");
	assert_int_equal(n_entries(), 2);
	assert_entry(1, "initramfs", "/" INITRD, "modified");
	assert_false(json_equal(json_object_get(entry(1), "old_sha256"), json_object_get(entry(1), "new_sha256")));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(files_between_restore_points), T(a_cut_before_the_log_loses_nothing), T(a_restore_point_that_is_gone),
		T(other_watched_paths), T(boots_are_counted_once), T(nothing_changed_leaves_the_log_alone), T(a_cut_between_the_files_doubles_nothing),
		T(images_by_time_and_content), T(images_that_are_links_or_large), T(packages_and_kernel),
		T(a_damaged_log_starts_anew), T(a_damaged_state_begins_at_what_is), T(bounded_and_kept), T(a_part_that_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
