/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "end.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "console.h"
#include "file.h"
#include "json.h"
#include "log-view.h"
#include "log.h"
#include "root.h"
#include "test-run.h"

#define LOG_BYTES_MAX (1 << 20)
#define TIMELINE_BEFORE QMR_RUN "/timeline-before.json"
#define SAVE_MS 120000
#define UNMOUNT_MS 60000
#define TERM_MS 1000
#define RESTART_S 30 /* for the devices of a machine that restarts */

static const enum qmr_final_condition final_conditions[] = {
	[QMR_FINAL_BOOT] = QMR_END_NORMAL_BOOT, [QMR_FINAL_HALT] = QMR_END_HALT, [QMR_FINAL_MENU] = QMR_END_MENU};

/*
 * A restart would only lead back here: the firmware or the loader started recovery because it finds nothing else, and the runs are used up, or
 * nobody could count them. (The detector's switches are counted by boot-guard.)
 */
static int would_come_back(const struct qmr_recovery *recovery)
{
	if (recovery->state.reason != QMR_REASON_BOOT_ORDER && recovery->state.reason != QMR_REASON_MENU &&
	    recovery->state.reason != QMR_REASON_LOADER)
		return 0;
	return !recovery->state_known || recovery->state.recovery_runs >= recovery->config.recovery_runs;
}

/* The switch has overwritten the stage; the attempt that it was asked in knows. */
static int is_on_probation(const struct qmr_state *state)
{
	return state->n_attempts && state->attempts[0].flags & QMR_ATTEMPT_PROBATION && state->attempts[0].phase != QMR_PHASE_HEALTHY;
}

struct qmr_ending qmr_end_decide(struct qmr_recovery *recovery, const char *why)
{
	struct qmr_ending ending = {QMR_STAGE_FINAL, final_conditions[recovery->config.final], 0, NULL, recovery->note};
	unsigned int reason = recovery->state.reason;
	/* Boots that ended without evidence count no failure, but were too many. */
	int was_sent = reason == QMR_REASON_DETECTOR || reason == QMR_REASON_BOOT_ORDER || reason == QMR_REASON_LOADER;
	int nothing_was_wrong = recovery->state.failed_boots == 0 && !was_sent;

	if (recovery->is_test) {
		ending.stage = recovery->state.stage; /* everything is as it was */
		ending.final = QMR_END_NONE;
		return ending;
	}
	if (recovery->applied[0]) {
		ending.stage = QMR_STAGE_PROBATION;
		ending.final = QMR_END_NONE;
		return ending;
	}
	snprintf(recovery->note, sizeof(recovery->note), "%s",
		 recovery->is_cancelled ? "cancelled at the console" :
		 nothing_was_wrong	? "recovery ran; no failed boot, nothing changed" :
		 why && *why		? why :
					  "nothing could be done");
	if (recovery->state.stage == QMR_STAGE_PROBATION || nothing_was_wrong) {
		/* Somebody wanted a look: what was under way goes on, and no final condition is due. */
		ending.stage = recovery->state.stage == QMR_STAGE_PROBATION ? QMR_STAGE_PROBATION : QMR_STAGE_NONE;
		ending.final = QMR_END_NONE;
	} else if (recovery->is_cancelled) {
		ending.final = QMR_END_NORMAL_BOOT;
	}
	if (recovery->state.flags & QMR_STATE_COLLECT_ONLY) {
		/* No final condition was to be found: the running system that asked for it goes on where it was. */
		ending.stage = is_on_probation(&recovery->state) ? QMR_STAGE_PROBATION : QMR_STAGE_NONE;
		ending.final = QMR_END_NONE;
		if (!recovery->is_cancelled)
			snprintf(recovery->note, sizeof(recovery->note), "collected, as it was asked for; nothing was changed");
	}
	if (!recovery->is_cancelled && ending.final != QMR_END_HALT && would_come_back(recovery))
		ending.final = QMR_END_MENU;
	return ending;
}

int qmr_end_how(const struct qmr_recovery *recovery, const struct qmr_ending *ending)
{
	if (ending->final == QMR_END_MENU || ending->final == QMR_END_HALT)
		return (int)RB_HALT_SYSTEM;
	return recovery->is_shutdown_wanted && recovery->applied[0] ? (int)RB_POWER_OFF : (int)RB_AUTOBOOT;
}

const char *qmr_end_name(const struct qmr_recovery *recovery, const struct qmr_ending *ending)
{
	if (ending->final != QMR_END_NONE)
		return qmr_final_condition_name(ending->final);
	if (qmr_end_how(recovery, ending) == (int)RB_POWER_OFF)
		return "shutdown";
	return ending->stage == QMR_STAGE_PROBATION ? "probation" : "normal-boot";
}

