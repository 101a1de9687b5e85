/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acknowledge.h"
#include "child.h"
#include "cleanup.h"
#include "file.h"

/* PID 1's side of recovery-state. */

#define FIRMWARE_MS 15000

static int read_state(struct qmr_state *ret_state, struct qmr_error *err)
{
	cleanup_free char *bytes = NULL;
	size_t size;
	int r = qmr_file_read(AT_FDCWD, QMR_STATE_FILE, QMR_STATE_BYTES_MAX, &bytes, &size, err);

	return r < 0 ? r : qmr_state_decode(bytes, size, ret_state, err);
}

const char *qmr_state_esp(const struct qmr_recovery *recovery)
{
	return recovery->devices.esp[0] && !recovery->devices.suspended && !qmr_state_is_hibernated(&recovery->state) && access(QMR_STATE_IN_FILE, F_OK) == 0 ? recovery->devices.esp
														 : NULL;
}

static enum qmr_result acknowledge(struct qmr_recovery *recovery, char *esp, int deadline_ms, struct qmr_error *err)
{
	char *const argv[] = {QMR_PROGRAM("recovery-state"), "acknowledge", esp ? "--esp" : NULL, esp, NULL};
	enum qmr_result result = qmr_recovery_program(argv, deadline_ms, err);
	static const struct qmr_evidence nothing = {.crash_uptime_s = -1};
	struct qmr_error why = {0};

	if (read_state(&recovery->state, &why) < 0) {
		/* Recovery goes on all the same, and nobody remembers. */
		qmr_state_init(&recovery->state, NULL);
		(void)qmr_acknowledge(&recovery->state, &nothing, 0, 0);
		recovery->state.reason = QMR_REASON_NONE; /* whether somebody asked is not known either */
		if (!err->code)
			*err = why;
	}
	recovery->is_test = (recovery->state.flags & QMR_STATE_TEST) != 0;
	if (recovery->is_test)
		recovery->state.reason = QMR_REASON_REQUESTED; /* the state has that of the last incident */
	recovery->state_known = result == QMR_RESULT_OK;
	qmr_uuid_format(recovery->state.incident, recovery->incident);
	snprintf(recovery->tried, sizeof(recovery->tried), "%s", recovery->state.remediation);
	recovery->mode = qmr_effective_mode(recovery->config.mode, recovery->state.reason, recovery->state.flags);
	if (recovery->state.flags & QMR_STATE_SECOND && !err->code)
		qmr_error_set(err, 0, "this is the second image");
	return result;
}

enum qmr_result qmr_step_acknowledge(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	return acknowledge(recovery, NULL, deadline_ms, err);
}

/* The boot state may be in the file, and this run is not counted yet, or in an empty history. */
enum qmr_result qmr_step_acknowledge_file(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	char *esp = (char *)qmr_state_esp(recovery);

	if (esp)
		return acknowledge(recovery, esp, deadline_ms, err);
	qmr_error_set(err, 0, "%s", access(QMR_STATE_IN_FILE, F_OK) < 0 ? "the EFI variable holds the boot state"
				    : recovery->devices.suspended ? "a hibernated system may be writing to the ESP"
								 : "the ESP was not found");
	return QMR_RESULT_SKIPPED;
}

int qmr_ending_save(struct qmr_recovery *recovery, const struct qmr_ending *ending, struct qmr_error *err)
{
	char rung[16], other[16];
	int goes_on = ending->final != QMR_END_HALT && ending->final != QMR_END_MENU;
	char *esp = (char *)qmr_state_esp(recovery);
	char *argv[20] = {QMR_PROGRAM("recovery-state"), "end", "--stage", (char *)qmr_stage_name(ending->stage),
			  "--final", (char *)qmr_final_condition_name(ending->final), "--rung", rung, "--note",
			  (char *)ending->note};
	int n = 10;
	int r;

	snprintf(rung, sizeof(rung), "%d", ending->rung);
	snprintf(other, sizeof(other), "%d", recovery->state.recovery_runs);
	if (ending->remediation) {
		argv[n++] = "--remediation";
		argv[n++] = (char *)ending->remediation;
	}
	if (goes_on && recovery->state.reason == QMR_REASON_BOOT_ORDER) {
		argv[n++] = "--boot-other";
		argv[n++] = other;
	}
	if (recovery->floor[0]) {
		argv[n++] = "--floor";
		argv[n++] = recovery->floor;
	}
	if (esp) {
		argv[n++] = "--esp";
		argv[n++] = esp;
	}
	if (!recovery->state_known)
		return qmr_error_set(err, -EOPNOTSUPP, "the boot state cannot be written");
	r = qmr_child_run(argv, FIRMWARE_MS, NULL, 0, err);
	return r > 0 ? qmr_error_set(err, -EIO, "writing the boot state failed (exit %d)", r) : r;
}
