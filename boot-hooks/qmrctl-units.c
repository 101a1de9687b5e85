/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <unistd.h>

#include "child.h"
#include "qmrctl.h"

#define SYSTEMCTL "/usr/bin/systemctl"
#define SYSTEMCTL_S 120

#define UNITS "qmr-healthy.timer", "qmr-shutdown.service", "qmr-register.service"

static int run(char *const argv[], struct qmr_error *err)
{
	if (access(SYSTEMCTL, X_OK) < 0)
		return qmr_error_set(err, -ENOENT, "'%s' is missing: only systemd is supported", SYSTEMCTL);
	return qmrctl_run_program(argv, SYSTEMCTL_S, err);
}

int qmrctl_units_examine(struct qmr_error *err)
{
	static char *const units[] = {UNITS};

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		char *argv[] = {SYSTEMCTL, "-q", "is-enabled", units[i], NULL};

		if (run(argv, NULL) < 0)
			return qmr_error_set(err, -ENOENT, "unit '%s' is not enabled", units[i]);
	}
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
	r = run(argv, err);
	if (r == 0)
		qmrctl_say(ctl, "enabled; counting begins with the next boot");
	return r;
}

int qmrctl_units_disable(struct qmr_error *err)
{
	static char *const argv[] = {SYSTEMCTL, "-q", "disable", UNITS, NULL};

	return run(argv, err);
}
