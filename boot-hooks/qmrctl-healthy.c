/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "qmrctl.h"

/* Somebody who looked says that this boot is healthy, where the checks or the stability window have not said so yet. */

#define BOOT_GUARD "/usr/lib/qmr/boot-guard"
#define SYSTEMCTL "/usr/bin/systemctl"
#define UNIT "qmr-healthy.service"
#define PROGRAM_S 60
#define OUTPUT_BYTES_MAX 4096
#define UNITS_MAX 16

static int record(struct qmrctl *ctl, struct qmr_error *err)
{
	char *argv[] = {BOOT_GUARD, "--config", (char *)ctl->config_path, "healthy", NULL};
	int r = qmrctl_run_program(argv, PROGRAM_S, err);

	if (r == 0)
		qmrctl_say(ctl, "this boot is recorded as healthy");
	return r;
}

/* What follows a healthy boot is written down once, in the unit that waits for it. */
static int follow(struct qmrctl *ctl, struct qmr_error *err)
{
	char *show[] = {SYSTEMCTL, "show", "-P", "OnSuccess", UNIT, NULL};
	char *start[UNITS_MAX + 4] = {SYSTEMCTL, "--no-block", "start"};
	cleanup_free char *units = NULL;
	char said[sizeof(ctl->said)] = "";
	char *place = NULL;
	size_t used = 0;
	int n = 3, r;

	if (access(SYSTEMCTL, X_OK) < 0)
		return qmr_error_set(err, -ENOENT, "'%s' is missing: only systemd is supported", SYSTEMCTL);
	r = qmr_child_run(show, PROGRAM_S * 1000, &units, OUTPUT_BYTES_MAX, err);
	if (r != 0)
		return r < 0 ? r : qmr_error_set(err, -EIO, "'%s show' ended with exit code %d", SYSTEMCTL, r);
	for (char *unit = strtok_r(units, " \n", &place); unit && n < UNITS_MAX + 3; unit = strtok_r(NULL, " \n", &place)) {
		start[n++] = unit;
		if (used < sizeof(said))
			used += (size_t)snprintf(said + used, sizeof(said) - used, " %s", unit);
	}
	if (n == 3)
		return qmr_error_set(err, -ENOENT, "'" UNIT "' names nothing that follows a healthy boot; is it installed?");
	r = qmrctl_run_program(start, PROGRAM_S, err);
	if (r == 0)
		qmrctl_say(ctl, "started:%s", said);
	return r;
}

int qmrctl_healthy(struct qmrctl *ctl, struct qmr_error *err)
{
	static const struct qmrctl_step steps[] = {{"record", record}, {"units", follow}};

	return qmrctl_run_steps(ctl, "declaring this boot healthy", steps, sizeof(steps) / sizeof(*steps), err);
}
