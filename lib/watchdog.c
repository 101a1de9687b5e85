/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/watchdog.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"

#define NAME QMR_WATCHDOG_NAME
#define SOFTWARE "Software Watchdog" /* drivers/watchdog/softdog.c */
#define TIMEOUT_MIN_S 10
#define PING_MAX_S 10
#define PING_UNKNOWN_S 1 /* where nobody says what the timeout is */

/* A short line of sysfs, "" where there is none. */
static void read_line(int class_fd, const char *attribute, char *ret_text, size_t size)
{
	cleanup_free char *text = NULL;
	size_t length;

	*ret_text = '\0';
	if (qmr_file_read(class_fd, attribute, 4096, &text, &length, NULL) == 0)
		snprintf(ret_text, size, "%.*s", (int)strcspn(text, "\n"), text);
}

int qmr_watchdog_is_allowed(const struct qmr_config *config)
{
	return config->watchdog_arm && config->mode >= QMR_MODE_COLLECT;
}

int qmr_watchdog_find(int class_fd, struct qmr_watchdog *ret_watchdog, struct qmr_error *err)
{
	struct qmr_watchdog found = {0};
	char target[PATH_MAX], number[32];
	const char *slash;
	ssize_t n;

	if (faccessat(class_fd, NAME, F_OK, 0) < 0)
		return qmr_error_set(err, -ENODEV, "there is no watchdog");
	read_line(class_fd, NAME "/identity", found.identity, sizeof(found.identity));
	n = readlinkat(class_fd, NAME "/device/driver", target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	/* Not every hardware's driver says which device it is for: i6300esb does not. */
	if (n <= 0 && (!found.identity[0] || !strcmp(found.identity, SOFTWARE)))
		return qmr_error_set(err, -ENODEV, "watchdog '%s' is no hardware", found.identity);
	slash = strrchr(target, '/');
	snprintf(found.driver, sizeof(found.driver), "%.63s", slash ? slash + 1 : target);
	read_line(class_fd, NAME "/bootstatus", number, sizeof(number));
	found.was_reset = (strtol(number, NULL, 10) & WDIOF_CARDRESET) != 0;
	read_line(class_fd, NAME "/state", number, sizeof(number));
	found.is_held = !strcmp(number, "active");
	/* Where it does not say, nobody knows how to disarm it. */
	read_line(class_fd, NAME "/nowayout", number, sizeof(number));
	found.is_for_ever = strcmp(number, "0") != 0;
	*ret_watchdog = found;
	return 0;
}

const char *qmr_watchdog_obstacle(const struct qmr_watchdog *watchdog)
{
	if (watchdog->is_held)
		return "another program holds it";
	return watchdog->is_for_ever ? "once armed, it could not be disarmed (nowayout)" : NULL;
}

int qmr_watchdog_judge(struct qmr_state *state, unsigned int at, int was_reset)
{
	const uint32_t flags = state->flags;
	struct qmr_attempt *last = &state->attempts[at];

	if (!was_reset) {
		state->flags &= ~(uint32_t)(QMR_STATE_WATCHDOG_STICKY | QMR_STATE_WATCHDOG_SEEN);
	} else if (flags & QMR_STATE_WATCHDOG_STICKY) {
		return 0;
	} else if (at >= state->n_attempts || flags & QMR_STATE_WATCHDOG_SEEN) {
		state->flags &= ~(uint32_t)QMR_STATE_WATCHDOG_SEEN;
		state->flags |= QMR_STATE_WATCHDOG_STICKY;
	} else if ((last->outcome == QMR_OPEN || last->outcome == QMR_UNKNOWN || last->outcome == QMR_HEALTHY) &&
		   !(last->flags & QMR_ATTEMPT_RECOVERED)) {
		last->outcome = QMR_HANG;
		last->evidence = QMR_BY_WATCHDOG;
		/* Whoever was there has gone on; a hang after that is news. */
		last->flags &= (uint8_t)~QMR_ATTEMPT_ATTENDED;
		return 1;
	}
	return state->flags != flags;
}

static int open_device(const char *device, struct qmr_error *err)
{
	int fd = open(device, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);

	return fd < 0 ? qmr_error_errno(err, -errno, "opening '%s'", device) : fd;
}

/* The magic character lets the driver stop the timer when the device is closed. */
static void close_disarmed(int fd, const char *device)
{
	if (write(fd, "V", 1) != 1)
		qmr_warning("disarming '%s': %s; it may reset this machine", device, strerror(errno));
	close(fd);
}

int qmr_watchdog_disarm(const char *device, struct qmr_error *err)
{
	int fd = open_device(device, err);

	if (fd < 0)
		return fd;
	close_disarmed(fd, device);
	return 0;
}

/* Returns what the hardware took, 0: it does not say. */
static int set_timeout(int fd, int timeout_s)
{
	int seconds;

	for (; timeout_s >= TIMEOUT_MIN_S; timeout_s /= 2) {
		seconds = timeout_s;
		if (ioctl(fd, WDIOC_SETTIMEOUT, &seconds) == 0)
			return seconds;
		if (errno != EINVAL)
			break;
	}
	return ioctl(fd, WDIOC_GETTIMEOUT, &seconds) == 0 && seconds > 0 ? seconds : 0;
}

static int ping_interval(int timeout_s)
{
	if (timeout_s / 4 > PING_MAX_S)
		return PING_MAX_S;
	return timeout_s >= 4 ? timeout_s / 4 : PING_UNKNOWN_S;
}

static void read_owner(const char *owner, char ret_target[PATH_MAX])
{
	ssize_t n = readlink(owner, ret_target, PATH_MAX - 1);

	ret_target[n > 0 ? n : 0] = '\0';
}

/* Returns the signal that ended it, 0 if the owner is gone. */
static int ping(int fd, const struct qmr_watchdog_feeder *feeder, const sigset_t *signals, int interval_s)
{
	const struct timespec pause = {.tv_sec = interval_s};
	char owner[PATH_MAX], now[PATH_MAX];
	int is_silent = 0;

	read_owner(feeder->owner, owner);
	for (;;) {
		int number;

		if (write(fd, "", 1) != 1 && !is_silent) {
			qmr_warning("feeding '%s': %s; it may reset this machine", feeder->device, strerror(errno));
			is_silent = 1;
		}
		number = sigtimedwait(signals, NULL, &pause);
		if (number == SIGTERM || number == SIGUSR1)
			return number;
		read_owner(feeder->owner, now);
		if (strcmp(owner, now))
			return 0;
	}
}

int qmr_watchdog_feed(const struct qmr_watchdog_feeder *feeder, struct qmr_error *err)
{
	sigset_t signals;
	int fd, timeout_s;

	/* A closed terminal or pipe is no reason to stop feeding. */
	sigemptyset(&signals);
	for (size_t i = 0; i < 6; i++)
		sigaddset(&signals, (const int[]){SIGTERM, SIGUSR1, SIGINT, SIGHUP, SIGPIPE, SIGQUIT}[i]);
	(void)sigprocmask(SIG_SETMASK, &signals, NULL); /* cannot fail with these arguments */
	(void)!qmr_file_poke("/proc/self/oom_score_adj", "-1000", NULL); /* without it the feeder is one of many */
	fd = open_device(feeder->device, err);
	if (fd < 0)
		return fd;
	timeout_s = set_timeout(fd, feeder->timeout_s);
	if (feeder->armed)
		feeder->armed(feeder->context, timeout_s);
	if (ping(fd, feeder, &signals, ping_interval(timeout_s)) == SIGUSR1)
		close(fd);
	else
		close_disarmed(fd, feeder->device);
	return 0;
}
