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
#include "firmware.h"

/* Over a folder in the place of efivarfs (libefivar's EFIVARFS_PATH). Creating an entry needs a disk: tests/vm/qmrctl.py. */

#define GLOBAL "8be4df61-93ca-11d2-aa0d-00e098032b8c"

static char folder[] = "/tmp/qmr-efi-XXXXXX";

static void put(const char *name, const void *data, size_t size)
{
	uint8_t bytes[512] = {7};
	char path[128];

	assert_true(size <= sizeof(bytes) - 4);
	memcpy(bytes + 4, data, size);
	snprintf(path, sizeof(path), "%s/%s-" GLOBAL, folder, name);
	assert_int_equal(qmr_file_replace(AT_FDCWD, path, bytes, size + 4, 0644, NULL), 0);
}

static void put_numbers(const char *name, const char *text)
{
	uint8_t bytes[64];
	size_t size = 0;
	unsigned int number;
	int used;

	for (; sscanf(text, "%x%n", &number, &used) == 1; text += used) {
		bytes[size++] = (uint8_t)number;
		bytes[size++] = (uint8_t)(number >> 8);
	}
	put(name, bytes, size);
}

/* What a variable holds as "1 a 3", NULL if it is not there. */
static const char *numbers(const char *name)
{
	static char text[256];
	char path[128], *data;
	size_t size, used = 0;

	snprintf(path, sizeof(path), "%s/%s-" GLOBAL, folder, name);
	if (qmr_file_read(AT_FDCWD, path, 512, &data, &size, NULL) < 0)
		return NULL;
	text[0] = '\0';
	for (size_t i = 4; i + 1 < size; i += 2)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%x", i > 4 ? " " : "",
					 (unsigned int)((uint8_t)data[i] | (uint8_t)data[i + 1] << 8));
	free(data);
	return text;
}

/* EFI_LOAD_OPTION (UEFI 2.10, 3.1.3): attributes, length of the path list, description, an end-of-path node. */
static void put_entry(const char *name, const char *description)
{
	uint8_t option[256] = {1, 0, 0, 0, 4};
	size_t size = 6;

	for (const char *p = description;; p++) {
		option[size] = (uint8_t)*p;
		size += 2;
		if (!*p)
			break;
	}
	memcpy(option + size, "\x7f\xff\x04\0", 4);
	put(name, option, size + 4);
}

static int set_up(void **state)
{
	assert_int_equal(qmr_file_remove_tree(AT_FDCWD, folder, NULL), 0);
	assert_int_equal(mkdir(folder, 0700), 0);
	put_entry("Boot0000", "Setup");
	put_entry("Boot0002", "Disk");
	put_entry("Boot000A", QMR_ENTRY_NAME);
	put_numbers("BootOrder", "0 2 a 3");
	put_numbers("BootCurrent", "2");
	return 0;
}

static void test_examine(void **state)
{
	struct qmr_firmware_entry e;

	assert_int_equal(qmr_firmware_examine(&e, NULL), 0);
	assert_int_equal(e.number, 0xa);
	assert_int_equal(e.position, 3);
	assert_int_equal(e.n_order, 4);
	assert_int_equal(e.after_current, 1);
	assert_int_equal(e.is_next, 0);
	put_numbers("BootCurrent", "0");
	put_numbers("BootNext", "a");
	assert_int_equal(qmr_firmware_examine(&e, NULL), 0);
	assert_int_equal(e.after_current, 0);
	assert_int_equal(e.is_next, 1);
	put_numbers("BootOrder", "0 2");
	assert_int_equal(qmr_firmware_examine(&e, NULL), 0);
	assert_int_equal(e.position, 0);
	put_entry("Boot000A", "Another one");
	assert_int_equal(qmr_firmware_examine(&e, NULL), -ENOENT);
}

