/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "esp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct qmr_mount mount;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (qmr_mountinfo_find(text, "/", &mount) == 0 && strcmp(mount.path, "/"))
		abort();
	if (qmr_fstab_find(text, "/efi", &mount) == 0 && strcmp(mount.path, "/efi"))
		abort();
	if (qmr_mountinfo_find_holding(text, "/var/lib", &mount) == 0 &&
	    strncmp(mount.path, "/var/lib", strlen(mount.path)))
		abort();
	if (qmr_fstab_find_holding(text, "/var/lib", &mount) == 0 &&
	    strncmp(mount.path, "/var/lib", strlen(mount.path)))
		abort();
	free(text);
	return 0;
}
