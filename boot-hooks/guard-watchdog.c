/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "assess.h"
#include "cleanup.h"
#include "clock.h"
#include "driver-list.h"
#include "file.h"
#include "guard.h"
#include "log.h"
#include "systemd-conf.h"
#include "watchdog.h"

/* The hardware watchdog, from the counted start of a boot to systemd: docs/detector.md, "Watchdog". */

#define DRIVERS "/etc/qmr/watchdog.modules" /* of the initramfs, by its hook: driver-list.h */
#define BUS "/sys/bus"
#define MODPROBE_MS 3000 /* all of them together */
#define VMCORE "/proc/vmcore"
#define INIT "/proc/1/exe"
#define SYSTEMD_RUN "/run/systemd/system.conf.d"
#define SYSTEMD_CONF SYSTEMD_RUN "/50-qmr-watchdog.conf"
#define FEEDER_END_MS 1000
#define FEEDER_NAME "boot-guard\n" /* as /proc/PID/comm has it */

static int wait_for(pid_t pid, int timeout_ms)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd fd = {.fd = pidfd, .events = POLLIN};

	return pidfd < 0 || poll(&fd, 1, timeout_ms) > 0;
}

/* Returns 0 if time is up: a driver that hangs cannot be killed, and is not waited for. */
static int load_driver(const char *name, int timeout_ms)
{
	char *const argv[] = {"/sbin/modprobe", "-qb", (char *)name, NULL};
	pid_t pid = fork();

	if (pid == 0) {
		(void)execv(argv[0], argv);
		_exit(QMR_EXIT_FAILURE);
	}
	if (pid > 0 && !wait_for(pid, timeout_ms))
		return 0;
	if (pid > 0)
		(void)waitpid(pid, NULL, WNOHANG);
	return 1;
}

