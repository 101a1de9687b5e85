/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "guard.h"
#include "log.h"
#include "qmrctl.h"
#include "systemd-conf.h"
#include "watchdog.h"

/* What will become of the hardware watchdog, said before it is so; boot-guard decides anew at each boot. */

#define DROPIN "conf.d/50-watchdog.conf" /* beside the configuration */
#define DROPIN_TEXT "# Written by qmrctl: another program holds the watchdog. Delete this when that is no longer so.\n[watchdog]\narm = no\n"

/* Is PID 1 the one who holds it? Its descriptors are all a look costs. */
static int is_held_by_init(void)
{
	char path[64], target[64];

	for (int fd = 0; fd < 1024; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/1/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		if (!strncmp(target, "/dev/watchdog", 13))
			return 1;
	}
	return 0;
}

static int leave_to_holder(struct qmrctl *ctl, const struct qmr_watchdog *watchdog, struct qmr_error *err)
{
	const char *slash = strrchr(ctl->config_path, '/');
	int folder = slash ? (int)(slash - ctl->config_path) : 1;
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%.*s/conf.d", folder, slash ? ctl->config_path : ".") >= (int)sizeof(path) - 32)
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", ctl->config_path);
	r = qmr_file_mkdirs(AT_FDCWD, path, 0755, err);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%.*s/" DROPIN, folder, slash ? ctl->config_path : ".");
	r = qmr_file_replace(AT_FDCWD, path, DROPIN_TEXT, sizeof(DROPIN_TEXT) - 1, 0644, err);
	if (r == 0)
		r = qmr_config_load(ctl->config_path, &ctl->config, err);
	qmrctl_say(ctl, "'%s' is held by a program of this system, and is left to it: '%s' says arm = no", watchdog->identity, path);
	return r;
}

/* The device that this system has, as far as it can be seen now. Returns 1 if the line was said. */
static int look_at_device(struct qmrctl *ctl, struct qmr_watchdog *watchdog, int *ret_r, struct qmr_error *err)
{
	cleanup_close int class_fd = open(QMR_WATCHDOG_CLASS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (ctl->no_variables) {
		snprintf(watchdog->identity, sizeof(watchdog->identity), "where there is one, a hardware watchdog");
	} else if (class_fd < 0 || qmr_watchdog_find(class_fd, watchdog, NULL) < 0) {
		qmrctl_say(ctl, "no hardware watchdog is seen: without one, a kernel that hangs stays as it is");
		return 1;
	} else if (watchdog->is_held && !is_held_by_init()) {
		*ret_r = leave_to_holder(ctl, watchdog, err);
		return 1;
	} else if (watchdog->is_for_ever) {
		qmrctl_say(ctl, "'%s' is not used: once armed, it could not be disarmed (nowayout)", watchdog->identity);
		return 1;
	}
	return 0;
}

int qmrctl_step_watchdog(struct qmrctl *ctl, struct qmr_error *err)
{
	cleanup_close int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct qmr_systemd_watchdog chosen = {0};
	struct qmr_watchdog watchdog = {0};
	const struct qmr_config *c = &ctl->config;
	const char *rival = root_fd >= 0 ? qmr_systemd_find_rival(root_fd) : NULL;
	int r = 0;

	if (!qmr_watchdog_is_allowed(c)) {
		qmrctl_say(ctl, "not used: %s%s", c->watchdog_arm ? "mode " : "[watchdog] arm = no",
			   c->watchdog_arm ? qmr_mode_name(c->mode) : "");
		return 0;
	}
	if (look_at_device(ctl, &watchdog, &r, err))
		return r;
	if (root_fd >= 0)
		r = qmr_systemd_read(root_fd, &chosen, err);
	if (r < 0)
		return r;
	if (rival)
		qmrctl_say(ctl, "%s guards the initramfs, then %s, which is enabled", watchdog.identity, rival);
	else if (chosen.runtime == QMR_SYSTEMD_OFF || chosen.other_device)
		qmrctl_say(ctl, "%s guards the initramfs alone: systemd's own configuration says so", watchdog.identity);
	else if (chosen.runtime == QMR_SYSTEMD_ON)
		qmrctl_say(ctl, "%s guards the initramfs, then systemd as its RuntimeWatchdogSec= says", watchdog.identity);
	else
		qmrctl_say(ctl, "%s resets this machine when its kernel hangs, %d s in the initramfs, %d s after", watchdog.identity,
			   c->watchdog_s, c->watchdog_runtime_s);
	return 0;
}
