/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_TRANSFER_H
#define QMR_TRANSFER_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* The only file that knows libcurl, beside lib/network.c. HTTPS only, TLS 1.2 or newer, one CA file, no redirects. */

struct qmr_config;

struct qmr_transfer {
	const struct qmr_config *config; /* CA, proxy, client certificate */
	const char *root;    /* of the system whose secrets are used */
	int64_t deadline_ms; /* CLOCK_MONOTONIC, for all attempts together */
	int stall_s;         /* an attempt without progress for so long is given up */
};

/*
 * PUTs data to url with "If-None-Match: *", again after network errors, 429 and 5xx, with growing random pauses, until
 * the deadline. 0 if the server has it now or had it before (200, 201, 204, 412; 409 where a HEAD finds it). -EPROTO: any
 * other answer, final. -EKEYREJECTED: the server could not prove who it is, final. -EINVAL: url or
 * proxy cannot be used. -EKEYREJECTED too: there is no CA.
 * -ETIMEDOUT: nothing better until the deadline. The message names the last reason.
 */
int qmr_transfer_put(const struct qmr_transfer *transfer, const char *url, const void *data, size_t size,
		     struct qmr_error *err) QMR_MUST_CHECK;

#endif
