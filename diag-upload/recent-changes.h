/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_RECENT_CHANGES_H
#define QMR_RECENT_CHANGES_H

#include <jansson.h>

#include "link.h"

/*
 * incident.json's "recent_changes", docs/changes.md: what the root's change log holds, newest first, at most 200 entries; those
 * without a link give way (*ret_truncated). The root is hostile: a log that cannot be used is named in notes and gives
 * an empty list, a missing one is an empty one. NULL when out of memory. The caller owns it.
 */
json_t *qmr_recent_changes(int root_fd, const struct qmr_linker *linker, json_t *notes, int *ret_truncated);

#endif
