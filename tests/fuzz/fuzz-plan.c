/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any bytes are refused, or give a plan whose parts are within their limits and can be matched. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *incident = json_pack("{s:s, s:s, s:{s:s, s:s}}", "kind", "panic", "kernel", "6.1.0", "culprit", "module", "m",
				     "function", "f");
	char *copy = malloc(size ? size : 1);
	struct qmr_plan plan = {0};

	if (!incident || !copy)
		abort();
	memcpy(copy, data, size);
	if (qmr_plan_parse("fuzz", copy, size, &plan, NULL) == 0) {
		if (!plan.id || strlen(plan.id) > 63 || plan.n_actions < 1 || plan.n_actions > QMR_PLAN_ACTIONS_MAX)
			abort();
		(void)qmr_plan_match(&plan, incident);
	}
	qmr_plan_done(&plan);
	json_decref(incident);
	free(copy);
	return 0;
}
