/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_VERSION_H
#define QMR_VERSION_H

#include <stddef.h>

/* The order of versions: docs/remediation.md, "Selectors"; deb-version(7), dpkg's lib/dpkg/version.c. */

#define QMR_VERSION_BYTES_MAX 127

enum qmr_version_kind {
	QMR_VERSION_TEXT,   /* kernels, modules, systems: one part */
	QMR_VERSION_PACKAGE /* [epoch:]upstream[-revision] */
};

/* Whether text, size bytes without a NUL, is a version: its length, its characters, a package's epoch of at most 9 digits. */
int qmr_version_is_valid(enum qmr_version_kind kind, const char *text, size_t size);

/* Below 0, 0 or above 0, as a sorts before, with or after b; both are valid. */
int qmr_version_compare(enum qmr_version_kind kind, const char *a, const char *b);

#endif
