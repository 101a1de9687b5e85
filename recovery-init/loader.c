/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "acknowledge.h"
#include "child.h"
#include "cleanup.h"
#include "esp-mount.h"
#include "loader-once.h"
#include "log.h"
#include "recovery.h"

/*
 * systemd-boot's counters, at both ends of a run. Its entries are used up where it came here by itself; the next start would lead back here,
 * healed or not.
 */

struct esp_call {
	const char *device;
	int is_read_only;
	int (*work)(int top, const struct esp_call *call, struct qmr_error *err);
	int is_last; /* restore */
};

static int look(int top, const struct esp_call *call, struct qmr_error *err)
{
	return qmr_loader_is_exhausted(top, err);
}

/* Not sync(2), which waits for all disks: one of them may not answer. top may be a descriptor that stands for a place only. */
static void flush(int top)
{
	cleanup_close int fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		(void)syncfs(fd);
}

static int restore(int top, const struct esp_call *call, struct qmr_error *err)
{
	/* Where the boot state is in the variable nobody has looked here before. */
	int once = qmr_loader_once_remove(top, err);
	int r = qmr_loader_restore(top, 0, call->is_last, err);

	flush(top);
	return once < 0 && r >= 0 ? once : r;
}

static int with_esp(void *context, void *answer, struct qmr_error *err)
{
	const struct esp_call *call = context;
	cleanup_close int fd = qmr_esp_mount(call->device, call->is_read_only, err);

	return fd < 0 ? fd : call->work(fd, call, err);
}

enum qmr_result qmr_step_reason(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	char *const argv[] = {QMR_PROGRAM("recovery-state"), "loader", NULL};
	struct esp_call call = {recovery->devices.esp, 1, look, 0};
	int r;

	if (recovery->state.reason != QMR_REASON_MENU || !recovery->devices.esp[0]) {
		qmr_error_set(err, 0, "%s", recovery->devices.esp[0] ? "why recovery was started is known" : "the ESP was not found");
		return QMR_RESULT_SKIPPED;
	}
	r = qmr_child_call(with_esp, &call, deadline_ms / 2, NULL, 0, err);
	if (r <= 0)
		return r < 0 ? qmr_result_from(r) : QMR_RESULT_NOTHING;
	recovery->state.reason = QMR_REASON_LOADER;
	recovery->mode = qmr_effective_mode(recovery->config.mode, recovery->state.reason, recovery->state.flags);
	return recovery->state_known ? qmr_recovery_program(argv, deadline_ms / 2, err) : QMR_RESULT_OK;
}

enum qmr_result qmr_step_loader(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	/* Where nothing was applied the system gets one more chance, and no more: what does not start comes back here, and runs are counted. */
	struct esp_call call = {recovery->devices.esp, 0, restore, !recovery->applied[0]};
	int is_asleep = recovery->devices.suspended || qmr_state_is_hibernated(&recovery->state);
	int r;

	if (!recovery->devices.esp[0] || is_asleep) {
		qmr_error_set(err, 0, "%s", is_asleep ? "a hibernated system has the ESP mounted: it is not written" :
									   "the ESP was not found");
		return QMR_RESULT_SKIPPED;
	}
	r = qmr_child_call(with_esp, &call, deadline_ms, NULL, 0, err);
	if (r < 0)
		return qmr_result_from(r);
	if (r > 0)
		qmr_error_set(err, 0, call.is_last ? "%d boot entries have one try" : "%d boot entries have their tries back", r);
	return r > 0 ? QMR_RESULT_OK : QMR_RESULT_NOTHING;
}
