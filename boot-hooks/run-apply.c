/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run-apply.h"

#include <stdio.h>
#include <unistd.h>

#include "child.h"
#include "guard.h"

#define APPLY "/usr/lib/qmr/remediation-apply"
#define ESP "/dev/disk/by-uuid/"
#define DEADLINE_MS 600000

int qmr_run_apply(const struct qmr_config *config, const char *const arguments[], char **ret_output, size_t output_max, struct qmr_error *err)
{
	char esp[sizeof(ESP) + sizeof(config->esp_uuid)];
	char *argv[QMR_RUN_APPLY_ARGUMENTS + 6] = {APPLY};
	int n = 1;

	for (int i = 0; i < QMR_RUN_APPLY_ARGUMENTS && arguments[i]; i++)
		argv[n++] = (char *)arguments[i];
	argv[n++] = "--root";
	argv[n++] = "/";
	/* Not where the state is in the variable: it would move to the file there. */
	if (*config->esp_uuid && access(QMR_GUARD_RUN "/" QMR_MARK_IN_FILE, F_OK) == 0) {
		snprintf(esp, sizeof(esp), ESP "%s", config->esp_uuid);
		argv[n++] = "--esp";
		argv[n++] = esp;
	}
	return qmr_child_run(argv, DEADLINE_MS, ret_output, output_max, err);
}
