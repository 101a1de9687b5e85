/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_CULPRIT_H
#define QMR_CULPRIT_H

#include <stddef.h>

#include "oops.h"
#include "pstore.h"

/* Which module crashes point at: docs/incident.md, "culprit". Nothing here reads a file. */

struct qmr_crash {
	const struct qmr_dump *dump; /* borrowed */
	char file[24];               /* "dumps/001.txt" */
	struct qmr_oops oops;
};

enum qmr_basis { QMR_BASIS_NONE, QMR_BASIS_TAINT, QMR_BASIS_TRACE, QMR_BASIS_IP };

struct qmr_culprit {
	enum qmr_basis basis;
	char module[56];
	char function[128]; /* empty: not known */
	char kernel[64];    /* that crashed with it, empty: not known */
	unsigned int crashes; /* boots that crashed with this culprit */
};

/* What one crash points at; basis QMR_BASIS_NONE: nothing. */
void qmr_culprit_of_oops(const struct qmr_oops *oops, struct qmr_culprit *ret_culprit);

/* crashes newest first. The newest with the strongest basis decides. */
void qmr_culprit_find(const struct qmr_crash *crashes, size_t n, struct qmr_culprit *ret_culprit);

/* One crash may be dumped twice, as an oops and as the panic it became. */
int qmr_crash_is_same(const struct qmr_crash *a, const struct qmr_crash *b);

/* The word of incident.json. */
const char *qmr_basis_name(enum qmr_basis basis);

#endif
