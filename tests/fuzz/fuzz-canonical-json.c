/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "canonical-json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Control characters stand in canonical strings, and nowhere else, as they are; with them escaped
 * it is JSON. */
static char *escape(const char *text, size_t size, size_t *ret_size)
{
	char *escaped = malloc(6 * size + 1);
	size_t used = 0;

	for (size_t i = 0; i < size; i++)
		if ((unsigned char)text[i] < 0x20)
			used += (size_t)sprintf(escaped + used, "\\u%04x", (unsigned char)text[i]);
		else
			escaped[used++] = text[i];
	*ret_size = used;
	return escaped;
}

/* The canonical form says the same as the input, and there is one form of it alone. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL), *back;
	char *text, *again, *escaped;
	size_t text_size, again_size, escaped_size;

	if (!json)
		return 0;
	if (qmr_canonical_json(json, &text, &text_size, NULL) < 0) {
		json_decref(json);
		return 0;
	}
	if (text[text_size] || strlen(text) != text_size)
		abort();
	escaped = escape(text, text_size, &escaped_size);
	back = json_loadb(escaped, escaped_size, JSON_REJECT_DUPLICATES, NULL);
	if (!back || !json_equal(json, back))
		abort();
	if (qmr_canonical_json(back, &again, &again_size, NULL) < 0 || again_size != text_size ||
	    memcmp(text, again, text_size))
		abort();
	free(again);
	free(escaped);
	free(text);
	json_decref(back);
	json_decref(json);
	return 0;
}
