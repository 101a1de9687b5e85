/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hold.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	for (int i = 0; text && i < 2; i++) {
		memcpy(text, data, size);
		text[size] = '\0';
		(void)(i == 0 ? qmr_hold_will_ask(text) : qmr_hold_is_locked(-1, text)); /* a path that begins with "/" goes below "." */
	}
	free(text);
	return 0;
}
