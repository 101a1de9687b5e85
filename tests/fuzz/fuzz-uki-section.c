/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "uki-section.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	char *text;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
		close(fd);
		return 0;
	}
	if (qmr_uki_section_read(fd, ".osrel", 65536, &text) == 0) {
		if (strlen(text) > size)
			abort();
		free(text);
	}
	/* Whole is what has both sections, so they are found. */
	if (qmr_uki_examine(fd) == 0) {
		if (qmr_uki_section_read(fd, ".initrd", size, &text) < 0)
			abort();
		free(text);
	}
	close(fd);
	return 0;
}
