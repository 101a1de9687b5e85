/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "fetch-folder.h"
#include "fetch-source.h"
#include "file.h"

/* By itself, without the sandbox, which would refuse some of it too. */

static char folder[64];
static int folder_fd = -1;

static int set_up(void **unused)
{
	snprintf(folder, sizeof(folder), "/tmp/qmr-folder-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return folder_fd < 0 || mkdirat(folder_fd, "metadata", 0755) < 0 ||
			       qmr_file_replace(folder_fd, "metadata/timestamp.json", "{}", 2, 0644, NULL) < 0 ||
			       qmr_file_replace(folder_fd, "metadata/1.a%2Fb%20c.json", "{}", 2, 0644, NULL) < 0 ||
			       mkdirat(folder_fd, "metadata/1.d", 0755) < 0 ||
			       qmr_file_replace(folder_fd, "metadata/1.d/e f.json", "{}", 2, 0644, NULL) < 0 ||
			       qmr_file_replace(folder_fd, "metadata/b%20th.json", "other", 5, 0644, NULL) < 0 ||
			       qmr_file_replace(folder_fd, "metadata/b th.json", "{}", 2, 0644, NULL) < 0 ||
			       qmr_file_replace(folder_fd, "metadata/x y%.json", "{}", 2, 0644, NULL) < 0
		       ? -1
		       : 0;
}

static int tear_down(void **unused)
{
	close(folder_fd);
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static int get(const char *path, size_t max)
{
	char *data = NULL;
	size_t size = 0;
	int r = qmr_fetch_folder_fetch(&folder_fd, path, max, &data, &size, NULL);

	if (r == 0)
		assert_string_equal(data, "{}");
	free(data);
	return r;
}

static void files_are_found_by_their_urls_path(void **unused)
{
	assert_int_equal(get("metadata/timestamp.json", 2), 0);
	assert_int_equal(get("metadata/1.a%2Fb%20c.json", 2), 0);  /* as it stands */
	assert_int_equal(get("metadata/1.d%2Fe%20f.json", 2), 0);   /* as a web server finds it */
	assert_int_equal(get("metadata/b%20th.json", 2), 0);       /* that one first */
	assert_int_equal(get("metadata/timestamp.json%00", 2), -ENOENT);
	assert_int_equal(get("metadata/x%20y%25.json", 2), 0);
	assert_int_equal(get("metadata/x y%.json", 2), 0);
	assert_int_equal(get("metadata/timestamp.json", 1), -EFBIG);
	assert_int_equal(get("metadata/missing.json", 2), -ENOENT);
	assert_int_equal(get("metadata/timestamp.json/x", 2), -ENOENT);
}

static void nothing_leads_out(void **unused)
{
	static const char *const paths[] = {"../x", "metadata/../metadata/timestamp.json", "/etc/passwd", "", ".", "metadata/",
					    "metadata//timestamp.json", "%2e%2e/x", "metadata/%2E/timestamp.json", "..%2fx",
					    "metadata%2f..%2fmetadata%2ftimestamp.json", "%2fetc/passwd", "metadata/%2ftimestamp.json"};
	char long_path[3000];

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		if (get(paths[i], 4096) != -ENOENT)
			fail_msg("'%s'", paths[i]);
	memset(long_path, 'a', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	assert_int_equal(get(long_path, 2), -ENOENT);
	long_path[300] = '\0';
	assert_int_equal(get(long_path, 2), -ENOENT);
}

static void links_and_special_files_are_none(void **unused)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(symlinkat("timestamp.json", folder_fd, "metadata/link.json"), 0);
	assert_int_equal(symlinkat("metadata", folder_fd, "linked"), 0);
	assert_int_equal(mkfifoat(folder_fd, "metadata/pipe.json", 0644), 0);
	assert_int_equal(mkdirat(folder_fd, "metadata/folder.json", 0755), 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/metadata/s.json", folder);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(get("metadata/link.json", 9), -ENOENT);
	assert_int_equal(get("linked/timestamp.json", 9), -ENOENT);
	assert_int_equal(get("metadata/pipe.json", 9), -ENOENT);
	assert_int_equal(get("metadata/folder.json", 9), -ENOENT);
	assert_int_equal(get("metadata/s.json", 9), -ENOENT);
}

static void media_are_several_sources(void **unused)
{
	static struct qmr_fetch_source sources[QMR_FETCH_SOURCES_MAX];
	size_t n = 0;

	assert_int_equal(mkdirat(folder_fd, "sda1", 0755), 0);
	assert_int_equal(mkdirat(folder_fd, "sda1/qmr", 0755), 0);
	assert_int_equal(mkdirat(folder_fd, "sdb1", 0755), 0);
	assert_int_equal(symlinkat("../sda1/qmr", folder_fd, "sdb1/qmr"), 0);
	assert_int_equal(symlinkat("sda1", folder_fd, "sdc1"), 0);
	assert_int_equal(mkdirat(folder_fd, "sdd1", 0755), 0);
	assert_int_equal(mkdirat(folder_fd, "sdd1/qmr", 0755), 0);
	assert_int_equal(qmr_fetch_source_add("media:qmr", folder, sources, &n, NULL), 0);
	assert_int_equal(n, 2);
	assert_string_equal(sources[0].url, "media:qmr (sda1)");
	assert_string_equal(sources[1].url, "media:qmr (sdd1)");
	assert_true(sources[0].folder_fd >= 0 && !sources[0].is_out);
	assert_int_equal(qmr_fetch_source_add("media:other", folder, sources, &n, NULL), 0);
	assert_int_equal(n, 3);
	assert_true(sources[2].is_out && sources[2].result.code == -ETIMEDOUT);
	for (int i = 0; i < QMR_FETCH_SOURCES_MAX; i++)
		assert_int_equal(qmr_fetch_source_add("media:qmr", folder, sources, &n, NULL), 0);
	assert_int_equal(n, QMR_FETCH_SOURCES_MAX);
	qmr_fetch_sources_done(sources, n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(files_are_found_by_their_urls_path, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_leads_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(links_and_special_files_are_none, set_up, tear_down),
		cmocka_unit_test_setup_teardown(media_are_several_sources, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
