/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cleanup.h"
#include "guard.h"
#include "hold.h"

/* Times in which a boot, or no boot, says nothing about the system: a person is asked, or the machine sleeps on disk. */

static int set_phase(const struct qmr_guard *guard, enum qmr_phase phase, struct qmr_error *err)
{
	struct qmr_state state;
	int r = qmr_guard_load_own(guard, &state, err);

	if (r < 0 || state.attempts[0].outcome != QMR_OPEN || state.attempts[0].phase == phase)
		return r;
	state.attempts[0].phase = (uint8_t)phase;
	return qmr_state_save(&state, err);
}

/* Started when systemd has a question; ends when all are answered. */
int qmr_guard_waiting(const struct qmr_guard *guard, struct qmr_error *err)
{
	cleanup_close int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = set_phase(guard, QMR_PHASE_WAITING, err);

	if (r < 0)
		return r;
	while (qmr_hold_is_asked(root_fd))
		(void)sleep(1);
	return set_phase(guard, QMR_PHASE_USERSPACE, err);
}

static int set_hibernated(const struct qmr_guard *guard, int is_hibernated, struct qmr_error *err)
{
	struct qmr_state state;
	int r = qmr_guard_load_own(guard, &state, err);

	if (r < 0 || !(state.attempts[0].flags & QMR_ATTEMPT_HIBERNATED) == !is_hibernated)
		return r;
	state.attempts[0].flags ^= QMR_ATTEMPT_HIBERNATED;
	return qmr_state_save(&state, err);
}

int qmr_guard_hibernate(const struct qmr_guard *guard, struct qmr_error *err)
{
	return set_hibernated(guard, 1, err);
}

int qmr_guard_awake(const struct qmr_guard *guard, struct qmr_error *err)
{
	qmr_guard_unmark(guard, QMR_MARK_ASLEEP);
	return set_hibernated(guard, 0, err);
}
