/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_RETRY_H
#define QMR_RETRY_H

#include <stdint.h>

/*
 * How long to wait before something is tried again. Many machines that fail together shall not come
 * back together, so every pause is random; docs/remediation.md, "Sources".
 */

#define QMR_RETRY_FIRST_MS 1000
#define QMR_RETRY_MAX_MS 30000

struct qmr_retry {
	uint64_t state;
	int64_t pause_ms;
};

/*
 * From the kernel's randomness if it is ready, and from what tells one machine and one boot from
 * another: two of the same image differ even where the kernel has no randomness yet. salt: more of
 * that, "" for none. Reads files: not in a sandbox.
 */
uint64_t qmr_retry_seed(const char *salt);

/* Begins with the first pause; seed: qmr_retry_seed(), or anything where it must not be random. Owns nothing. */
void qmr_retry_begin(struct qmr_retry *retry, uint64_t seed);

/*
 * The next pause: between half of QMR_RETRY_FIRST_MS, doubled each time up to QMR_RETRY_MAX_MS, and
 * all of it; after_s, which a server asked for, is added, 0 for none.
 */
int64_t qmr_retry_next_ms(struct qmr_retry *retry, int64_t after_s);

/* Sleeps for all of it, signals or not. */
void qmr_retry_sleep(int64_t ms);

/*
 * The value of Retry-After (RFC 9110, 10.2.3) in seconds: a number, or an HTTP date, which is
 * measured against date, the answer's Date, or, where that is NULL or none, against now_unix_s. At
 * most a day; 0 if it is neither or in the past.
 */
int64_t qmr_retry_after_s(const char *value, const char *date, int64_t now_unix_s);

/* An HTTP date in any of its three forms (RFC 9110, 5.6.7), seconds since 1970; -1: it is none. */
int64_t qmr_retry_parse_date(const char *text);

#endif
