/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "boot-state.h"
#include "crc32.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The checksum is made right, or nothing behind it would ever be reached. What decodes must encode and decode again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[QMR_STATE_BYTES_MAX] = {0}, again[QMR_STATE_BYTES];
	struct qmr_state state, back;
	uint32_t crc;

	(void)!qmr_state_decode(data, size, &state, NULL);
	if (size < 12 || size > sizeof(bytes))
		return 0;
	memcpy(bytes, data, size);
	memcpy(bytes, "QMRS\1\0", 6);
	bytes[6] = (uint8_t)size;
	bytes[7] = (uint8_t)(size >> 8);
	memset(bytes + 8, 0, 4);
	crc = qmr_crc32(0, bytes, size);
	for (int i = 0; i < 4; i++)
		bytes[8 + i] = (uint8_t)(crc >> 8 * i);
	if (qmr_state_decode(bytes, size, &state, NULL) < 0)
		return 0;
	qmr_state_encode(&state, again);
	if (qmr_state_decode(again, sizeof(again), &back, NULL) < 0)
		abort();
	return 0;
}
