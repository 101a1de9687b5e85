/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "floor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int qmr_floor_is_set(const struct qmr_floor *floor)
{
	return floor->trust || floor->keys || floor->root;
}

void qmr_floor_format(const struct qmr_floor *floor, char ret_text[QMR_FLOOR_TEXT])
{
	snprintf(ret_text, QMR_FLOOR_TEXT, "%016" PRIx64 ":%016" PRIx64 ":%u:%u:%u:%u", floor->trust, floor->keys, floor->root,
		 floor->timestamp, floor->snapshot, floor->targets);
}

int qmr_floor_parse(const char *text, struct qmr_floor *ret_floor, struct qmr_error *err)
{
	char again[QMR_FLOOR_TEXT];
	struct qmr_floor floor;

	/* Numbers that are too large, signs and blanks do not come back as they were. */
	if (strlen(text) < QMR_FLOOR_TEXT &&
	    sscanf(text, "%16" SCNx64 ":%16" SCNx64 ":%10u:%10u:%10u:%10u", &floor.trust, &floor.keys, &floor.root, &floor.timestamp,
		   &floor.snapshot, &floor.targets) == 6) {
		qmr_floor_format(&floor, again);
		if (!strcmp(text, again)) {
			*ret_floor = floor;
			return 0;
		}
	}
	return qmr_error_set(err, -EINVAL, "'%.80s' names no highest versions", text);
}
