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

#include "culprit.h"
#include "file.h"
#include "form.h"
#include "module-file.h"

static struct qmr_oops *new_oops(void)
{
	struct qmr_oops *oops = calloc(1, sizeof(*oops));

	assert_non_null(oops);
	oops->uptime_ms = -1;
	return oops;
}

static void add_trace(struct qmr_oops *oops, const char *function, const char *module, int unreliable)
{
	struct qmr_oops_symbol *symbol = &oops->trace[oops->n_trace++];

	snprintf(symbol->function, sizeof(symbol->function), "%s", function);
	snprintf(symbol->module, sizeof(symbol->module), "%s", module);
	symbol->unreliable = unreliable;
}

static void add_module(struct qmr_oops *oops, const char *name, const char *flags)
{
	struct qmr_oops_module *module = &oops->modules[oops->n_modules++];

	snprintf(module->name, sizeof(module->name), "%s", name);
	snprintf(module->flags, sizeof(module->flags), "%s", flags);
}

static void assert_culprit(struct qmr_oops *oops, enum qmr_basis basis, const char *module, const char *function)
{
	struct qmr_culprit culprit;

	qmr_culprit_of_oops(oops, &culprit);
	assert_string_equal(qmr_basis_name(basis), qmr_basis_name(culprit.basis));
	assert_string_equal(module, culprit.module);
	assert_string_equal(function, culprit.function);
	free(oops);
}

static void test_ip_before_trace_before_taint(void **state)
{
	struct qmr_oops *oops = new_oops();

	strcpy(oops->ip.function, "f");
	strcpy(oops->ip.module, "m");
	add_trace(oops, "g", "n", 0);
	add_module(oops, "o", "OE");
	assert_culprit(oops, QMR_BASIS_IP, "m", "f");
}

static void test_topmost_module_in_trace(void **state)
{
	struct qmr_oops *oops = new_oops();

	strcpy(oops->ip.function, "memcpy");
	add_trace(oops, "stale", "stale_mod", 1);
	add_trace(oops, "core", "", 0);
	add_trace(oops, "g", "n", 0);
	add_trace(oops, "h", "p", 0);
	assert_culprit(oops, QMR_BASIS_TRACE, "n", "g");
}

static void test_only_leftovers_on_the_stack(void **state)
{
	struct qmr_oops *oops = new_oops();

	add_trace(oops, "core", "", 1);
	add_trace(oops, "g", "n", 1);
	assert_culprit(oops, QMR_BASIS_TRACE, "n", "g");
}

static void test_taint_needs_exactly_one(void **state)
{
	struct qmr_oops *oops = new_oops();

	add_module(oops, "unsigned_one", "E");
	add_module(oops, "foreign", "OE");
	assert_culprit(oops, QMR_BASIS_TAINT, "foreign", "");
	oops = new_oops();
	add_module(oops, "a", "O");
	add_module(oops, "b", "O");
	assert_culprit(oops, QMR_BASIS_NONE, "", "");
	assert_culprit(new_oops(), QMR_BASIS_NONE, "", "");
}

static void test_newest_of_the_strongest(void **state)
{
	static struct qmr_dump dumps[5];
	struct qmr_crash *crashes = calloc(5, sizeof(*crashes));
	struct qmr_culprit culprit;

	assert_non_null(crashes);
	for (size_t i = 0; i < 5; i++) {
		crashes[i].dump = &dumps[i];
		dumps[i].time_unix_s = 1790000000 - i * 1000;
		crashes[i].oops.uptime_ms = 7000;
	}
	add_module(&crashes[0].oops, "newest_but_weak", "O");
	strcpy(crashes[1].oops.ip.module, "right");
	strcpy(crashes[2].oops.ip.module, "wrong");
	strcpy(crashes[3].oops.ip.module, "right");
	strcpy(crashes[4].oops.ip.module, "oldest");
	/* The oops of the crash that crashes[1] is the panic of. */
	dumps[3].time_unix_s = dumps[1].time_unix_s - 2;
	qmr_culprit_find(crashes, 5, &culprit);
	assert_string_equal("right", culprit.module);
	assert_int_equal(1, culprit.crashes);
	crashes[3].oops.uptime_ms = 7001;
	qmr_culprit_find(crashes, 5, &culprit);
	assert_int_equal(2, culprit.crashes);
	free(crashes);
}

