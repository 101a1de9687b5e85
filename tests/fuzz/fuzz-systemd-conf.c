/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "systemd-conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmr_systemd_watchdog watchdog = {0};
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	qmr_systemd_parse(text, &watchdog);
	if (watchdog.runtime != QMR_SYSTEMD_UNSET && !strstr(text, "RuntimeWatchdogSec"))
		abort();
	free(text);
	return 0;
}
