/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "firmware.h"

#include <efivar/efiboot.h>
#include <efivar/efivar.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define ATTRIBUTES (EFI_VARIABLE_NON_VOLATILE | EFI_VARIABLE_BOOTSERVICE_ACCESS | EFI_VARIABLE_RUNTIME_ACCESS)
#define OPTION_BYTES_MAX 2048
#define ENTRIES_MAX 512 /* of BootOrder; firmware offers far fewer */

static const char *const entry_names[QMR_SLOTS] = {QMR_ENTRY_NAME, QMR_ENTRY_NAME_SECOND};

static int firmware_error(struct qmr_error *err, const char *what, const char *name)
{
	int r = errno > 0 ? -errno : -EIO;

	efi_error_clear();
	return qmr_error_errno(err, r, "%s EFI variable '%s'", what, name);
}

int qmr_firmware_has_variables(void)
{
	int supported = efi_variables_supported();

	efi_error_clear();
	return supported;
}

/* Without support libefivar's writing functions go through a NULL pointer (seen with version 37). */
static int require_support(const char *what, const char *name, struct qmr_error *err)
{
	if (qmr_firmware_has_variables())
		return 0;
	return qmr_error_errno(err, -EOPNOTSUPP, "%s EFI variable '%s'", what, name);
}

static int delete_variable(const char *name, struct qmr_error *err)
{
	int r = require_support("deleting", name, err);

	if (r == 0 && efi_del_variable(EFI_GLOBAL_GUID, name) < 0 && errno != ENOENT)
		r = firmware_error(err, "deleting", name);
	efi_error_clear();
	return r;
}

static int set_variable(const char *name, const void *data, size_t size, struct qmr_error *err)
{
	cleanup_free uint8_t *old = NULL;
	size_t old_size = 0;
	uint32_t attributes;
	int r = require_support("writing", name, err);

	if (r < 0)
		return r;
	/* Flash wears, and a write can fail where none was needed. */
	if (efi_get_variable(EFI_GLOBAL_GUID, name, &old, &old_size, &attributes) == 0 && old_size == size &&
	    !memcmp(old, data, size))
		return 0;
	efi_error_clear();
	if (efi_set_variable(EFI_GLOBAL_GUID, name, (uint8_t *)data, size, ATTRIBUTES, 0644) < 0)
		return firmware_error(err, "writing", name);
	return 0;
}

int qmr_firmware_has_secure_boot(void)
{
	cleanup_free uint8_t *data = NULL;
	size_t size = 0;
	uint32_t attributes;

	if (efi_get_variable(EFI_GLOBAL_GUID, "SecureBoot", &data, &size, &attributes) < 0) {
		data = NULL;
		efi_error_clear();
		return 0;
	}
	return size == 1 && data[0] == 1;
}

/* Reads a list of numbers (BootOrder, BootNext, BootCurrent); a missing one has none. Returns how many. */
static int get_numbers(const char *name, uint16_t ret_numbers[ENTRIES_MAX], struct qmr_error *err)
{
	cleanup_free uint8_t *data = NULL;
	size_t size = 0;
	uint32_t attributes;
	int n;

	if (efi_get_variable(EFI_GLOBAL_GUID, name, &data, &size, &attributes) < 0) {
		data = NULL;
		if (errno == ENOENT) {
			efi_error_clear();
			return 0;
		}
		return firmware_error(err, "reading", name);
	}
	n = size / 2 > ENTRIES_MAX ? ENTRIES_MAX : (int)(size / 2);
	for (int i = 0; i < n; i++)
		ret_numbers[i] = (uint16_t)(data[2 * i] | data[2 * i + 1] << 8);
	return n;
}

static int set_numbers(const char *name, const uint16_t *numbers, int n, struct qmr_error *err)
{
	uint8_t data[2 * ENTRIES_MAX + 2];

	for (int i = 0; i < n; i++) {
		data[2 * i] = (uint8_t)numbers[i];
		data[2 * i + 1] = (uint8_t)(numbers[i] >> 8);
	}
	return set_variable(name, data, (size_t)n * 2, err);
}

static int entry_number(const char *name, unsigned int *ret_number)
{
	char end;

	return strlen(name) == 8 && strspn(name + 4, "0123456789ABCDEFabcdef") == 4 &&
	       sscanf(name, "Boot%4x%c", ret_number, &end) == 1;
}

