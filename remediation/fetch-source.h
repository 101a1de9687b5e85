/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_SOURCE_H
#define QMR_FETCH_SOURCE_H

#include <stddef.h>

#include "error.h"

/* Places of one repository; docs/remediation.md, "Sources". */

#define QMR_FETCH_SOURCES_MAX 16 /* media: may stand for several */
#define QMR_FETCH_SOURCE_BYTES 512

enum qmr_fetch_kind { QMR_FETCH_HTTPS, QMR_FETCH_FILE, QMR_FETCH_MEDIA };

struct qmr_fetch_source {
	char url[QMR_FETCH_SOURCE_BYTES];
	enum qmr_fetch_kind kind;
	int folder_fd;           /* owned; -1: it is a server, or cannot be opened */
	struct qmr_error result; /* of the last try */
	int is_tried;
	int is_out; /* it is not to be tried again in this run */
};

/* -EINVAL: text is no source; what is wrong with it is in the message. */
int qmr_fetch_source_parse(const char *text, enum qmr_fetch_kind *ret_kind,
			   struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Adds what url stands for to sources, n of which are there; media: the folder that holds mounted
 * file systems. Folders are opened; one that cannot be is added with its error and is_out.
 */
int qmr_fetch_source_add(const char *url, const char *media,
			 struct qmr_fetch_source sources[QMR_FETCH_SOURCES_MAX], size_t *n,
			 struct qmr_error *err) QMR_MUST_CHECK;

/* Closes the folders; the array is the caller's. */
void qmr_fetch_sources_done(struct qmr_fetch_source *sources, size_t n);

#endif
