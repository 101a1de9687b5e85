/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "plan-match.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any bytes are refused, or give a plan whose parts are within their limits and can be matched. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct qmr_config *config;
	static int root_fd = -1;
	json_t *incident = json_pack("{s:s, s:s, s:{s:s, s:s, s:s}, s:{s:s, s:s}}", "kind", "panic", "kernel", "6.1.0-40-amd64",
				     "culprit", "module", "m", "function", "f", "module_version", "1.2~3", "machine",
				     "machine_id", "0123", "os_version", "12");
	char *copy = malloc(size ? size : 1);
	struct qmr_plan plan = {0};

	if (!config) {
		static struct qmr_config defaults = {.label = {"a"}, .n_label = 1, .minimum_age = {{"a", 5}}, .n_minimum_age = 1};

		config = &defaults;
		root_fd = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* as small a root as there is */
	}
	if (!incident || !copy)
		abort();
	memcpy(copy, data, size);
	if (qmr_plan_parse("fuzz", copy, size, &plan, NULL) == 0) {
		if (!plan.id || strlen(plan.id) > 63 || plan.n_actions > QMR_PLAN_ACTIONS_MAX ||
		    (plan.is_hold ? plan.n_actions > 0 || plan.match : plan.n_actions < 1 || !plan.match))
			abort();
		(void)qmr_plan_match(&plan, &(struct qmr_match_subject){incident, config, root_fd});
		(void)qmr_plan_asks_root(&plan);
		(void)qmr_plan_is_old_enough(&plan, config, 1790000000);
	}
	qmr_plan_done(&plan);
	json_decref(incident);
	free(copy);
	return 0;
}
