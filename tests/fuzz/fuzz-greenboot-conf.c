/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "greenboot-conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is found is names, at most 256, none empty and none longer than the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmr_greenboot_names names = {0};
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (qmr_greenboot_conf_parse("greenboot.conf", text, &names, NULL) < 0 && (names.names || names.n))
		abort();
	if (names.n > QMR_GREENBOOT_NAMES_MAX)
		abort();
	for (size_t i = 0; i < names.n; i++)
		if (!names.names[i][0] || strlen(names.names[i]) > size || !qmr_greenboot_names_has(&names, names.names[i]))
			abort();
	qmr_greenboot_names_done(&names);
	free(text);
	return 0;
}
