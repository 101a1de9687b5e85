/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

#include "journal.h"
#include "json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is accepted may be acted on: its paths must be allowed ones, and written and read again it
 * must be the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_json json_t *json = NULL;
	cleanup_json json_t *once = NULL;
	cleanup_json json_t *twice = NULL;
	struct qmr_journal journal, again;

	if (qmr_json_parse("input", (const char *)data, size, &json, NULL) < 0 ||
	    qmr_journal_from_json(json, &journal, NULL) < 0)
		return 0;
	for (size_t i = 0; i < journal.n_files; i++)
		if (!qmr_journal_path_is_allowed(journal.files[i].path))
			abort();
	once = qmr_journal_to_json(&journal);
	if (!once || qmr_journal_from_json(once, &again, NULL) < 0)
		abort();
	twice = qmr_journal_to_json(&again);
	if (!json_equal(once, twice))
		abort();
	qmr_journal_done(&journal);
	qmr_journal_done(&again);
	return 0;
}
