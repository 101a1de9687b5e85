/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "history.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A root, then a file. What is taken from it has words for all its values. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmr_attempt *attempts;
	size_t n;

	if (size < 16 || size > QMR_HISTORY_BYTES_MAX || qmr_history_parse((const char *)data + 16, size - 16, data, &attempts, &n, NULL) < 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (!strcmp(qmr_outcome_name(attempts[i].outcome), "invalid") || !strcmp(qmr_phase_name(attempts[i].phase), "invalid") ||
		    !strcmp(qmr_evidence_name(attempts[i].evidence), "invalid"))
			abort();
	free(attempts);
	return 0;
}
