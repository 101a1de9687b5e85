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
#include <zstd.h>

#include <cmocka.h>

#include "bundle.h"
#include "envelope.h"
#include "file.h"
#include "spool.h"

#define ID "5f0c1d2e-0000-4000-8000-00000000beef"

static char folder[] = "/tmp/qmr-test-bundle-XXXXXX";
static int fd = -1;

static int set_up(void **state)
{
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0;
}

static int tear_down(void **state)
{
	close(fd);
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static void write_file(const char *path, const char *text)
{
	const char *slash = strrchr(path, '/');
	char parent[128];

	if (slash) {
		snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
		assert_int_equal(0, qmr_file_mkdirs(fd, parent, 0700, NULL));
	}
	assert_int_equal(0, qmr_file_replace(fd, path, text, strlen(text), 0600, NULL));
}

static void write_incident(void)
{
	write_file("incident.json", "{\"schema\": 1, \"id\": \"" ID "\"}");
	write_file("dumps/001.txt", "a dump\n");
	write_file("records/dmesg-efi-1", "a record");
	write_file("plans/00-x.json", "{}");
	write_file("plans/notes.txt", "stays");
	write_file("private.json", "stays");
	write_file("upload.json", "stays");
	assert_int_equal(0, symlinkat("/etc/hostname", fd, "dumps/002.txt"));
}

/* Names in the archive, each with a newline; checks every header's sum on the way. */
static void list_names(const char *tar, size_t size, char *names, size_t room)
{
	size_t used = 0;

	for (size_t at = 0; at + 512 <= size && tar[at];) {
		const char *header = tar + at;
		unsigned int sum = 8 * ' ';

		for (size_t i = 0; i < 512; i++)
			sum += i >= 148 && i < 156 ? 0 : (unsigned char)header[i];
		assert_int_equal(sum, strtoul(header + 148, NULL, 8));
		assert_memory_equal("ustar\00000", header + 257, 8);
		used += (size_t)snprintf(names + used, room - used, "%.155s/%.100s\n", header + 345, header);
		at += 512 + (strtoul(header + 124, NULL, 8) + 511) / 512 * 512;
	}
}

static void test_only_what_the_table_names(void **state)
{
	char id[QMR_UUID_TEXT], names[1024] = "", *tar;
	char *packed;
	size_t size, tar_size;

	write_incident();
	assert_int_equal(0, qmr_bundle_read_id(fd, id, NULL));
	assert_string_equal(ID, id);
	assert_int_equal(0, qmr_bundle_pack(fd, id, &packed, &size, NULL));
	tar_size = (size_t)ZSTD_getFrameContentSize(packed, size);
	tar = malloc(tar_size);
	assert_int_equal(tar_size, ZSTD_decompress(tar, tar_size, packed, size));
	assert_int_equal(0, tar_size % 512);
	list_names(tar, tar_size, names, sizeof(names));
	assert_string_equal(ID "/incident.json\n" ID "/dumps/001.txt\n" ID "/records/dmesg-efi-1\n" ID
			       "/plans/00-x.json\n",
			    names);
	free(tar);
	free(packed);
}

static void test_id(void **state)
{
	char id[QMR_UUID_TEXT];

	assert_int_equal(-EBADMSG, qmr_bundle_read_id(fd, id, NULL));
	write_file("incident.json", "{\"id\": \"../../x\"}");
	assert_int_equal(-EBADMSG, qmr_bundle_read_id(fd, id, NULL));
	write_file("incident.json", "not json");
	assert_int_equal(-EBADMSG, qmr_bundle_read_id(fd, id, NULL));
}

static void test_seal_needs_a_certificate(void **state)
{
	char path[128], *sealed;
	size_t size;

	snprintf(path, sizeof(path), "%s/cert.pem", folder);
	assert_int_equal(-EKEYREJECTED, qmr_envelope_seal(path, "x", 1, &sealed, &size, NULL));
	write_file("cert.pem", "");
	assert_int_equal(-EKEYREJECTED, qmr_envelope_seal(path, "x", 1, &sealed, &size, NULL));
	write_file("cert.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	assert_int_equal(-EKEYREJECTED, qmr_envelope_seal(path, "x", 1, &sealed, &size, NULL));
}

static int count_one(void *user, int spool_fd, const char *name, struct qmr_error *err)
{
	char *names = user;

	strcat(names, name);
	strcat(names, " ");
	return 0;
}

static void test_spool(void **state)
{
	char names[4096] = "", path[128];
	int spool;

	snprintf(path, sizeof(path), "%s/a/spool", folder);
	spool = qmr_spool_open(path, NULL);
	assert_true(spool >= 0);
	assert_int_equal(0, qmr_spool_put(spool, ID, "one", 3, NULL));
	assert_int_equal(0, qmr_spool_put(spool, ID, "two", 3, NULL));
	assert_int_equal(0, qmr_file_replace(spool, "other.tar.zst.cms", "x", 1, 0600, NULL));
	assert_int_equal(0, qmr_file_replace(spool, ID ".tar.zst.cms.qmr-new", "x", 1, 0600, NULL));
	assert_int_equal(0, qmr_spool_walk(spool, count_one, names, NULL));
	assert_string_equal(ID ".tar.zst.cms ", names);
	assert_int_equal(0, qmr_spool_remove(spool, ID ".tar.zst.cms", NULL));
	assert_int_equal(0, qmr_spool_remove(spool, ID ".tar.zst.cms", NULL));
	for (int i = 0; i < 20; i++) {
		char id[QMR_UUID_TEXT];

		snprintf(id, sizeof(id), "00000000-0000-4000-8000-0000000000%02x", i);
		assert_int_equal(0, qmr_spool_put(spool, id, "x", 1, NULL));
	}
	*names = '\0';
	assert_int_equal(0, qmr_spool_walk(spool, count_one, names, NULL));
	assert_int_equal(QMR_SPOOL_FILES_MAX * (QMR_UUID_TEXT - 1 + 13), strlen(names));
	assert_non_null(strstr(names, "8000-000000000013"));
	close(spool);
}

static void test_spool_is_no_link(void **state)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/link", folder);
	assert_int_equal(0, symlink("/tmp", path));
	assert_true(qmr_spool_open(path, NULL) < 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_only_what_the_table_names), T(test_id),    T(test_seal_needs_a_certificate),
		T(test_spool),                     T(test_spool_is_no_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
