/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_CRC32_H
#define QMR_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32 of IEEE 802.3 (polynomial 0xEDB88320, as zlib's crc32()). seed 0 to begin, the last result to go on. */
uint32_t qmr_crc32(uint32_t seed, const void *data, size_t size);

#endif
