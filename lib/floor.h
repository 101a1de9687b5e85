/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FLOOR_H
#define QMR_FLOOR_H

#include <stdint.h>

#include "error.h"

/*
 * The highest versions of a repository's metadata that were seen (docs/remediation.md, "Highest versions"), as the boot state remembers
 * them and as programs tell each other. All zero: nothing is remembered.
 */
struct qmr_floor {
	uint64_t trust; /* first 8 bytes of the SHA-256 of the trusted root that the image holds: another root begins anew */
	uint64_t keys;	/* the same of the key ids of timestamp and snapshot: other keys let all versions but root's go back */
	uint32_t root, timestamp, snapshot, targets;
};

#define QMR_FLOOR_TEXT 80 /* with NUL */

/* Whether anything is remembered. */
int qmr_floor_is_set(const struct qmr_floor *floor);

/* "0123456789abcdef:0123456789abcdef:2:41:40:12" */
void qmr_floor_format(const struct qmr_floor *floor, char ret_text[QMR_FLOOR_TEXT]);

/* -EINVAL if text is not exactly what _format writes. */
int qmr_floor_parse(const char *text, struct qmr_floor *ret_floor, struct qmr_error *err) QMR_MUST_CHECK;

#endif
