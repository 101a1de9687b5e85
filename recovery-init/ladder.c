/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ladder.h"

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "json.h"
#include "log.h"

#define PLAN_BYTES_MAX 65536 /* docs/remediation.md */

enum qmr_then_what qmr_then_from(const char *word)
{
	return word && !strcmp(word, "shutdown")    ? QMR_DO_SHUTDOWN
	       : word && !strcmp(word, "next-rung") ? QMR_DO_NEXT_RUNG
						    : QMR_DO_REBOOT;
}

/* remediation-fetch has verified and validated the plan; what cannot be read now supersedes nothing. */
static void take_along(const struct qmr_ladder *ladder, const struct qmr_plan_file *by, struct qmr_plan_file *plans, size_t n)
{
	cleanup_json json_t *plan = NULL;
	const json_t *list;

	if (qmr_json_load(ladder->plans_fd, by->name, PLAN_BYTES_MAX, &plan, NULL) < 0)
		return;
	list = json_object_get(plan, "supersedes");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *id = json_string_value(json_array_get(list, i));

		for (size_t k = 0; id && k < n; k++)
			if (&plans[k] != by && !strcmp(plans[k].id, id))
				plans[k].is_superseded = 1;
	}
}

/* 1: something was applied that is not to be followed by anything. */
static int climb_plans(const struct qmr_ladder *ladder, struct qmr_plan_file *plans, size_t n, enum qmr_result *result,
		       enum qmr_then_what *ret_then, struct qmr_error *err)
{
	for (size_t i = 0; i < n; i++) {
		enum qmr_then_what then = QMR_DO_REBOOT;
		struct qmr_error why = {0};
		enum qmr_result one;

		if (plans[i].is_superseded) {
			qmr_info("plan '%s' is superseded by one that was tried", plans[i].id);
			take_along(ladder, &plans[i], plans, n);
			continue;
		}
		if (ladder->was_tried(ladder->user, plans[i].id)) {
			qmr_info("plan '%s' was applied before in this incident and did not help", plans[i].id);
			take_along(ladder, &plans[i], plans, n);
			continue;
		}
		one = ladder->try(ladder->user, &plans[i], &then, &why);
		if (one == QMR_RESULT_OK || *result != QMR_RESULT_OK) {
			*err = why; /* what was applied is what is said, whatever failed later */
			*result = one == QMR_RESULT_SKIPPED ? QMR_RESULT_NOTHING : one;
		}
		if (one == QMR_RESULT_OK)
			*ret_then = then;
		if (one == QMR_RESULT_OK && then != QMR_DO_NEXT_RUNG)
			return 1;
		if (one != QMR_RESULT_NOTHING)
			take_along(ladder, &plans[i], plans, n);
	}
	return 0;
}

enum qmr_result qmr_ladder_climb(const struct qmr_ladder *ladder, enum qmr_then_what *ret_then, struct qmr_error *err)
{
	cleanup_free struct qmr_plan_file *plans = calloc(QMR_PLANS_MAX, sizeof(*plans));
	size_t n = plans && ladder->has_plans ? qmr_plans_list(ladder->plans_fd, plans) : 0;
	enum qmr_result result = QMR_RESULT_NOTHING, local;
	enum qmr_then_what then = QMR_DO_REBOOT, after = QMR_DO_REBOOT;
	struct qmr_error why = {0};

	qmr_error_set(err, 0, "no signed plan to try");
	if (!climb_plans(ladder, plans, n, &result, &then, err)) {
		local = ladder->try(ladder->user, NULL, &after, &why);
		if (result != QMR_RESULT_OK || local == QMR_RESULT_OK) {
			result = local;
			then = after;
			*err = why;
		}
	}
	*ret_then = then;
	return result;
}
