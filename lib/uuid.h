/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_UUID_H
#define QMR_UUID_H

#include <stdint.h>

#include "error.h"

#define QMR_UUID_TEXT 37 /* with NUL */

/* Version 4 from getrandom(2) without blocking; early in boot, when the pool is empty, from clocks and counters. */
void qmr_uuid_random(uint8_t ret_uuid[16]);

/* Lower case, 8-4-4-4-12. */
void qmr_uuid_format(const uint8_t uuid[16], char ret_text[QMR_UUID_TEXT]);

/* -EINVAL unless text is exactly one UUID, any case. */
int qmr_uuid_parse(const char *text, uint8_t ret_uuid[16]) QMR_MUST_CHECK;

/* Whether all bytes are 0. */
int qmr_uuid_is_null(const uint8_t uuid[16]);

#endif
