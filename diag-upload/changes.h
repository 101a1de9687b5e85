/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_CHANGES_H
#define QMR_CHANGES_H

#include <jansson.h>
#include <stddef.h>

#include "config.h"
#include "error.h"
#include "hash.h"
#include "link.h"
#include "restore-point.h"

/* What differs between a restore point and the root now, and what ties it to a module: docs/incident.md, "changes". */

enum qmr_change_kind { QMR_CHANGE_MODIFIED, QMR_CHANGE_ADDED, QMR_CHANGE_REMOVED };

struct qmr_change {
	char *path;
	enum qmr_change_kind kind;
	enum qmr_link link;
	char old_sha256[QMR_SHA256_HEX]; /* empty: no regular file, or not hashed */
	char new_sha256[QMR_SHA256_HEX];
};

struct qmr_changes {
	struct qmr_change *items; /* sorted by path */
	size_t n;
	int truncated;
};

/* Frees what they own and zeroes them; zeroed ones are fine. */
void qmr_changes_done(struct qmr_changes *changes);

/*
 * Compares every watched file with point, by content: a size and a time say nothing of an update that sets its own.
 * Files larger than [watch] file_max are not in restore points and are passed over. Single files that cannot be read are
 * named in notes.
 */
int qmr_changes_find(int root_fd, const struct qmr_config *config, const struct qmr_restore_point *point,
		     json_t *notes, struct qmr_changes *ret_changes, struct qmr_error *err) QMR_MUST_CHECK;

/* Sets each change's link to the linker's module. */
void qmr_changes_link(struct qmr_changes *changes, const struct qmr_linker *linker);

/* incident.json's "changes": those with the strongest link first, at most 1,000. NULL when out of memory. */
json_t *qmr_changes_to_json(const struct qmr_changes *changes, int *ret_truncated);

#endif
