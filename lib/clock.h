/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_CLOCK_H
#define QMR_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds that nobody can set. Stands still while the machine sleeps. */
static inline int64_t qmr_clock_ms(void)
{
	struct timespec ts = {0};

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

#endif
