/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "version.h"

#include <string.h>

static int is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int is_letter(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

int qmr_version_is_valid(enum qmr_version_kind kind, const char *text, size_t size)
{
	size_t colons = 0;

	if (size < 1 || size > QMR_VERSION_BYTES_MAX)
		return 0;
	for (size_t i = 0; i < size; i++) {
		if (!is_digit(text[i]) && !is_letter(text[i]) && (!text[i] || !strchr(".+-~:_", text[i])))
			return 0;
		if (text[i] != ':' || kind == QMR_VERSION_TEXT)
			continue;
		if (++colons > 1 || i < 1 || i > 9 || i + 1 == size)
			return 0;
		for (size_t j = 0; j < i; j++)
			if (!is_digit(text[j]))
				return 0;
	}
	return 1;
}

/* '~' sorts before the end, the end before letters, letters before everything else; a digit ends a part as the end does. */
static int weight(const char *at, const char *end)
{
	if (at == end || is_digit(*at))
		return 0;
	if (*at == '~')
		return -1;
	return is_letter(*at) ? *at : *at + 256;
}

/* Parts without and with digits in turn; the latter are numbers of any length. */
static int compare_parts(const char *a, const char *a_end, const char *b, const char *b_end)
{
	while (a < a_end || b < b_end) {
		int first = 0;

		while ((a < a_end && !is_digit(*a)) || (b < b_end && !is_digit(*b))) {
			int difference = weight(a, a_end) - weight(b, b_end);

			if (difference)
				return difference;
			a++; /* of the same weight, which is not 0: neither is at its end */
			b++;
		}
		while (a < a_end && *a == '0')
			a++;
		while (b < b_end && *b == '0')
			b++;
		while (a < a_end && is_digit(*a) && b < b_end && is_digit(*b)) {
			if (!first)
				first = *a - *b;
			a++;
			b++;
		}
		if (a < a_end && is_digit(*a))
			return 1;
		if (b < b_end && is_digit(*b))
			return -1;
		if (first)
			return first;
	}
	return 0;
}

struct parts {
	const char *epoch, *epoch_end, *upstream, *upstream_end, *revision, *end;
};

static struct parts split(const char *text)
{
	const char *colon = strchr(text, ':'), *dash = strrchr(text, '-');
	struct parts parts = {.epoch = text, .epoch_end = colon ? colon : text, .upstream = colon ? colon + 1 : text};

	parts.end = text + strlen(text);
	parts.upstream_end = dash ? dash : parts.end;
	parts.revision = dash ? dash + 1 : parts.end;
	return parts;
}

int qmr_version_compare(enum qmr_version_kind kind, const char *a, const char *b)
{
	struct parts one, other;
	int r;

	if (kind == QMR_VERSION_TEXT)
		return compare_parts(a, a + strlen(a), b, b + strlen(b));
	one = split(a);
	other = split(b);
	r = compare_parts(one.epoch, one.epoch_end, other.epoch, other.epoch_end);
	if (r == 0)
		r = compare_parts(one.upstream, one.upstream_end, other.upstream, other.upstream_end);
	return r ? r : compare_parts(one.revision, one.end, other.revision, other.end);
}
