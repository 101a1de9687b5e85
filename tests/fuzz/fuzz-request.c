/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int is_within(int value, int max)
{
	return value >= 0 && value <= max;
}

/* Any bytes are refused, or give a request whose parts are within their limits: the id is part of a file's name, the title goes to terminals. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size ? size : 1); /* no NUL behind it, so that a read beyond is seen */
	struct qmr_request request = {0};

	if (!copy)
		abort();
	memcpy(copy, data, size);
	if (qmr_request_parse("fuzz", copy, size, &request, NULL) == 0) {
		if (!*request.id || strlen(request.id) > 63 || *request.id == '.' || strpbrk(request.id, "/\n\033") || strlen(request.title) > 200 ||
		    strpbrk(request.title, "\n\033\177") || !json_is_object(request.match) || !strcmp(qmr_request_mode_name(request.mode), "invalid") ||
		    !is_within(request.grace_minutes, 1440) || !is_within(request.defer_minutes, 10080) || !is_within(request.battery_percent, 100))
			abort();
	} else if (request.json) {
		abort();
	}
	qmr_request_done(&request);
	free(copy);
	return 0;
}
