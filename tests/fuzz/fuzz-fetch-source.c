/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fetch-folder.h"
#include "fetch-source.h"
#include "url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No component that leaves its folder. */
static void check_path(const char *path)
{
	const char *name = path;

	for (;; path++) {
		if (*path && *path != '/')
			continue;
		if (path == name || (path - name == 1 && name[0] == '.') ||
		    (path - name == 2 && name[0] == '.' && name[1] == '.'))
			abort();
		if (!*path)
			return;
		name = path + 1;
	}
}

/* A line of the configuration, and a path that the child is led to ask a stick for. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum qmr_fetch_kind kind = (enum qmr_fetch_kind)99;
	char place[256], *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (qmr_fetch_source_parse(text, &kind, NULL) == 0) {
		if (kind > QMR_FETCH_MEDIA || (kind == QMR_FETCH_MEDIA && strchr(text, '/')))
			abort();
	} else if (kind != (enum qmr_fetch_kind)99) {
		abort();
	}
	if (qmr_url_check_proxy(text, NULL) == 0 && *text && strchr(text, ' '))
		abort();
	for (int is_decoded = 0; is_decoded < 2; is_decoded++)
		if (qmr_fetch_folder_place(text, is_decoded, place, sizeof(place)) == 0) {
			if (strlen(place) > strlen(text) || (!is_decoded && strcmp(place, text)))
				abort();
			check_path(place);
		}
	free(text);
	return 0;
}