static void write_timeline(const struct qmr_recovery *recovery, const struct qmr_timeline *timeline, const char *end)
{
	cleanup_json json_t *old = NULL;
	cleanup_json json_t *json = NULL;
	struct qmr_error err = {0};

	if (recovery->root == QMR_MOUNTED_NOT || qmr_root_fetch(recovery, "timeline.json", TIMELINE_BEFORE, NULL) < 0 ||
	    qmr_json_load(AT_FDCWD, TIMELINE_BEFORE, QMR_ROOT_FETCH_BYTES, &old, NULL) < 0)
		old = NULL;
	json = qmr_timeline_to_json(timeline, old, &recovery->state, end);
	if (!json || qmr_json_save(AT_FDCWD, QMR_INCIDENT "/timeline.json", json, 0600, &err) < 0)
		qmr_warning("writing the timeline: %s; it is lost", json ? err.text : "out of memory");
}

static void copy_log(void)
{
	cleanup_free char *text = NULL;
	struct qmr_error err = {0};
	size_t size;

	if (qmr_file_read(AT_FDCWD, QMR_RECOVERY_LOG, LOG_BYTES_MAX, &text, &size, &err) < 0 ||
	    qmr_file_replace(AT_FDCWD, QMR_INCIDENT "/recovery.log", text, size, 0600, &err) < 0)
		qmr_warning("keeping the log of recovery: %s; it is lost", err.text);
}

static void record(struct qmr_recovery *recovery, struct qmr_timeline *timeline, const struct qmr_ending *ending)
{
	struct qmr_timeline_step *step;
	struct qmr_error err = {0};

	step = qmr_timeline_begin(timeline, "finish");
	/* What decides about the next boot comes first. */
	if (!recovery->applied[0] && qmr_ending_save(recovery, ending, &err) < 0)
		qmr_warning("%s; the next boot will not know how this ended", err.text);
	step->duration_ms = qmr_timeline_now_ms() - step->start_ms; /* so far: saving the record itself comes after it */
	write_timeline(recovery, timeline, qmr_end_name(recovery, ending));
	if (!recovery->has_incident)
		return;
	copy_log();
	if (recovery->root == QMR_MOUNTED_RW && qmr_step_save(recovery, SAVE_MS, &err) != QMR_RESULT_OK)
		qmr_warning("saving the record of this run: %s", err.text);
}

/* dhcpcd, and whatever a late child left; they must not hold the root busy. */
static void end_children(void)
{
	int64_t end = qmr_timeline_now_ms() + TERM_MS;

	(void)kill(-1, SIGTERM);
	while (qmr_timeline_now_ms() < end && waitpid(-1, NULL, WNOHANG) >= 0)
		(void)usleep(20000);
	(void)kill(-1, SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/*
 * A restart waits for each device to be put to rest, for many minutes where one does not answer. The root is unmounted by now: after a while the
 * kernel restarts without asking them.
 */
static void restart_in_any_case(void)
{
	int fd;

	if (fork() != 0)
		return; /* without it, a restart waits as it would anyway */
	(void)sleep(RESTART_S);
	fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "b", 1) != 1)
		qmr_console_print("Restarting at once failed: %s. Switch this machine off.\n", strerror(errno));
	_exit(0);
}

static void __attribute__((noreturn)) leave(int how)
{
	if (how == (int)RB_AUTOBOOT)
		restart_in_any_case();
	/* No sync: what matters was synced when it was written, and a disk that hangs must not keep this machine here. */
	(void)reboot(how);
	qmr_console_print("Restarting failed: %s. Switch this machine off.\n", strerror(errno));
	for (;;)
		(void)pause();
}

static void menu(const struct qmr_recovery *recovery)
{
	int64_t end = qmr_timeline_now_ms() + recovery->config.menu_timeout_s * 1000LL;
	int64_t left;

	qmr_console_print("\n  b  boot the system normally\n  p  switch this machine off\n"
			  "Without an answer it halts in %d s.\n", recovery->config.menu_timeout_s);
	qmr_console_flush();
	while ((left = end - qmr_timeline_now_ms()) > 0) {
		int key = qmr_console_key((int)left);

		if (key == 'b')
			leave(RB_AUTOBOOT);
		if (key == 'p')
			leave(RB_POWER_OFF);
	}
}

void qmr_end(struct qmr_recovery *recovery, struct qmr_timeline *timeline, const char *why)
{
	struct qmr_ending ending = qmr_end_decide(recovery, why);
	struct qmr_error err = {0};
	char last[8];
	int how;

	if (recovery->is_test)
		qmr_test_record(recovery, timeline);
	else
		record(recovery, timeline, &ending);
	end_children();
	if (qmr_root_unmount(recovery, UNMOUNT_MS, &err) < 0)
		qmr_warning("%s; its journal will repair it", err.text);
	qmr_console_print_log(last, sizeof(last));
	qmr_console_print("\nRecovery ends after %.1f s: %s (%s).\n", (double)qmr_timeline_now_ms() / 1000.0,
			  qmr_end_name(recovery, &ending), recovery->note);
	if (ending.final == QMR_END_MENU)
		menu(recovery);
	how = qmr_end_how(recovery, &ending);
	if (how == (int)RB_HALT_SYSTEM)
		qmr_console_print("This machine is halted. Switch it off and on to boot it normally once.\n");
	if (how == (int)RB_POWER_OFF)
		qmr_console_print("This machine is switched off, as the plan wants it. It is on probation when it is switched on.\n");
	leave(how);
}
