/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crc32.h"

/* Bit by bit: it runs over a kilobyte twice a boot, and a table would be larger than the data. */
uint32_t qmr_crc32(uint32_t seed, const void *data, size_t size)
{
	const uint8_t *p = data;
	uint32_t crc = ~seed;

	for (; size; size--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0xEDB88320u & -(crc & 1));
	}
	return ~crc;
}
