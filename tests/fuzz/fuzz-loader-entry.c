/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "loader-entries.h"
#include "loader-tries.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

/* File name, NUL, text of the entry. What is read must compare with itself as equal, and both ways alike. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct qmr_loader_entry other = {.id = "6.1.0-10.conf", .tries_left = 2, .has_sort_key = 1,
						      .sort_key = "debian", .version = "6.1.0-10-amd64"};
	char *copy = malloc(size + 2), *text;
	struct qmr_loader_entry entry;

	if (!copy || size > QMR_LOADER_TEXT_MAX) {
		free(copy);
		return 0;
	}
	memcpy(copy, data, size);
	copy[size] = copy[size + 1] = '\0';
	text = copy + strlen(copy) + 1;
	for (int unified = 0; unified < 2; unified++) {
		int r = unified ? qmr_loader_unified_parse(copy, text, &entry) : qmr_loader_entry_parse(copy, text, &entry);

		if (r < 0)
			continue;
		if (qmr_loader_entry_compare(&entry, &entry) != 0)
			abort();
		if (sign(qmr_loader_entry_compare(&entry, &other)) != -sign(qmr_loader_entry_compare(&other, &entry)))
			abort();
	}
	if (sign(qmr_loader_version_compare(copy, text)) != -sign(qmr_loader_version_compare(text, copy)))
		abort();
	(void)qmr_loader_path_left(copy);
	/* A name that was given a counter has it, and belongs to the same entry. */
	if (qmr_loader_entry_parse(copy, text, &entry) == 0) {
		struct qmr_loader_entry counted;
		char name[QMR_LOADER_FILE];

		if (qmr_loader_name_count(copy, 3, 1, name) == 0 &&
		    (qmr_loader_entry_parse(name, text, &counted) < 0 || counted.tries_left != 3 || counted.tries_done != 1 ||
		     strcmp(counted.id, entry.id)))
			abort();
	}
	/* Adding a key to an entry that is one must give an entry that has it. */
	if (qmr_loader_entry_parse(copy, text, &entry) == 0 && !entry.has_sort_key) {
		char *more = qmr_loader_entry_add_sort_key(text, "debian");

		if (!more || qmr_loader_entry_parse(copy, more, &entry) < 0 || strcmp(entry.sort_key, "debian"))
			abort();
		free(more);
	}
	free(copy);
	return 0;
}
