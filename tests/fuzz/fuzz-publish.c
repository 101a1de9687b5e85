/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

#include "json.h"
#include "publish.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input is metadata of each role in turn; what passes as root is used as one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_json json_t *document = NULL;

	if (qmr_json_parse("input", (const char *)data, size, &document, NULL) < 0)
		return 0;
	for (int role = 0; role < QMR_ROLE_COUNT; role++) {
		struct qmr_repository repository = {.fd = -1};
		json_t *next, *changes;
		int64_t unix_s;

		if (qmr_metadata_check_form(role, document, "input", NULL) < 0)
			continue;
		if (qmr_metadata_version(document) < 1 ||
		    qmr_metadata_expires(document) == INT64_MIN)
			abort();
		next = qmr_metadata_next(document, qmr_metadata_version(document) + 1, 0);
		if (!next || qmr_time_parse("1970-01-01T00:00:00Z", &unix_s) < 0 ||
		    qmr_metadata_expires(next) != unix_s)
			abort();
		for (int other = 0; role == QMR_ROLE_ROOT && other < QMR_ROLE_COUNT; other++)
			if (qmr_root_threshold(document, other) < 1 ||
			    qmr_metadata_count(document, other, next, NULL) >
				    (int)json_array_size(qmr_root_keyids(document, other)))
				abort();
		repository.now[role] = document;
		repository.next[role] = next;
		changes = qmr_publish_changes(&repository, role);
		json_decref(changes);
		json_decref(next);
	}
	return 0;
}