/* Only those with a device, until there is a watchdog: each costs a normal boot more than all else that boot-guard does. */
static void load_drivers(void)
{
	cleanup_close int bus_fd = open(BUS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const int64_t end_ms = qmr_clock_ms() + MODPROBE_MS;
	cleanup_free char *text = NULL;
	struct qmr_driver_list list;
	const char *name;
	size_t size;

	if (qmr_file_read(AT_FDCWD, DRIVERS, QMR_DRIVERS_BYTES, &text, &size, NULL) < 0)
		return; /* what is there is there */
	qmr_driver_list_parse(text, &list);
	while (access(QMR_WATCHDOG_CLASS "/" QMR_WATCHDOG_NAME, F_OK) < 0 && (name = qmr_driver_list_next(&list, bus_fd))) {
		const int64_t left_ms = end_ms - qmr_clock_ms();

		if (left_ms <= 0 || !load_driver(name, (int)left_ms)) {
			qmr_warning("loading the drivers of watchdogs takes longer than %d s, '%s' is not there yet; going on without",
				    MODPROBE_MS / 1000, name);
			return;
		}
	}
}

static int find(struct qmr_watchdog *ret_watchdog, struct qmr_error *err)
{
	cleanup_close int class_fd = open(QMR_WATCHDOG_CLASS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return class_fd < 0 ? qmr_error_set(err, -ENODEV, "there is no watchdog") : qmr_watchdog_find(class_fd, ret_watchdog, err);
}

int qmr_guard_has_reset_reason(const struct qmr_guard *guard)
{
	struct qmr_watchdog watchdog;

	return qmr_watchdog_is_allowed(guard->config) && find(&watchdog, NULL) == 0 && watchdog.was_reset;
}

/* Start has counted the last boot as one without evidence. Does not return where that leads to recovery. */
static int judge(const struct qmr_guard *guard, struct qmr_state *state, const struct qmr_watchdog *watchdog, struct qmr_error *err)
{
	struct qmr_verdict verdict;

	if (!qmr_watchdog_judge(state, 1, watchdog->was_reset))
		return 0;
	if (state->attempts[1].evidence == QMR_BY_WATCHDOG)
		qmr_notice("the last boot hung: watchdog '%s' reset this machine", watchdog->identity);
	verdict = qmr_assess(state, guard->config);
	return qmr_guard_act(guard, state, &verdict, err);
}

struct feeder {
	const struct qmr_guard *guard;
	const struct qmr_watchdog *watchdog;
};

/* The mark is there as long as this process holds the device. */
static void mark_feeder(void *context, int timeout_s)
{
	const struct feeder *feeder = context;
	struct qmr_error err = {0};
	char number[16];

	snprintf(number, sizeof(number), "%d\n", (int)getpid());
	if (qmr_guard_mark(feeder->guard, QMR_MARK_FEEDER, number, &err) < 0)
		qmr_warning("%s; the watchdog is disarmed at the end of the initramfs", err.text);
	qmr_info("watchdog '%s'%s%s is armed: it resets this machine %d s after its kernel hangs", feeder->watchdog->identity,
		 feeder->watchdog->driver[0] ? ", driver " : "", feeder->watchdog->driver, timeout_s);
}

static void feed(const struct qmr_guard *guard, const struct qmr_watchdog *watchdog)
{
	struct feeder context = {guard, watchdog};
	const struct qmr_watchdog_feeder feeder = {.device = guard->watchdog_device, .owner = INIT, .timeout_s = guard->config->watchdog_s,
						   .armed = mark_feeder, .context = &context};
	cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct qmr_error err = {0};

	(void)setsid(); /* it is no leader of a group: it was just forked */
	(void)!chdir("/");
	for (int fd = 0; fd <= 2 && null >= 0; fd++)
		(void)dup2(null, fd); /* nobody must wait for the end of what this process holds open */
	if (qmr_watchdog_feed(&feeder, &err) < 0)
		qmr_warning("%s; a kernel that hangs in this boot is not noticed", err.text);
	qmr_guard_unmark(guard, QMR_MARK_FEEDER);
}

static int disarm_for_dump(const struct qmr_guard *guard, struct qmr_error *err)
{
	struct qmr_watchdog watchdog;

	load_drivers();
	return find(&watchdog, NULL) < 0 || qmr_watchdog_obstacle(&watchdog) ? 0 : qmr_watchdog_disarm(guard->watchdog_device, err);
}

int qmr_guard_feed(const struct qmr_guard *guard, struct qmr_error *err)
{
	struct qmr_watchdog watchdog;
	const char *obstacle;
	struct qmr_state state;
	pid_t pid;
	int r;

	if (!qmr_watchdog_is_allowed(guard->config))
		return 0;
	if (access(VMCORE, F_OK) == 0)
		return disarm_for_dump(guard, err);
	/* A hang of a boot that is not counted would begin anew for ever. */
	if (!qmr_guard_is_marked(guard, QMR_MARK_ATTEMPT))
		return 0;
	r = qmr_guard_load_own(guard, &state, err);
	if (r < 0)
		return r;
	/* While a resume loads its image nobody pings. */
	if (qmr_state_is_hibernated(&state))
		return 0;
	load_drivers();
	if (find(&watchdog, err) < 0) {
		qmr_info("%s: a kernel that hangs in this boot is not noticed", err->text);
		return 0;
	}
	r = judge(guard, &state, &watchdog, err);
	if (r < 0)
		return r;
	obstacle = qmr_watchdog_obstacle(&watchdog);
	if (obstacle)
		qmr_info("watchdog '%s' is not armed: %s", watchdog.identity, obstacle);
	if (obstacle || !qmr_guard_may_restart(guard, &state))
		return 0;
	pid = fork();
	if (pid == 0) {
		feed(guard, &watchdog);
		_exit(QMR_EXIT_OK);
	}
	return pid < 0 ? qmr_error_errno(err, -errno, "starting the watchdog's feeder") : 0;
}

/* The process that the mark names, 0 if it is another by now. */
static pid_t find_feeder(const struct qmr_guard *guard)
{
	cleanup_free char *text = NULL, *name = NULL;
	char path[PATH_MAX];
	size_t size;
	long pid;

	snprintf(path, sizeof(path), "%s/" QMR_MARK_FEEDER, guard->run);
	if (qmr_file_read(AT_FDCWD, path, 16, &text, &size, NULL) < 0 || (pid = strtol(text, NULL, 10)) <= 1)
		return 0;
	snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
	if (qmr_file_read(AT_FDCWD, path, 64, &name, &size, NULL) < 0 || strcmp(name, FEEDER_NAME))
		return 0;
	return (pid_t)pid;
}

static int is_systemd(int root_fd)
{
	char init[256];

	if (qmr_guard_cmdline_get("init=", init, sizeof(init)) < 0)
		strcpy(init, "/sbin/init");
	return qmr_systemd_is_init(root_fd, init);
}

static int write_runtime(const struct qmr_guard *guard, struct qmr_error *err)
{
	char text[128];
	int r = qmr_file_mkdirs(AT_FDCWD, SYSTEMD_RUN, 0755, err);

	snprintf(text, sizeof(text), "# boot-guard(8), for this boot\n[Manager]\nRuntimeWatchdogSec=%d\n", guard->config->watchdog_runtime_s);
	return r < 0 ? r : qmr_file_replace(AT_FDCWD, SYSTEMD_CONF, text, strlen(text), 0644, err);
}

/* Returns 1 if systemd will open the device, 0 and why if not. */
static int will_take_over(const struct qmr_guard *guard, int root_fd, struct qmr_error *why)
{
	struct qmr_systemd_watchdog chosen = {0};
	const char *rival = qmr_systemd_find_rival(root_fd);
	char value[64];

	if (!is_systemd(root_fd))
		return qmr_error_set(why, 0, "this system's init is not systemd");
	if (rival)
		return qmr_error_set(why, 0, "%s is enabled and wants it", rival);
	if (qmr_systemd_read(root_fd, &chosen, why) < 0)
		return 0;
	if (qmr_guard_cmdline_get("systemd.watchdog_sec=", value, sizeof(value)) == 0)
		qmr_systemd_set(&chosen, "RuntimeWatchdogSec", value);
	if (qmr_guard_cmdline_get("systemd.watchdog_device=", value, sizeof(value)) == 0)
		qmr_systemd_set(&chosen, "WatchdogDevice", value);
	if (chosen.runtime == QMR_SYSTEMD_OFF || chosen.other_device)
		return qmr_error_set(why, 0, "RuntimeWatchdogSec= or WatchdogDevice= of systemd says so");
	return chosen.runtime == QMR_SYSTEMD_ON || write_runtime(guard, why) == 0;
}

void qmr_guard_hand_over(const struct qmr_guard *guard)
{
	const char *root = getenv("rootmnt"); /* initramfs-tools(7) */
	cleanup_close int root_fd = -1;
	struct qmr_error why = {0};
	pid_t pid = find_feeder(guard);
	int is_handed_over;

	if (!pid)
		return;
	root_fd = open(root && *root ? root : "/root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	is_handed_over = root_fd >= 0 && will_take_over(guard, root_fd, &why);
	if (!is_handed_over)
		qmr_notice("the watchdog is disarmed: %s", root_fd < 0 ? "there is no root" : why.text);
	if (kill(pid, is_handed_over ? SIGUSR1 : SIGTERM) < 0 || !wait_for(pid, FEEDER_END_MS))
		qmr_warning("the watchdog's feeder does not end; it disarms the watchdog when systemd has started");
}
