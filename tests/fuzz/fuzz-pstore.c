/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pstore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Adds one record: "name\n", two bytes of length, bytes. Returns what is left of the input. */
static size_t add_one(struct qmr_records *records, const uint8_t *data, size_t size)
{
	const uint8_t *newline = memchr(data, '\n', size < 150 ? size : 150);
	struct qmr_record record = {0};
	char name[160] = "";
	size_t length;
	int r;

	if (!newline || (size_t)(newline + 3 - data) > size)
		return 0;
	memcpy(name, data, (size_t)(newline - data));
	length = (size_t)(newline[1] | newline[2] << 8);
	size -= (size_t)(newline + 3 - data);
	if (length > size)
		length = size;
	r = qmr_record_make(name, newline + 3, length, 1790000000, &record, NULL);
	if ((r == 0 || r == -EBADMSG) && qmr_records_add(records, &record, NULL) < 0)
		abort();
	return size - length;
}

/* Any names and bytes: no record is larger than the limit, dumps end, and all of them can be released. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmr_records records = {0};
	struct qmr_dumps dumps = {0};

	for (size_t left = size; left && records.n < 64;)
		left = add_one(&records, data + (size - left), left);
	for (size_t i = 0; i < records.n; i++)
		if (records.items[i].size > QMR_RECORD_BYTES_MAX ||
		    records.items[i].header_bytes > records.items[i].size)
			abort();
	if (qmr_dumps_join(&records, &dumps, NULL) < 0)
		abort();
	for (size_t i = 0; i < dumps.n; i++)
		if (dumps.items[i].text[dumps.items[i].size] != '\0')
			abort();
	qmr_dumps_done(&dumps);
	qmr_records_done(&records);
	return 0;
}
