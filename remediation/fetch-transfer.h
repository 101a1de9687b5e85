/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_TRANSFER_H
#define QMR_FETCH_TRANSFER_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct qmr_network; /* network.h, which needs libcurl's headers */

/*
 * Downloads; the one file of remediation-fetch that knows libcurl. HTTPS only, TLS 1.2 or newer,
 * one CA, no files written. Limits and what is tried again: docs/remediation.md, "Sources".
 */

struct qmr_fetch_transfer; /* opaque */

/* A flag of tests/tuf-client alone: plain http as well, and one attempt for each file (-EAGAIN: it failed). */
#define QMR_FETCH_FOR_TESTS 0x1
/* There is another source to turn to: few attempts for each file. */
#define QMR_FETCH_HAS_OTHERS 0x2

struct qmr_fetch_network {
	const struct qmr_network *servers; /* borrowed */
	int stall_s;
	uint64_t seed;      /* of the random pauses, qmr_retry_seed() */
	int64_t now_unix_s; /* what certificates are judged by, 0: the clock */
	int is_floor;       /* it is later than now_unix_s: "not yet valid" cannot be said */
};

/*
 * Starts libcurl, before the sandbox is entered, since it reads files then. url: what paths are
 * appended to; borrowed until _close, as what network refers to. deadline_ms (CLOCK_MONOTONIC) is
 * that of all transfers together. -EINVAL:
 * url is not https.
 */
int qmr_fetch_transfer_open(const char *url, const struct qmr_fetch_network *network,
			    int64_t deadline_ms, int flags,
			    struct qmr_fetch_transfer **ret_transfer,
			    struct qmr_error *err) QMR_MUST_CHECK;

/*
 * A struct qmr_tuf_fetcher's function; user is the transfer, path
 * is percent-encoded. Tries again after network errors, 408,
 * 429 and 5xx, with growing random pauses, until the deadline. -ENOENT: 404, 410, or 403, which
 * object stores answer for what is not there. -EFBIG. -EKEYREJECTED: the server could not prove who
 * it is. -EPROTO: another final answer. -ETIMEDOUT: nothing better until the deadline. -EBUSY: the
 * server asks to be left alone beyond the deadline.
 */
int qmr_fetch_transfer_get(void *user, const char *path, size_t max_bytes, char **ret_data,
			   size_t *ret_size, struct qmr_error *err) QMR_MUST_CHECK;

/* Ends the connections and frees the transfer; NULL is fine. */
void qmr_fetch_transfer_close(struct qmr_fetch_transfer *transfer);

#endif
