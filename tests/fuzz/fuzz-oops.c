/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "oops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any text gives an oops whose strings end and whose counts are within the arrays, or -ENOENT. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmr_oops *oops = calloc(1, sizeof(*oops));
	char *copy = malloc(size ? size : 1); /* exactly as long, so that a read beyond the end is seen */

	if (!oops || !copy)
		abort();
	memcpy(copy, data, size);
	if (qmr_oops_parse(copy, size, oops, NULL) == 0) {
		if (oops->n_trace > QMR_OOPS_TRACE_MAX || oops->n_modules > QMR_OOPS_MODULES_MAX ||
		    !memchr(oops->summary, 0, sizeof(oops->summary)) || !memchr(oops->kernel, 0, sizeof(oops->kernel)) ||
		    !memchr(oops->ip.module, 0, sizeof(oops->ip.module)))
			abort();
	}
	free(copy);
	free(oops);
	return 0;
}
