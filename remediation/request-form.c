/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request-form.h"

#include <errno.h>

#include "plan-match.h"

int qmr_request_load(const char *name, const char *data, size_t size, struct qmr_request *ret_request, struct qmr_error *err)
{
	struct qmr_request request = {0};
	const char *field, *why;
	int r = qmr_request_parse(name, data, size, &request, err);

	if (r < 0)
		return r;
	if (qmr_match_check(request.match, &field, &why) < 0) {
		r = qmr_error_set(err, -EINVAL, "request '%s': %.64s: %s; the whole request is refused", name, field, why);
		qmr_request_done(&request); /* field may be of it */
		return r;
	}
	*ret_request = request;
	return 0;
}