static int is_named(const char *name, const char *description)
{
	cleanup_free uint8_t *data = NULL;
	const unsigned char *text;
	size_t size = 0;
	uint32_t attributes;

	if (efi_get_variable(EFI_GLOBAL_GUID, name, &data, &size, &attributes) < 0) {
		data = NULL;
		efi_error_clear();
		return 0;
	}
	if (!efi_loadopt_is_valid((efi_load_option *)data, size))
		return 0;
	text = efi_loadopt_desc((efi_load_option *)data, (ssize_t)size);
	return text && !strcmp((const char *)text, description);
}

/* Walks all variables to the end, since libefivar's walk keeps its place in static memory. */
static int scan_entries(enum qmr_slot slot, uint8_t used[65536 / 8], int *ret_ours, struct qmr_error *err)
{
	efi_guid_t *guid = NULL;
	char *name = NULL;
	int r;

	*ret_ours = -1;
	while ((r = efi_get_next_variable_name(&guid, &name)) > 0) {
		unsigned int number;

		if (memcmp(guid, &EFI_GLOBAL_GUID, sizeof(*guid)) || !entry_number(name, &number))
			continue;
		used[number / 8] |= (uint8_t)(1 << number % 8);
		if (*ret_ours < 0 && is_named(name, entry_names[slot]))
			*ret_ours = (int)number;
	}
	return r < 0 ? firmware_error(err, "listing", "Boot####") : 0;
}

int qmr_firmware_find_entry(enum qmr_slot slot, uint16_t *ret_number, struct qmr_error *err)
{
	cleanup_free uint8_t *used = calloc(1, 65536 / 8);
	int ours, r;

	if (!used)
		return qmr_error_set(err, -ENOMEM, "looking for the boot entry: out of memory");
	r = scan_entries(slot, used, &ours, err);
	if (r < 0)
		return r;
	if (ours < 0)
		return qmr_error_set(err, -ENOENT, "no boot entry is named '%s'", entry_names[slot]);
	*ret_number = (uint16_t)ours;
	return 0;
}

int qmr_firmware_set_next(uint16_t number, struct qmr_error *err)
{
	uint16_t back[ENTRIES_MAX];
	int r = set_numbers("BootNext", &number, 1, err);

	if (r == 0)
		r = get_numbers("BootNext", back, err);
	if (r >= 0 && (r != 1 || back[0] != number))
		r = qmr_error_set(err, -EIO, "BootNext reads back other than it was written");
	if (r < 0)
		(void)!qmr_firmware_clear_next(number, NULL); /* nobody expects that switch any more; the first error is reported */
	return r < 0 ? r : 0;
}

static int make_option(enum qmr_slot slot, const char *disk, int partition, const char *path, uint8_t ret_option[OPTION_BYTES_MAX],
		       struct qmr_error *err)
{
	uint8_t device_path[1024];
	ssize_t path_size, size;

	path_size = efi_generate_file_device_path_from_esp(device_path, sizeof(device_path), disk, partition, path,
							   EFIBOOT_ABBREV_HD);
	if (path_size < 0) {
		efi_error_clear();
		return qmr_error_set(err, -EIO, "describing '%s' on '%s' partition %d to the firmware failed", path, disk,
				     partition);
	}
	size = efi_loadopt_create(ret_option, OPTION_BYTES_MAX, 1 /* LOAD_OPTION_ACTIVE */, (efidp)device_path, path_size,
				  (unsigned char *)entry_names[slot], NULL, 0);
	if (size < 0) {
		efi_error_clear();
		return qmr_error_set(err, -EIO, "making a boot entry for '%s' failed", path);
	}
	return (int)size;
}

static void format_name(unsigned int number, char ret_name[9])
{
	snprintf(ret_name, 9, "Boot%04X", number & 0xffff);
}

int qmr_firmware_entry_starts(enum qmr_slot slot, uint16_t number, const char *disk, int partition, const char *path,
			      struct qmr_error *err)
{
	cleanup_free uint8_t *data = NULL;
	uint8_t option[OPTION_BYTES_MAX];
	int size = make_option(slot, disk, partition, path, option, err);
	uint32_t attributes;
	size_t data_size = 0;
	char name[9];

