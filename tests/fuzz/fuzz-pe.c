/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "pe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any bytes as a stub: refused, or the result is a PE file that takes further sections. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct qmr_pe_section first[] = {{".osrel", "a", 1}, {".cmdline", "bcd", 3}, {".linux", "e", 1}};
	static const struct qmr_pe_section second[] = {{".second", "f", 1}};
	uint8_t *image = NULL, *again = NULL;
	size_t image_size, again_size;
	int r;

	if (qmr_pe_append(data, size, first, 3, &image, &image_size, NULL) < 0)
		return 0;
	r = qmr_pe_append(image, image_size, second, 1, &again, &again_size, NULL);
	if (r < 0 && r != -E2BIG && r != -EEXIST)
		abort();
	free(image);
	free(again);
	return 0;
}
