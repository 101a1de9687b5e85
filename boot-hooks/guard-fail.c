/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "console.h"
#include "file.h"
#include "guard.h"
#include "hold.h"
#include "log.h"

/* A boot that is seen to fail while it runs: recorded, and restarted unless somebody is there. */

#define SYSTEMCTL "/usr/bin/systemctl"
#define SYSTEMCTL_MS 10000
#define FIRMWARE_MS 5000
#define ORDERLY_S 90 /* for an orderly restart; then the kernel is told */
#define TICK_S 5
#define BOOT_COMPLETE "boot-complete.target"

enum attention {
	ATTENTION_KEY,     /* whoever is there sits at a console with a shell or nothing on it: any key */
	ATTENTION_SESSION, /* the console is a login's: whoever logs in */
	ATTENTION_PAST     /* it was waited for before */
};

static const struct failure {
	const char *name;
	enum qmr_outcome outcome;
	enum qmr_evidence_source evidence;
	enum qmr_phase phase;
	enum attention attention;
	int is_orderly; /* there is a systemd that can restart the machine */
	const char *what;
} failures[] = {
	{"initramfs-shell", QMR_EMERGENCY, QMR_BY_INITRAMFS_SHELL, QMR_PHASE_INITRAMFS, ATTENTION_KEY, 0,
	 "This machine did not find its system."},
	{"emergency-target", QMR_EMERGENCY, QMR_BY_EMERGENCY_TARGET, QMR_PHASE_USERSPACE, ATTENTION_KEY, 1,
	 "This machine's system did not start."},
	{"required-check", QMR_EMERGENCY, QMR_BY_REQUIRED_CHECK, QMR_PHASE_USERSPACE, ATTENTION_SESSION, 1,
	 "A required health check failed."},
	{"deadline", QMR_HANG, QMR_BY_DEADLINE, QMR_PHASE_USERSPACE, ATTENTION_PAST, 1,
	 "This machine's system did not come to its end of starting in time."},
};

static void __attribute__((noreturn)) restart(const struct failure *failure)
{
	/* On the way to the emergency target no other job is accepted; with --force systemd ends all and unmounts without jobs. */
	char *const orderly[] = {SYSTEMCTL, "--no-block", "reboot", NULL};
	char *const forced[] = {SYSTEMCTL, "--force", "reboot", NULL};

	if (failure->is_orderly && (qmr_child_run(orderly, SYSTEMCTL_MS, NULL, 0, NULL) == 0 ||
				    qmr_child_run(forced, SYSTEMCTL_MS, NULL, 0, NULL) == 0))
		(void)sleep(ORDERLY_S); /* ended with everything else, if all goes well */
	sync();
	(void)reboot(RB_AUTOBOOT);
	qmr_error_log("restarting failed: %s; this machine stays where it is", strerror(errno));
	_exit(QMR_EXIT_FAILURE);
}

/*
 * An owner's own panic= says two things: restart after so long, and no shell for whoever is there (initramfs-tools(7)). *ret_s: -1 for
 * panic=0, which says halt.
 */
static int has_own_panic(int *ret_s)
{
	char value[16];

	if (!qmr_guard_has_own_panic(value, sizeof(value)))
		return 0;
	*ret_s = atoi(value) > 0 ? atoi(value) : atoi(value) < 0 ? 0 : -1;
	return 1;
}

static int wait_for_key(int seconds, const char *what)
{
	int64_t end = (int64_t)qmr_guard_uptime_s() + seconds, left;

	qmr_console_open();
	qmr_console_flush(); /* what was typed before the question is no answer; what comes after it is */
	qmr_console_print("\n%s It restarts in %d s (quick machine recovery).\nPress any key to keep it here.\n", what, seconds);
	while ((left = end - (int64_t)qmr_guard_uptime_s()) > 0)
		if (qmr_console_key((int)(left < 60 ? left : 60) * 1000) >= 0)
			return 1;
	return 0;
}

static int wait_for_session(int seconds)
{
	cleanup_close int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int64_t end = (int64_t)qmr_guard_uptime_s() + seconds;

	while ((int64_t)qmr_guard_uptime_s() < end) {
		if (qmr_hold_find_person(root_fd))
			return 1;
		(void)sleep(TICK_S);
	}
	return qmr_hold_find_person(root_fd) != NULL;
}

static int is_somebody_there(const struct failure *failure, int seconds)
{
	if (failure->attention == ATTENTION_KEY)
		return wait_for_key(seconds, failure->what);
	return failure->attention == ATTENTION_SESSION && wait_for_session(seconds);
}

static int record(struct qmr_state *state, const struct failure *failure, int is_attended, struct qmr_error *err)
{
	struct qmr_attempt *a = &state->attempts[0];

	a->outcome = (uint8_t)failure->outcome;
	a->phase = (uint8_t)failure->phase;
	a->evidence = (uint8_t)failure->evidence;
	a->uptime_s = qmr_guard_uptime_s();
	if (is_attended)
		a->flags |= QMR_ATTEMPT_ATTENDED;
	return qmr_state_save(state, err);
}

