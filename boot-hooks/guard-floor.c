/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "guard.h"

/* The highest versions of the owner's repository: recovery and the running system remember them in the same place. */

int qmr_guard_floor(const struct qmr_guard *guard, struct qmr_error *err)
{
	char text[QMR_FLOOR_TEXT], before[QMR_FLOOR_TEXT];
	struct qmr_floor floor = {0};
	struct qmr_state state;
	uint8_t root[16];
	int r = guard->argument ? qmr_floor_parse(guard->argument, &floor, err) : 0;

	if (r < 0)
		return r;
	qmr_guard_root_id(guard->config, root);
	r = qmr_state_load(root, &state, err);
	if (r == -ENOENT && !guard->argument)
		return 0; /* nothing is remembered */
	if (r < 0)
		return r; /* an empty history must not be begun by who knows nothing of this boot */
	qmr_floor_format(&state.floor, before);
	if (!guard->argument) {
		if (qmr_floor_is_set(&state.floor))
			puts(before);
		return 0;
	}
	qmr_floor_format(&floor, text);
	if (!strcmp(text, before))
		return 0; /* flash wears */
	state.floor = floor;
	return qmr_state_save(&state, err);
}
