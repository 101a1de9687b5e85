/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_TRANSFER_H
#define QMR_FETCH_TRANSFER_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

/*
 * Downloads; the one file of remediation-fetch that knows libcurl. HTTPS only, TLS 1.2 or newer,
 * one CA, no files written.
 */

struct qmr_fetch_transfer; /* opaque */

/* A flag of tests/tuf-client alone: plain http as well, and one attempt for each file (-EAGAIN: it
 * failed). */
#define QMR_FETCH_FOR_TESTS 0x1

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t qmr_fetch_now_ms(void);

/*
 * Starts libcurl, before the sandbox is entered, since it reads files then. url: what paths are
 * appended to; ca: PEM; both are borrowed until _close. deadline_ms (CLOCK_MONOTONIC) is that of
 * all transfers together. flags: 0. -EINVAL: url is not https.
 */
int qmr_fetch_transfer_open(const char *url, const char *ca, size_t ca_size, int64_t deadline_ms,
			    int flags, struct qmr_fetch_transfer **ret_transfer,
			    struct qmr_error *err) QMR_MUST_CHECK;

/*
 * A struct qmr_tuf_fetcher's function; user is the transfer, path
 * is percent-encoded. Tries again after network errors, 408,
 * 429 and 5xx, with growing random pauses, until the deadline. -ENOENT: 404, 410, or 403, which
 * object stores answer for what is not there. -EFBIG. -EKEYREJECTED: the server could not prove who
 * it is. -EPROTO: another final answer. -ETIMEDOUT: nothing better until the deadline.
 */
int qmr_fetch_transfer_get(void *user, const char *path, size_t max_bytes, char **ret_data,
			   size_t *ret_size, struct qmr_error *err) QMR_MUST_CHECK;

void qmr_fetch_transfer_close(struct qmr_fetch_transfer *transfer);

#endif
