/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <libkmod.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "file.h"
#include "module-index.h"

static char folder[] = "/tmp/qmr-test-modules-XXXXXX";

static int make_folder(void **unused)
{
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **unused)
{
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL);
}

static void write_index(const char *name, struct qmr_index_pair *pairs, size_t n)
{
	cleanup_free char *data = NULL;
	char path[128];
	size_t size;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(qmr_module_index_encode(pairs, n, &data, &size, NULL), 0);
	assert_int_equal(qmr_file_replace(AT_FDCWD, path, data, size, 0644, NULL), 0);
}

/* The modules that libkmod finds for an alias, sorted, in one word; "" for none. */
static const char *look_up(struct kmod_ctx *ctx, const char *alias)
{
	static char found[512];
	struct kmod_list *list = NULL, *item;
	const char *names[8];
	int n = 0;

	found[0] = '\0';
	assert_true(kmod_module_new_from_lookup(ctx, alias, &list) >= 0);
	kmod_list_foreach(item, list) {
		struct kmod_module *module = kmod_module_get_module(item);

		assert_true(n < 8);
		names[n++] = kmod_module_get_name(module);
		kmod_module_unref(module);
	}
	for (int round = 0; round < n; round++)
		for (int i = 0; i + 1 < n; i++)
			if (strcmp(names[i], names[i + 1]) > 0) {
				const char *other = names[i];

				names[i] = names[i + 1];
				names[i + 1] = other;
			}
	for (int i = 0; i < n; i++)
		snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s%s", i ? "," : "", names[i]);
	kmod_module_unref_list(list);
	return found;
}

static struct kmod_ctx *open_indexes(void)
{
	const char *none = NULL;
	struct kmod_ctx *ctx = kmod_new(folder, &none);

	assert_non_null(ctx);
	return ctx;
}

/* libkmod reads what is written here: prefixes, wildcards, several modules for an alias, absent ones. */
static void aliases(void **unused)
{
	struct qmr_index_pair pairs[] = {
		{"pci:v00008086d0000100Esv*sd*bc*sc*i*", "e1000"},
		{"pci:v00008086d000010D3sv*sd*bc*sc*i*", "e1000e"},
		{"pci:v*d*sv*sd*bc02sc00i*", "second"},
		{"crypto_crc32c", "crc32c_generic"},
		{"crypto_crc32c", "crc32c_intel"},
		{"crypto_crc32", "crc32_generic"},
		{"c", "short"},
		{"usb:v*p*d[0-3]*dc03", "range"},
	};
	struct kmod_ctx *ctx;

	write_index("modules.alias.bin", pairs, sizeof(pairs) / sizeof(*pairs));
	write_index("modules.dep.bin", NULL, 0);
	write_index("modules.symbols.bin", NULL, 0);
	write_index("modules.builtin.bin", NULL, 0);
	ctx = open_indexes();
	assert_string_equal(look_up(ctx, "pci:v00008086d000010D3sv00001AF4sd00001100bc01sc00i00"), "e1000e");
	assert_string_equal(look_up(ctx, "pci:v00008086d000010D3sv00001AF4sd00001100bc02sc00i00"), "e1000e,second");
	assert_string_equal(look_up(ctx, "crypto-crc32c"), "crc32c_generic,crc32c_intel");
	assert_string_equal(look_up(ctx, "crypto-crc32"), "crc32_generic");
	assert_string_equal(look_up(ctx, "c"), "short");
	assert_string_equal(look_up(ctx, "usb:v1p2d0100dc03"), "range");
	assert_string_equal(look_up(ctx, "usb:v1p2d7100dc03"), "");
	assert_string_equal(look_up(ctx, "crypto"), "");
	assert_string_equal(look_up(ctx, "pci:v0000FFFF"), "");
	assert_int_equal(kmod_load_resources(ctx), 0);
	assert_string_equal(look_up(ctx, "crypto-crc32c"), "crc32c_generic,crc32c_intel");
	kmod_unref(ctx);
}

static void dependencies(void **unused)
{
	struct qmr_index_pair pairs[] = {
		{"usb_storage", "kernel/usb-storage.ko: kernel/scsi_mod.ko kernel/usbcore.ko"},
		{"scsi_mod", "kernel/scsi_mod.ko:"},
		{"usbcore", "kernel/usbcore.ko:"},
	};
	static const char *const files[] = {"kernel/usb-storage.ko", "kernel/scsi_mod.ko", "kernel/usbcore.ko"};
	struct kmod_list *list = NULL, *depends;
	struct kmod_module *module;
	struct kmod_ctx *ctx;

	for (size_t i = 0; i < 3; i++) { /* libkmod wants the files to exist */
		char path[128];

		snprintf(path, sizeof(path), "%s/kernel", folder);
		assert_int_equal(qmr_file_mkdirs(AT_FDCWD, path, 0755, NULL), 0);
		snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		assert_int_equal(qmr_file_replace(AT_FDCWD, path, "", 0, 0644, NULL), 0);
	}
	write_index("modules.dep.bin", pairs, 3);
	ctx = open_indexes();
	assert_int_equal(kmod_module_new_from_lookup(ctx, "usb-storage", &list), 0);
	assert_non_null(list);
	module = kmod_module_get_module(list);
	depends = kmod_module_get_dependencies(module);
	assert_non_null(depends);
	assert_non_null(kmod_list_next(depends, depends));
	kmod_module_unref_list(depends);
	kmod_module_unref(module);
	kmod_module_unref_list(list);
	kmod_unref(ctx);
}

/* Many keys of a small alphabet: every one is found, with its own value. */
static void many(void **unused)
{
	enum { N = 2000 };
	static char keys[N][12], values[N][12];
	static struct qmr_index_pair pairs[N];
	unsigned int seed = 1;
	struct kmod_ctx *ctx;

	for (int i = 0; i < N; i++) {
		int length = 0;

		for (int k = i; k; k /= 3) /* unique: the digits of i */
			keys[i][length++] = (char)('a' + k % 3);
		keys[i][length++] = 'x';
		snprintf(values[i], sizeof(values[i]), "m%d", i);
	}
	for (int i = 0; i < N; i++)
		pairs[i] = (struct qmr_index_pair){keys[i], values[i]};
	for (int i = N - 1; i > 0; i--) {
		int other = rand_r(&seed) % (i + 1);
		struct qmr_index_pair pair = pairs[i];

		pairs[i] = pairs[other];
		pairs[other] = pair;
	}
	write_index("modules.alias.bin", pairs, N);
	write_index("modules.dep.bin", NULL, 0);
	ctx = open_indexes();
	for (int i = 0; i < N; i++)
		assert_string_equal(look_up(ctx, keys[i]), values[i]);
	kmod_unref(ctx);
}

static void refused(void **unused)
{
	struct qmr_index_pair umlaut[] = {{"m\xc3\xbc", "x"}};
	char long_key[QMR_INDEX_KEY_BYTES_MAX + 2] = "";
	struct qmr_index_pair large[] = {{long_key, "x"}};
	char *data = NULL;
	size_t size;

	memset(long_key, 'a', QMR_INDEX_KEY_BYTES_MAX + 1);
	assert_int_equal(qmr_module_index_encode(umlaut, 1, &data, &size, NULL), -EINVAL);
	assert_int_equal(qmr_module_index_encode(large, 1, &data, &size, NULL), -ENAMETOOLONG);
	assert_null(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aliases),
		cmocka_unit_test(dependencies),
		cmocka_unit_test(many),
		cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
