/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_TIME_H
#define QMR_FETCH_TIME_H

#include <stddef.h>
#include <stdint.h>

#include "fetch-store.h"

/* The one time that a run goes by; docs/remediation.md, "Time". Seconds since 1970. */

#define QMR_FETCH_CLOCK_AHEAD_MAX_S (1826LL * 86400)

struct qmr_fetch_time {
	int64_t unix_s, clock_unix_s;
	const char *from; /* "clock", "image" or "metadata" */
	int is_floor;     /* the clock is wrong: it is later than unix_s */
};

/* built, proven: 0 if not known. */
struct qmr_fetch_time qmr_fetch_time_choose(int64_t clock_unix_s, int64_t built_unix_s,
					    int64_t proven_unix_s);

/*
 * The same with what the store keeps, whose time is believed up to the expiry of the timestamp that
 * it keeps and that root, the first trusted one, leads to.
 */
struct qmr_fetch_time qmr_fetch_time_now(int64_t clock_unix_s, int64_t built_unix_s,
					 const struct qmr_fetch_store *store, const char *root,
					 size_t root_size);

/* A run verified: if it went by the clock, that is the time that is proven now. */
void qmr_fetch_time_keep(const struct qmr_fetch_time *time, struct qmr_fetch_store *store);

#endif