static void test_names(void **state)
{
	assert_true(qmr_form_is_same_module("a-b_c", "a_b-c"));
	assert_false(qmr_form_is_same_module("a", "ab"));
	assert_false(qmr_form_is_same_module("a.b", "a_b"));
}

static char root[] = "/tmp/qmr-test-culprit-XXXXXX";
static int root_fd = -1;

static void write_file(const char *path, const char *text, size_t size)
{
	char folder[256];
	int fd;

	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
	assert_int_equal(0, qmr_file_mkdirs(root_fd, folder, 0755, NULL));
	fd = openat(root_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(size, write(fd, text, size));
	close(fd);
}

static int set_up(void **state)
{
	strcpy(root + sizeof(root) - 7, "XXXXXX");
	if (!mkdtemp(root))
		return -1;
	root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return root_fd < 0;
}

static int tear_down(void **state)
{
	close(root_fd);
	return qmr_file_remove_tree(AT_FDCWD, root, NULL);
}

static void assert_file(const char *module, const char *expected)
{
	char path[QMR_MODULE_PATH] = "";
	int r = qmr_module_file_find(root_fd, "6.1.0-40-amd64", module, path, NULL);

	assert_int_equal(expected ? 0 : -ENOENT, r);
	if (expected)
		assert_string_equal(expected, path);
}

static void test_find_in_modules_dep(void **state)
{
	static const char dep[] = "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko\n"
				  "updates/dkms/acme-drv.ko.xz:\n/opt/abs.ko:\nlast.ko:";

	write_file("usr/lib/modules/6.1.0-40-amd64/modules.dep", dep, strlen(dep));
	assert_file("ext4", "/usr/lib/modules/6.1.0-40-amd64/kernel/fs/ext4/ext4.ko");
	assert_file("acme_drv", "/usr/lib/modules/6.1.0-40-amd64/updates/dkms/acme-drv.ko.xz");
	assert_file("abs", "/opt/abs.ko");
	assert_file("last", "/usr/lib/modules/6.1.0-40-amd64/last.ko");
	assert_file("jbd", NULL);
	assert_file("xt4", NULL);
}

static void test_find_without_modules_dep(void **state)
{
	write_file("lib/modules/6.1.0-40-amd64/extra/vendor/acme_drv.ko", "x", 1);
	write_file("lib/modules/6.1.0-40-amd64/elsewhere/other.ko", "x", 1);
	assert_file("acme-drv", "/lib/modules/6.1.0-40-amd64/extra/vendor/acme_drv.ko");
	assert_file("other", NULL);
}

static void test_find_stays_inside(void **state)
{
	char path[QMR_MODULE_PATH];

	assert_int_equal(-EINVAL, qmr_module_file_find(root_fd, "../../etc", "m", path, NULL));
	assert_int_equal(-EINVAL, qmr_module_file_find(root_fd, "", "m", path, NULL));
	assert_int_equal(-EINVAL, qmr_module_file_find(root_fd, "6.1", "../m", path, NULL));
}

static void test_has_path(void **state)
{
	static const struct {
		const char *text, *path;
		int expected;
	} cases[] = {
		{"/opt/v/channels/c.bin", "/opt/v/channels/c.bin", 1},
		{"x=/opt/v/channels/c.bin,", "/opt/v/channels/c.bin", 1},
		{"/opt/v/channels/c.bin.bak", "/opt/v/x/c.bin", 0},
		{"/opt/v/c.bin.bak", "/opt/w/c.bin", 0},
		{"/opt/v/channels", "/opt/v/channels/c.bin", 1},
		{"/opt/v/channels/%s", "/opt/v/channels/c.bin", 1},
		{"/opt/v/channels/other.bin", "/opt/v/channels/c.bin", 1}, /* its folder's path stands there */
		{"/opt/v/channels2/x", "/opt/v/channels/c.bin", 0},
		{"/mnt/opt/v/channels/c.bin", "/mnt/opt/v/channels/c.bin", 1},
		{"a/opt/v/channels/c.bin", "/opt/v/channels/c.bin", 0},
		{"/opt/v", "/opt/v/channels/c.bin", 1},
		{"/opt/v/", "/opt/v/channels/c.bin", 1},
		{"/opt/v/%s", "/opt/v/channels/c.bin", 1},
		{"/opt/v/settings", "/opt/v/channels/c.bin", 0},
		{"/opt", "/opt/v/channels/c.bin", 0},
		{"/opt/", "/opt/c.bin", 0},
		{"/vmlinuz", "/vmlinuz", 0},
		{"/opt/c.bin", "/opt/c.bin", 1},
		{"", "/opt/c.bin", 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int r = qmr_text_has_path(cases[i].text, strlen(cases[i].text), cases[i].path);

		if (r != cases[i].expected)
			fail_msg("'%s' in '%s': %d", cases[i].path, cases[i].text, r);
	}
}

static void test_text_of_no_elf(void **state)
{
	static const char bytes[] = "xx\0/opt/v/c.bin\0yy";
	struct qmr_module_text text = {0};

	write_file("m.d/m.ko", bytes, sizeof(bytes));
	assert_int_equal(0, qmr_module_text_load(root_fd, "/m.d/m.ko", &text, NULL));
	assert_true(qmr_text_has_path(text.data, text.size, "/opt/v/c.bin"));
	qmr_module_text_done(&text);
	assert_int_equal(-ENOTSUP, qmr_module_text_load(root_fd, "/m.d/m.ko.xz", &text, NULL));
	assert_int_equal(-ENOENT, qmr_module_text_load(root_fd, "/m.d/n.ko", &text, NULL));
}

/* This very program is ELF: constants are found, debug information and names of sources are not. */
static const char marker[] = "/opt/vendor-of-this-test/channels/%s";

static void test_text_of_elf(void **state)
{
	struct qmr_module_text text = {0};
	char *self;
	size_t size;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0 && marker[0] == '/');
	assert_int_equal(0, qmr_file_read_fd(fd, "self", 64 << 20, &self, &size, NULL));
	close(fd);
	write_file("m.d/self.ko", self, size);
	assert_int_equal(0, qmr_module_text_load(root_fd, "/m.d/self.ko", &text, NULL));
	assert_true(text.size < size);
	assert_true(qmr_text_has_path(text.data, text.size, "/opt/vendor-of-this-test/channels/1.bin"));
	qmr_module_text_done(&text);
	/* Section headers cut off or out of range: all bytes are looked at. */
	write_file("m.d/cut.ko", self, size / 2);
	assert_int_equal(0, qmr_module_text_load(root_fd, "/m.d/cut.ko", &text, NULL));
	assert_int_equal(size / 2, text.size);
	qmr_module_text_done(&text);
	free(self);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ip_before_trace_before_taint),
		cmocka_unit_test(test_topmost_module_in_trace),
		cmocka_unit_test(test_only_leftovers_on_the_stack),
		cmocka_unit_test(test_taint_needs_exactly_one),
		cmocka_unit_test(test_newest_of_the_strongest),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_has_path),
		T(test_find_in_modules_dep),
		T(test_find_without_modules_dep),
		T(test_find_stays_inside),
		T(test_text_of_no_elf),
		T(test_text_of_elf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