	if (size < 0)
		return size;
	format_name(number, name);
	if (efi_get_variable(EFI_GLOBAL_GUID, name, &data, &data_size, &attributes) < 0) {
		data = NULL;
		return firmware_error(err, "reading", name);
	}
	return data_size == (size_t)size && !memcmp(data, option, data_size);
}

/* Directly after the system's own entry: the firmware goes on there when that one cannot be started. */
static int place_in_order(uint16_t number, struct qmr_error *err)
{
	uint16_t order[ENTRIES_MAX], current[ENTRIES_MAX], new_order[ENTRIES_MAX];
	int n = get_numbers("BootOrder", order, err);
	int has_current = get_numbers("BootCurrent", current, err);
	int used = 0, placed = 0;

	if (n < 0 || has_current < 0)
		return n < 0 ? n : has_current;
	if (n == 0)
		return 0;
	for (int i = 0; i < n && used < ENTRIES_MAX - 1; i++) {
		if (order[i] == number)
			continue;
		new_order[used++] = order[i];
		if (!placed && has_current > 0 && order[i] == current[0]) {
			new_order[used++] = number;
			placed = 1;
		}
	}
	/* Behind entries that are all dead it would come before the firmware's own fallback, and every start would end in recovery. */
	if (!placed)
		return 0;
	return set_numbers("BootOrder", new_order, used, err);
}

int qmr_firmware_register(enum qmr_slot slot, const char *disk, int partition, const char *path, struct qmr_error *err)
{
	cleanup_free uint8_t *used = calloc(1, 65536 / 8);
	uint8_t option[OPTION_BYTES_MAX];
	unsigned int number = 0;
	char name[9];
	int ours, size, r;

	if (!used)
		return qmr_error_set(err, -ENOMEM, "registering the boot entry: out of memory");
	r = scan_entries(slot, used, &ours, err);
	if (r < 0)
		return r;
	if (ours >= 0)
		number = (unsigned int)ours;
	else
		while (number < 0xffff && used[number / 8] & 1 << number % 8)
			number++;
	size = make_option(slot, disk, partition, path, option, err);
	if (size < 0)
		return size;
	format_name(number, name);
	r = set_variable(name, option, (size_t)size, err);
	return r < 0 || slot != QMR_SLOT_FIRST ? r : place_in_order((uint16_t)number, err);
}

int qmr_firmware_examine(struct qmr_firmware_entry *ret_entry, struct qmr_error *err)
{
	uint16_t order[ENTRIES_MAX], other[ENTRIES_MAX];
	struct qmr_firmware_entry entry = {0};
	int r = qmr_firmware_find_entry(QMR_SLOT_FIRST, &entry.number, err);

	if (r < 0)
		return r;
	r = get_numbers("BootNext", other, err);
	if (r < 0)
		return r;
	entry.is_next = r == 1 && other[0] == entry.number;
	entry.n_order = get_numbers("BootOrder", order, err);
	if (entry.n_order < 0)
		return entry.n_order;
	for (int i = 0; i < entry.n_order && !entry.position; i++)
		if (order[i] == entry.number)
			entry.position = i + 1;
	r = get_numbers("BootCurrent", other, err);
	if (r < 0)
		return r;
	entry.after_current = r == 1 && entry.position > 1 && order[entry.position - 2] == other[0];
	*ret_entry = entry;
	return 0;
}

int qmr_firmware_clear_next(uint16_t number, struct qmr_error *err)
{
	uint16_t next[ENTRIES_MAX];
	int r = get_numbers("BootNext", next, err);

	if (r < 0)
		return r;
	if (r != 1 || next[0] != number)
		return 0;
	r = delete_variable("BootNext", err);
	return r < 0 ? r : 1;
}

int qmr_firmware_unregister(enum qmr_slot slot, struct qmr_error *err)
{
	uint16_t order[ENTRIES_MAX], number;
	char name[9];
	int n, used = 0, r;

	r = qmr_firmware_find_entry(slot, &number, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = qmr_firmware_clear_next(number, err);
	if (r < 0)
		return r;
	n = get_numbers("BootOrder", order, err);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++)
		if (order[i] != number)
			order[used++] = order[i];
	if (used != n)
		r = used ? set_numbers("BootOrder", order, used, err) : delete_variable("BootOrder", err);
	if (r < 0)
		return r;
	format_name(number, name);
	r = delete_variable(name, err);
	return r < 0 ? r : 1;
}
