/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "file.h"
#include "qmrctl.h"

#define SYSTEMCTL "/usr/bin/systemctl"
#define SYSTEMCTL_S 120

/*
 * systemd-pstore moves crash records at the next boot without syncing them: if that boot panics too, files of 0 bytes are all that
 * is left (boots in a row are what this is about). boot-guard archives them instead, once the boot is healthy.
 */
#define PSTORE_CONF "/etc/systemd/pstore.conf.d/50-qmr.conf"
#define PSTORE_TEXT "# Written by qmrctl install: boot-guard(8) archives crash records.\n[PStore]\nStorage=none\n"

#define UNITS                                                                                                                  \
	"qmr-checks.service", "qmr-healthy.timer", "qmr-shutdown.service", "qmr-register.service", "qmr-resume.service", "qmr-emergency.service", \
		"qmr-deadline.service", "qmr-tries.service", "qmr-waiting.path", "qmr-poll.timer"

static int run(char *const argv[], struct qmr_error *err)
{
	if (access(SYSTEMCTL, X_OK) < 0)
		return qmr_error_set(err, -ENOENT, "'%s' is missing: only systemd is supported", SYSTEMCTL);
	return qmrctl_run_program(argv, SYSTEMCTL_S, err);
}

static int has_pstore_conf(void)
{
	cleanup_free char *text = NULL;
	size_t size;

	return qmr_file_read(AT_FDCWD, PSTORE_CONF, 4096, &text, &size, NULL) == 0 && !strcmp(text, PSTORE_TEXT);
}

static int write_pstore_conf(struct qmr_error *err)
{
	int r = qmr_file_mkdirs(AT_FDCWD, "/etc/systemd/pstore.conf.d", 0755, err);

	return r < 0 ? r : qmr_file_replace(AT_FDCWD, PSTORE_CONF, PSTORE_TEXT, strlen(PSTORE_TEXT), 0644, err);
}

int qmrctl_units_examine(struct qmr_error *err)
{
	static char *const units[] = {UNITS};

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		char *argv[] = {SYSTEMCTL, "-q", "is-enabled", units[i], NULL};

		if (run(argv, NULL) < 0)
			return qmr_error_set(err, -ENOENT, "unit '%s' is not enabled", units[i]);
	}
	if (!has_pstore_conf())
		return qmr_error_set(err, -ENOENT, "'%s' is missing or changed: systemd-pstore takes the crash records",
				     PSTORE_CONF);
	return 0;
}

int qmrctl_step_units(struct qmrctl *ctl, struct qmr_error *err)
{
	static char *const argv[] = {SYSTEMCTL, "-q", "enable", UNITS, NULL};
	int r;

	if (qmrctl_units_examine(NULL) == 0) {
		qmrctl_say(ctl, "already enabled");
		return 0;
	}
	r = write_pstore_conf(err);
	if (r == 0)
		r = run(argv, err);
	if (r == 0)
		qmrctl_say(ctl, "enabled; counting begins with the next boot");
	return r;
}

int qmrctl_units_disable(struct qmr_error *err)
{
	static char *const argv[] = {SYSTEMCTL, "-q", "disable", UNITS, NULL};

	if (unlink(PSTORE_CONF) < 0 && errno != ENOENT)
		return qmr_error_errno(err, -errno, "removing '%s'", PSTORE_CONF);
	return run(argv, err);
}
