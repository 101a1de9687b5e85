/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A text with panic= set has one, of ours or not; setting it again changes nothing; taken back there is none of ours. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	if (!text || size > 65536) {
		free(text);
		return 0;
	}
	memcpy(text, data, size);
	text[size] = '\0';
	for (int form = QMR_OPTIONS_CMDLINE; form <= QMR_OPTIONS_ENTRY; form++) {
		char *set = qmr_options_set_panic(text, (enum qmr_options_form)form, 10);
		char *again = set ? qmr_options_set_panic(set, (enum qmr_options_form)form, 10) : NULL;
		char *back = set ? qmr_options_set_panic(set, (enum qmr_options_form)form, 0) : NULL;
		struct qmr_options_panic panic;

		if (!set || !again || !back || strcmp(set, again))
			abort();
		qmr_options_find_panic(set, (enum qmr_options_form)form, &panic);
		if (!panic.other && panic.own != 10)
			abort();
		qmr_options_find_panic(back, (enum qmr_options_form)form, &panic);
		if (panic.own >= 0)
			abort();
		free(set);
		free(again);
		free(back);
	}
	free(text);
	return 0;
}
