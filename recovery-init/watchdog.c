/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cleanup.h"
#include "drivers.h"
#include "log.h"
#include "recovery.h"

/* docs/detector.md, "Watchdog". The image has these drivers by initramfs/module-table.c; those that report a reset reason first. */
static const char *const drivers_of_watchdogs[] = {"i6300esb", "hpwdt", "sp5100_tco", "wdat_wdt", "i2c_i801", "lpc_ich", "iTCO_wdt"};

void qmr_watchdog_load(struct qmr_drivers *drivers, const struct qmr_config *config)
{
	for (size_t i = 0; qmr_watchdog_is_allowed(config) && i < sizeof(drivers_of_watchdogs) / sizeof(*drivers_of_watchdogs); i++)
		qmr_drivers_load(drivers, drivers_of_watchdogs[i]);
}

/*
 * A kernel that hangs in recovery is reset: the next start is a normal boot, or another run, and runs are counted. It ends with the other
 * children, disarmed (end.c): a machine that halts, or has a menu, is not to be reset.
 */
enum qmr_result qmr_step_watchdog(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	const struct qmr_watchdog_feeder feeder = {
		.device = QMR_WATCHDOG_DEVICE, .owner = "/proc/1/exe", .timeout_s = recovery->config.watchdog_s};
	cleanup_close int class_fd = open(QMR_WATCHDOG_CLASS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct qmr_watchdog watchdog;
	const char *obstacle;
	pid_t pid;

	if (!qmr_watchdog_is_allowed(&recovery->config) || !recovery->state_known) {
		qmr_error_set(err, 0, "not used: %s", recovery->state_known ? "[watchdog] arm, or the mode" : "this run could not be counted");
		return QMR_RESULT_NOTHING;
	}
	if (class_fd < 0 || qmr_watchdog_find(class_fd, &watchdog, err) < 0) {
		qmr_error_set(err, 0, "no hardware watchdog");
		return QMR_RESULT_NOTHING;
	}
	obstacle = qmr_watchdog_obstacle(&watchdog);
	if (obstacle) {
		qmr_error_set(err, 0, "'%s' is not used: %s", watchdog.identity, obstacle);
		return QMR_RESULT_NOTHING;
	}
	pid = fork();
	if (pid == 0) {
		struct qmr_error why = {0};

		if (qmr_watchdog_feed(&feeder, &why) < 0)
			qmr_warning("%s; a hang in recovery is not noticed", why.text);
		_exit(QMR_EXIT_OK);
	}
	if (pid < 0) {
		qmr_error_errno(err, -errno, "starting the watchdog's feeder");
		return QMR_RESULT_FAILED;
	}
	qmr_error_set(err, 0, "'%s' is armed, %d s", watchdog.identity, feeder.timeout_s);
	return QMR_RESULT_OK;
}
