/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fetch-message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The child may say anything: what is taken from it lies within what it said. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmr_fetch_files files = {0};
	struct qmr_error result = {0};
	size_t total = 0;

	if (qmr_fetch_stream_parse((const char *)data, size, &files, &result, NULL) < 0) {
		if (files.n)
			abort();
		return 0;
	}
	for (size_t i = 0; i < files.n; i++) {
		if (files.items[i].data[files.items[i].size] || !*files.items[i].name)
			abort();
		total += files.items[i].size + strlen(files.items[i].name);
	}
	if (total > size || files.n > QMR_FETCH_FILES_MAX || result.code > 0)
		abort();
	qmr_fetch_files_done(&files);
	return 0;
}
