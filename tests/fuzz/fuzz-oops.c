/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>

#include "oops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmr_oops oops;

	(void)!qmr_oops_parse((const char *)data, size, &oops, NULL);
	return 0;
}