static void test_next(void **state)
{
	assert_int_equal(qmr_firmware_clear_next(0xa, NULL), 0);
	assert_int_equal(qmr_firmware_set_next(0xa, NULL), 0);
	assert_string_equal(numbers("BootNext"), "a");
	/* Somebody else's next boot is not ours to take back. */
	assert_int_equal(qmr_firmware_clear_next(0x2, NULL), 0);
	assert_string_equal(numbers("BootNext"), "a");
	assert_int_equal(qmr_firmware_clear_next(0xa, NULL), 1);
	assert_null(numbers("BootNext"));
}

static void test_unregister(void **state)
{
	put_numbers("BootNext", "a");
	assert_int_equal(qmr_firmware_unregister(QMR_SLOT_FIRST, NULL), 1);
	/* efivarfs replaces a variable as a whole, a folder keeps the tail of a longer one. */
	assert_memory_equal(numbers("BootOrder"), "0 2 3", 5);
	assert_null(numbers("BootNext"));
	assert_null(numbers("Boot000A"));
	assert_non_null(numbers("Boot0002"));
	assert_int_equal(qmr_firmware_unregister(QMR_SLOT_FIRST, NULL), 0);

	put_entry("Boot0001", QMR_ENTRY_NAME);
	put_entry("Boot0007", QMR_ENTRY_NAME_SECOND);
	put_numbers("BootNext", "2");
	put_numbers("BootOrder", "1");
	/* Each slot by its own name, though one begins with the other. */
	assert_int_equal(qmr_firmware_unregister(QMR_SLOT_SECOND, NULL), 1);
	assert_null(numbers("Boot0007"));
	assert_non_null(numbers("Boot0001"));
	assert_string_equal(numbers("BootOrder"), "1");
	assert_int_equal(qmr_firmware_unregister(QMR_SLOT_FIRST, NULL), 1);
	assert_null(numbers("BootOrder"));
	assert_string_equal(numbers("BootNext"), "2");
}

static void test_secure_boot(void **state)
{
	assert_int_equal(qmr_firmware_has_secure_boot(), 0);
	put("SecureBoot", "\0", 1);
	assert_int_equal(qmr_firmware_has_secure_boot(), 0);
	put("SecureBoot", "\1", 1);
	assert_int_equal(qmr_firmware_has_secure_boot(), 1);
}

/* Names that look like entries, and entries that are none. */
static void test_odd(void **state)
{
	uint16_t number;

	put("Boot000B", "\1", 1);
	put("Boot000C", "", 0);
	put_entry("Boot-00B", QMR_ENTRY_NAME);
	put_entry("Boot00000", QMR_ENTRY_NAME);
	put("BootOptionSupport", "\1\0\0\0", 4);
	assert_int_equal(qmr_firmware_find_entry(QMR_SLOT_FIRST, &number, NULL), 0);
	assert_int_equal(number, 0xa);
	assert_int_equal(qmr_firmware_unregister(QMR_SLOT_FIRST, NULL), 1);
	assert_int_equal(qmr_firmware_find_entry(QMR_SLOT_FIRST, &number, NULL), -ENOENT);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_examine, set_up),    cmocka_unit_test_setup(test_next, set_up),
		cmocka_unit_test_setup(test_unregister, set_up), cmocka_unit_test_setup(test_secure_boot, set_up),
		cmocka_unit_test_setup(test_odd, set_up),
	};
	char slashed[sizeof(folder) + 1];
	int failed;

	/* libefivar looks at its environment when it is loaded, before main(). */
	if (!getenv("EFIVARFS_PATH")) {
		if (!mkdtemp(folder))
			return 1;
		snprintf(slashed, sizeof(slashed), "%s/", folder);
		(void)setenv("EFIVARFS_PATH", slashed, 1);
		execv("/proc/self/exe", argv);
		return 1;
	}
	snprintf(folder, sizeof(folder), "%s", getenv("EFIVARFS_PATH"));
	folder[sizeof(folder) - 1] = '\0';
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	return qmr_file_remove_tree(AT_FDCWD, folder, NULL) < 0 ? 1 : failed;
}
