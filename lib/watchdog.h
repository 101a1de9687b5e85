/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_WATCHDOG_H
#define QMR_WATCHDOG_H

#include "boot-state.h"
#include "config.h"
#include "error.h"

/* Hardware watchdogs, docs/detector.md. Linux, Documentation/watchdog/watchdog-api.rst and ABI/testing/sysfs-class-watchdog. */

#define QMR_WATCHDOG_CLASS "/sys/class/watchdog"
#define QMR_WATCHDOG_NAME "watchdog0"
#define QMR_WATCHDOG_DEVICE "/dev/watchdog0" /* systemd's default too */

/* What sysfs says of watchdog0. */
struct qmr_watchdog {
	char identity[64];
	char driver[64]; /* empty: it does not say */
	int was_reset;   /* it reset the machine (WDIOF_CARDRESET), as its driver found when it was loaded */
	int is_held;     /* some program has it open */
	int is_for_ever; /* nowayout: once armed, it cannot be disarmed */
};

/* 1 if the configuration lets it be armed, and its reset reason count. */
int qmr_watchdog_is_allowed(const struct qmr_config *config);

/*
 * Looks at watchdog0. class_fd: QMR_WATCHDOG_CLASS (tests: a tree that looks like it). -ENODEV: there is none, or it is software's, which
 * stops with the kernel. Another program's holding it is no error.
 */
int qmr_watchdog_find(int class_fd, struct qmr_watchdog *ret_watchdog, struct qmr_error *err) QMR_MUST_CHECK;

/* Why it must not be armed, static text; NULL if nothing speaks against it. */
const char *qmr_watchdog_obstacle(const struct qmr_watchdog *watchdog);

/*
 * What a reset reason that is set, or not, says of attempts[at], the one that ended last: docs/detector.md, "Watchdog". Returns 1 if the
 * state changed. Call it before qmr_state_close_last() where that is still to come: a crash record is better evidence.
 */
int qmr_watchdog_judge(struct qmr_state *state, unsigned int at, int was_reset);

struct qmr_watchdog_feeder {
	const char *device;
	const char *owner; /* a link: when it points elsewhere, whoever started the feeder is gone (/proc/1/exe) */
	int timeout_s;     /* halved until the hardware takes it, down to 10 s */
	void (*armed)(void *context, int timeout_s); /* called once, in the feeder; timeout_s: what the hardware took */
	void *context;
};

/*
 * Opens the device, which arms it, and pings until SIGTERM (disarms it), SIGUSR1 (leaves it armed, for the next who opens it), or until
 * owner changes (disarms it). Runs in a process of its own: it changes signals and what the kernel kills when memory is short.
 * Returns 0 then, a negative errno if it could not begin.
 */
int qmr_watchdog_feed(const struct qmr_watchdog_feeder *feeder, struct qmr_error *err) QMR_MUST_CHECK;

/* Opens and disarms it. */
int qmr_watchdog_disarm(const char *device, struct qmr_error *err) QMR_MUST_CHECK;

#endif
