/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "tuf-metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_file(const struct qmr_tuf_metadata *m, const char *name)
{
	struct qmr_tuf_file file;
	int found = m->role == QMR_TUF_TARGETS ? qmr_tuf_metadata_get_target(m, name, &file)
					       : qmr_tuf_metadata_get_file(m, name, &file);

	/* What a caller allocates and compares by. */
	if (!found || file.length < -1 ||
	    (m->role == QMR_TUF_TARGETS ? file.length < 0 || !file.hashes : file.version < 1))
		abort();
	(void)!qmr_tuf_file_check(name, &file, "x", 1, NULL);
}

/*
 * Each role takes the input; what is accepted keeps its promises, and its signatures are looked at
 * with its own keys.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int role = 0; role < QMR_TUF_ROLES; role++) {
		struct qmr_tuf_metadata m = {0};
		const char *name;
		json_t *entry;

		if (qmr_tuf_metadata_parse((enum qmr_tuf_role)role, (const char *)data, size, &m,
					   NULL) < 0) {
			if (m.json)
				abort();
			continue;
		}
		if (m.version < 1 || m.canonical_size == 0)
			abort();
		json_object_foreach (
			json_object_get(m.content, role == QMR_TUF_TARGETS ? "targets" : "meta"),
			name, entry)
			if (role != QMR_TUF_ROOT)
				check_file(&m, name);
		if (role == QMR_TUF_ROOT)
			(void)!qmr_tuf_metadata_check_signed(&m, &m, NULL);
		qmr_tuf_metadata_done(&m);
	}
	return 0;
}
