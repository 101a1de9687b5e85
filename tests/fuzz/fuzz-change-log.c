/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "change-log.h"
#include "json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was checked can be used as crash-collect does. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_json json_t *log = NULL;
	const json_t *entry;
	size_t i;

	if (qmr_json_parse("input", (const char *)data, size, &log, NULL) < 0 || qmr_change_log_check(log, NULL) < 0)
		return 0;
	json_array_foreach (json_object_get(log, "entries"), i, entry) {
		const struct qmr_logged_kind *kind = qmr_logged_kind(entry);
		const char *package = qmr_json_string(entry, "package"), *path = qmr_json_string(entry, "path");

		if (!kind)
			continue;
		if (!strcmp(kind->what, "package") && (!package || strchr(package, '/') || strlen(package) > 255))
			abort();
		if (!strcmp(kind->what, "file") && (!path || *path != '/'))
			abort();
	}
	return 0;
}
