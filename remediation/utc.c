/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "utc.h"

#include <errno.h>
#include <string.h>
#include <time.h>

void qmr_time_format(int64_t unix_s, char ret[32])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

int qmr_time_parse(const char *text, int64_t *ret_unix_s)
{
	char again[32];
	struct tm tm = {0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	int64_t unix_s;

	if (!end || *end)
		return -EINVAL;
	unix_s = timegm(&tm);
	/* strptime() takes blanks, short numbers and the 31st of February. */
	qmr_time_format(unix_s, again);
	if (strcmp(again, text))
		return -EINVAL;
	*ret_unix_s = unix_s;
	return 0;
}
