/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "guard.h"
#include "healthy.h"
#include "history.h"
#include "log.h"
#include "uuid.h"

/* How a boot ends well: healthy, or left on purpose. */

#define PSTORE "/sys/fs/pstore"
#define ARCHIVE "/var/lib/qmr/pstore"
#define INCIDENTS "/var/lib/qmr/incidents"
#define TAINT_DIE 7 /* the bit of a kernel that has oopsed: include/linux/panic.h */

void qmr_guard_archive(void)
{
	struct qmr_error err = {0};
	int n = qmr_archive_records(PSTORE, ARCHIVE, time(NULL), &err);

	if (n > 0)
		qmr_notice("%d crash records moved from the firmware's memory to '%s'", n, ARCHIVE);
	if (n < 0)
		qmr_warning("%s; crash records that were not moved stay in the firmware's memory", err.text);
}

/* Both are for people: the boot is healthy whatever becomes of them. */
static void keep_evidence(const struct qmr_state *state, const char *final)
{
	struct qmr_error err = {0};

	qmr_guard_archive();
	if (final && qmr_report_write(INCIDENTS, state, final, time(NULL), &err) < 0)
		qmr_warning("%s; the incident has no report", err.text);
}

/* How the open incident ended, NULL if there is none. */
static const char *incident_end(const struct qmr_state *state)
{
	static const char *const ends[] = {[QMR_STAGE_RECOVERING] = "healthy", [QMR_STAGE_PROBATION] = "healed",
					   [QMR_STAGE_GIVEN_UP] = "healthy", [QMR_STAGE_FINAL] = "healthy"};

	return state->stage < sizeof(ends) / sizeof(*ends) && !qmr_uuid_is_null(state->incident) ? ends[state->stage] : NULL;
}

/* An oops that nothing died of goes on unseen: the boot is healthy, but not without a word. */
static int has_oopsed(void)
{
	cleanup_free char *text = NULL;
	size_t size;

	return qmr_file_read(AT_FDCWD, "/proc/sys/kernel/tainted", 64, &text, &size, NULL) == 0 &&
	       strtoull(text, NULL, 10) >> TAINT_DIE & 1;
}

/*
 * A switch that the owner asked for and that waits for the reboot stands: BootNext is set, and recovery must learn why. The
 * detector's own reboots at once: if this boot goes on, it failed, and it must not come back at a planned reboot.
 */
static void settle_stage(struct qmr_state *state)
{
	if (state->stage == QMR_STAGE_SWITCHING && state->reason != QMR_REASON_DETECTOR)
		return;
	state->stage = state->stage == QMR_STAGE_PROBATION ? QMR_STAGE_HEALED : QMR_STAGE_NONE;
	state->switches = 0;
	state->recovery_runs = 0;
}

/*
 * Seconds by the clock of the kernel's messages, which a crash record will be compared with: it runs neither as CLOCK_BOOTTIME (suspend) nor
 * quite as CLOCK_MONOTONIC. The message also tells who reads a crash record that the machine had been healthy. Records of /dev/kmsg begin
 * "priority,sequence,microseconds," (Documentation/ABI/testing/dev-kmsg).
 */
static uint32_t log_uptime_s(void)
{
	static const char message[] = "<6>boot-guard: this boot is healthy\n";
	cleanup_close int fd = open("/dev/kmsg", O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	unsigned long long microseconds;
	char record[1024];

	if (fd >= 0 && lseek(fd, 0, SEEK_END) >= 0 && write(fd, message, sizeof(message) - 1) > 0)
		for (ssize_t n; (n = read(fd, record, sizeof(record) - 1)) > 0;) {
			record[n] = '\0';
			if (strstr(record, "boot-guard: this boot is healthy") && sscanf(record, "%*u,%*u,%llu,", &microseconds) == 1)
				return (uint32_t)(microseconds / 1000000);
		}
	return qmr_guard_uptime_s();
}

/* Whatever was recorded of this boot before (a late deadline, a shell that somebody left again, a soft reboot), it has come this far. */
int qmr_guard_healthy(const struct qmr_guard *guard, struct qmr_error *err)
{
	struct utsname uts = {0};
	struct qmr_error why = {0};
	struct qmr_state state;
	const char *final;
	int r = qmr_guard_load_own(guard, &state, err);

	if (r < 0)
		return r;
	if (state.attempts[0].outcome == QMR_HEALTHY)
		return 0;
	final = incident_end(&state);
	keep_evidence(&state, final);
	state.attempts[0].outcome = QMR_HEALTHY;
	state.attempts[0].phase = QMR_PHASE_HEALTHY;
	state.attempts[0].evidence = QMR_BY_NONE;
	state.attempts[0].uptime_s = log_uptime_s();
	if (has_oopsed()) {
		state.attempts[0].flags |= QMR_ATTEMPT_OOPS;
		qmr_warning("this boot is healthy, but its kernel has oopsed (journalctl -k -b); see 'qmrctl history'");
	}
	settle_stage(&state);
	(void)uname(&uts); /* cannot fail with a valid pointer */
	snprintf(state.kernel, sizeof(state.kernel), "%.63s", uts.release);
	qmr_state_move_back(); /* crash records have just made room, and nobody waits */
	r = qmr_state_save(&state, err);
	if (r == 0 && qmr_history_append(QMR_HISTORY_PATH, &state, &why) < 0)
		qmr_warning("%s; 'qmrctl history' remembers %d attempts only", why.text, QMR_STATE_ATTEMPTS);
	return r;
}

int qmr_guard_clean_shutdown(const struct qmr_guard *guard, struct qmr_error *err)
{
	struct qmr_state state;
	int r = qmr_guard_load_own(guard, &state, err), is_news = 0;

	if (r < 0)
		return r;
	if (state.attempts[0].outcome == QMR_OPEN) {
		state.attempts[0].outcome = QMR_CLEAN_SHUTDOWN;
		state.attempts[0].phase = QMR_PHASE_SHUTDOWN;
		state.attempts[0].uptime_s = qmr_guard_uptime_s();
		is_news = 1;
	}
	/* If it is set again at the next start, this orderly end was not what set it. */
	if (!(state.flags & (QMR_STATE_WATCHDOG_STICKY | QMR_STATE_WATCHDOG_SEEN)) && qmr_guard_has_reset_reason(guard)) {
		state.flags |= QMR_STATE_WATCHDOG_SEEN;
		is_news = 1;
	}
	return is_news ? qmr_state_save(&state, err) : 0;
}