/* Only whether the firmware answers: where the state was found is known to the process that loaded it, so the parent loads it again. */
static int probe(void *context, void *answer, struct qmr_error *err)
{
	struct qmr_state state;

	return qmr_guard_load_own(context, &state, err);
}

/*
 * Debian's prompt gives up after some wrong passphrases, and offers a shell. Whoever does not know the passphrase has no broken machine; where
 * the disk itself is missing, it was never asked for, and that counts.
 */
static int is_locked(const struct qmr_guard *guard)
{
	cleanup_close int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_free char *text = NULL;
	size_t size;

	return qmr_guard_is_marked(guard, QMR_MARK_ASKED) && root_fd >= 0 &&
	       qmr_file_read(AT_FDCWD, QMR_GUARD_CRYPTTAB, QMR_GUARD_CRYPTTAB_BYTES, &text, &size, NULL) == 0 &&
	       qmr_hold_is_locked(root_fd, text);
}

static int fail(const struct qmr_guard *guard, const struct failure *failure, struct qmr_error *err)
{
	int timeout_s = guard->config->emergency_timeout_s;
	int is_forced = !failure->is_orderly && has_own_panic(&timeout_s);
	struct qmr_state state;
	int r;

	if (qmr_guard_is_shell_wanted())
		return 0;
	if (failure->evidence == QMR_BY_INITRAMFS_SHELL && is_locked(guard)) {
		qmr_notice("the system's disk was not unlocked: this boot is not counted, and this machine is not restarted");
		return 0;
	}
	/* Firmware that hung once keeps who asks it again in the kernel for ever, and nobody would get a shell. */
	r = qmr_child_call(probe, (void *)guard, FIRMWARE_MS, NULL, 0, err);
	if (r == 0)
		r = qmr_guard_load_own(guard, &state, err);
	if (r == 0 && state.attempts[0].outcome == QMR_HEALTHY)
		return 0; /* somebody went to that target on purpose */
	if (r == 0)
		r = record(&state, failure, 0, err);
	if (is_forced) {
		if (r < 0)
			qmr_error_log("%s; this failure is not counted", err->text);
		if (timeout_s < 0)
			return 0; /* scripts/panic halts */
		qmr_notice("restarting in %d s, as panic= on the kernel command line says", timeout_s);
		(void)sleep((unsigned int)timeout_s);
		restart(failure);
	}
	/* A failure that cannot be counted must not restart for ever. */
	if (r < 0 || !qmr_guard_may_restart(guard, &state) || (timeout_s == 0 && failure->attention != ATTENTION_PAST))
		return r;
	if (is_somebody_there(failure, timeout_s)) {
		qmr_notice("somebody is there: this machine is not restarted, and this boot is not counted");
		r = qmr_guard_load_own(guard, &state, err);
		return r < 0 ? r : record(&state, failure, 1, err);
	}
	qmr_notice("%s Restarting.", failure->what);
	restart(failure);
}

int qmr_guard_failed(const struct qmr_guard *guard, struct qmr_error *err)
{
	for (size_t i = 0; guard->argument && i < sizeof(failures) / sizeof(*failures); i++)
		if (!strcmp(guard->argument, failures[i].name))
			return fail(guard, &failures[i], err);
	return qmr_error_set(err, -EINVAL, "'%s' is none of initramfs-shell, emergency-target, required-check, deadline",
			     guard->argument ? guard->argument : "");
}

static int is_complete(void)
{
	char *const argv[] = {SYSTEMCTL, "-q", "is-active", BOOT_COMPLETE, NULL};

	return qmr_child_run(argv, SYSTEMCTL_MS, NULL, 0, NULL) == 0;
}

/* Only time in which nothing speaks against a restart counts. */
int qmr_guard_deadline(const struct qmr_guard *guard, struct qmr_error *err)
{
	cleanup_close int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct qmr_guard failing = *guard;
	struct qmr_state state;
	const char *hold = NULL;
	int left_s = guard->config->boot_deadline_s;

	if (left_s == 0 || qmr_guard_is_shell_wanted())
		return 0;
	while (left_s > 0) {
		const char *now = qmr_hold_find(root_fd);

		if (now && !hold)
			qmr_info("%s: the deadline of this boot waits", now);
		hold = now;
		(void)sleep(TICK_S);
		left_s -= now ? 0 : TICK_S;
		/* Seen now and then, so that this does not stay in memory: the timer of boot-guard healthy has its own way. */
		if (left_s > 0 && left_s % 60 < TICK_S && is_complete())
			return 0;
	}
	if (is_complete())
		return 0;
	/* A failure that was recorded meanwhile (emergency, a check) has its own timeout. */
	if (qmr_guard_load_own(guard, &state, err) < 0 || state.attempts[0].outcome != QMR_OPEN)
		return err->code == -ESRCH ? 0 : err->code;
	failing.argument = "deadline";
	qmr_warning("boot-complete.target was not reached within %d s", guard->config->boot_deadline_s);
	return qmr_guard_failed(&failing, err);
}
