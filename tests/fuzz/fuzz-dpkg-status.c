/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dpkg-status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int is_within(const char *text, size_t length, const char *begin, size_t size)
{
	return !text || (text >= begin && text + length <= begin + size);
}

/* Any bytes are refused, or give stanzas whose texts lie in them; it ends. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size ? size : 1);
	struct qmr_dpkg_entry entry;
	const char *rest = copy;
	size_t left = size;

	if (!copy)
		abort();
	memcpy(copy, data, size);
	while (qmr_dpkg_next(&rest, &left, &entry, NULL) > 0)
		if (!entry.package_size || !is_within(entry.package, entry.package_size, copy, size) ||
		    !is_within(entry.version, entry.version_size, copy, size) ||
		    !is_within(entry.architecture, entry.architecture_size, copy, size) || (entry.is_there && entry.is_unknown))
			abort();
	free(copy);
	return 0;
}
