/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "floor-report.h"

#include <errno.h>

#include "json.h"

#define REPORT_BYTES_MAX (1u << 20)

int qmr_floor_read_report(int folder_fd, struct qmr_floor *ret_floor, struct qmr_error *err)
{
	cleanup_json json_t *report = NULL;
	const char *text;
	int r = qmr_json_load(folder_fd, QMR_FLOOR_REPORT, REPORT_BYTES_MAX, &report, err);

	if (r < 0)
		return r;
	text = qmr_json_string(report, "floor");
	if (!text)
		return qmr_error_set(err, -ENODATA, "'" QMR_FLOOR_REPORT "' names no highest versions");
	return qmr_floor_parse(text, ret_floor, err);
}
