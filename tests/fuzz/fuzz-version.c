/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "version.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

/* Three lines, each perhaps a version: what is compared has one order, whichever way it is asked for. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[3][QMR_VERSION_BYTES_MAX + 1];
	size_t at = 0;

	for (int i = 0; i < 3; i++) {
		size_t n = 0;

		while (at + n < size && data[at + n] != '\n')
			n++;
		if (!qmr_version_is_valid(QMR_VERSION_PACKAGE, (const char *)data + at, n))
			return 0;
		if (!qmr_version_is_valid(QMR_VERSION_TEXT, (const char *)data + at, n) || n > QMR_VERSION_BYTES_MAX)
			abort();
		memcpy(text[i], data + at, n);
		text[i][n] = '\0';
		at += n + (at + n < size);
	}
	for (int kind = QMR_VERSION_TEXT; kind <= QMR_VERSION_PACKAGE; kind++) {
		int ab = sign(qmr_version_compare(kind, text[0], text[1]));
		int bc = sign(qmr_version_compare(kind, text[1], text[2]));
		int ac = sign(qmr_version_compare(kind, text[0], text[2]));

		if (sign(qmr_version_compare(kind, text[1], text[0])) != -ab || qmr_version_compare(kind, text[0], text[0]))
			abort();
		if (ab == bc && ac != ab)
			abort();
	}
	return 0;
}
