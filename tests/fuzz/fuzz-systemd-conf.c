/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "systemd-conf.h"
#include "systemd-files.h"

static void take(void *data, const char *section, const char *key, const char *value)
{
	if (strchr(section, '\n') || strchr(key, '\n') || strchr(value, '\n'))
		abort();
	qmr_systemd_set(data, key, value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmr_systemd_watchdog watchdog = {0};
	char *text = malloc(size + 1);
	int is_set;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	is_set = strstr(text, "RuntimeWatchdogSec") != NULL;
	qmr_systemd_parse_settings(text, take, &watchdog);
	if (watchdog.runtime != QMR_SYSTEMD_UNSET && !is_set)
		abort();
	free(text);
	return 0;
}
