/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "console.h"
#include "recovery.h"
#include "timeline.h"

static const char *const why[] = {
	[QMR_REASON_NONE] = "Recovery was started.",
	[QMR_REASON_DETECTOR] = "This machine did not boot.",
	[QMR_REASON_REQUESTED] = "The owner of this machine asked for recovery.",
	[QMR_REASON_MENU] = "Recovery was chosen in a boot menu.",
	[QMR_REASON_BOOT_ORDER] = "The firmware could not start the system and started recovery.",
	[QMR_REASON_LOADER] = "The boot loader could not start the system and started recovery.",
};

static const char *const what[] = {
	[QMR_MODE_OFF] = "nothing",
	[QMR_MODE_OBSERVE] = "nothing",
	[QMR_MODE_COLLECT] = "crash records are collected, nothing is changed",
	[QMR_MODE_ASK] = "crash records are collected; you are asked before anything is changed",
	[QMR_MODE_AUTOMATIC] = "crash records are collected, and what broke the system is repaired",
};

static void print_plan(const struct qmr_recovery *recovery)
{
	const struct qmr_config *c = &recovery->config;

	if (recovery->is_test) {
		qmr_console_print("\nThe owner of this machine has the recovery image tested: nothing is collected, sent or changed, and "
				  "the system boots after it.\n\n");
		return;
	}
	qmr_console_print("\n%s Failed boots: %d. Run %d of at most %d. Incident %s\n",
			  why[recovery->state.reason], recovery->state.failed_boots, recovery->state.recovery_runs,
			  c->recovery_runs, recovery->incident);
	qmr_console_print("By the policy of its owner (mode %s): %s.\n", qmr_mode_name(recovery->mode),
			  what[recovery->mode]);
	qmr_console_print("Sent, encrypted to the owner:  %s\n", c->upload_url[0] ? c->upload_url : "nothing");
	qmr_console_print("Signed remediations from:      %s", c->n_repository_urls ? c->repository_url[0] : "nowhere");
	if (c->n_repository_urls > 1)
		qmr_console_print(", and %zu more", c->n_repository_urls - 1);
	qmr_console_print("\n");
	qmr_console_print("Revert without a signed plan:  %s\n\n", c->local_rollback ? "yes" : "no");
}

enum qmr_result qmr_step_announce(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	int64_t end = qmr_timeline_now_ms() + recovery->config.cancel_s * 1000;

	print_plan(recovery);
	qmr_console_flush();
	while (recovery->config.cancel_s > 0) {
		int64_t left = end - qmr_timeline_now_ms();
		int key;

		if (left <= 0)
			break;
		qmr_console_print("\r  c: do nothing and boot normally. Going on in %2d s ", (int)(left + 999) / 1000);
		key = qmr_console_key(left < 1000 ? (int)left : 1000);
		if (key == 'c') { /* not Esc: it begins every arrow key and every answer of a terminal */
			recovery->is_cancelled = 1;
			break;
		}
	}
	qmr_console_print("\n");
	if (recovery->is_cancelled)
		qmr_error_set(err, 0, "cancelled at the console");
	return QMR_RESULT_OK;
}
