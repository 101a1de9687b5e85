/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

/* The parser itself, which the header does not show: a file for every input would be slow. */
#include "lib/restore-point.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmr_restore_point point = {0};
	cleanup_json json_t *json = NULL;

	if (qmr_json_parse("input", (const char *)data, size, &json, NULL) < 0)
		return 0;
	if (parse_manifest(json, 1, &point, NULL) == 0) {
		for (size_t i = 0; i < point.n_files; i++)
			if (qmr_restore_point_find(&point, point.files[i].path) !=
				    &point.files[i] ||
			    !path_is_clean(point.files[i].path))
				abort();
	}
	qmr_restore_point_done(&point);
	return 0;
}
