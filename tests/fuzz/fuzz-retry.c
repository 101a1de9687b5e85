/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "retry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Two header values, Retry-After and Date, with a newline between them: a server may send anything. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *date;
	int64_t after;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	date = strchr(text, '\n');
	if (date)
		*date++ = '\0';
	after = qmr_retry_after_s(text, date, 1790000000);
	if (after < 0 || after > 86400)
		abort();
	free(text);
	return 0;
}
