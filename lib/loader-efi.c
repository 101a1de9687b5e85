/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <efivar/efivar.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "loader-tries.h"

#define LOADER_GUID EFI_GUID(0x4a67b082, 0x0a4c, 0x41cf, 0xb6c7, 0x44, 0x0b, 0x29, 0xbb, 0x8c, 0x4f)

/* UTF-16 in the firmware; file names and patterns are plain ASCII in practice. */
int qmr_loader_variable(const char *name, char ret_value[QMR_LOADER_VALUE])
{
	cleanup_free uint8_t *data = NULL;
	uint32_t attributes;
	size_t size = 0, n = 0;

	if (efi_get_variable(LOADER_GUID, name, &data, &size, &attributes) < 0) {
		data = NULL;
		efi_error_clear();
		return -ENOENT;
	}
	/* A system that was written to disk still sees variables that the loader has not set for its resume: they are empty. */
	if (size < 2 || size / 2 > QMR_LOADER_VALUE || (!data[0] && !data[1]))
		return -ENOENT;
	for (size_t i = 0; i + 1 < size && (data[i] || data[i + 1]) && n < QMR_LOADER_VALUE - 1; i += 2)
		ret_value[n++] = data[i + 1] ? '?' : (char)data[i];
	ret_value[n] = '\0';
	return 0;
}

void qmr_loader_find_own(int has_variables, struct qmr_loader_own *ret_own)
{
	cleanup_free char *text = NULL;
	size_t size;

	*ret_own = (struct qmr_loader_own){0};
	if (qmr_file_read(AT_FDCWD, QMR_MACHINE_ID, sizeof(ret_own->machine_id) - 1, &text, &size, NULL) == 0)
		snprintf(ret_own->machine_id, sizeof(ret_own->machine_id), "%.*s", (int)strcspn(text, " \r\n"), text);
	if (!has_variables || qmr_loader_variable("LoaderEntrySelected", ret_own->booted) < 0)
		ret_own->booted[0] = '\0';
}
