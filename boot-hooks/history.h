/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_HISTORY_H
#define QMR_HISTORY_H

#include "boot-state.h"
#include "error.h"

/* Attempts that are over, for longer than the boot state's ring remembers them: docs/boot-state.md, "Beside it on the root". */

#define QMR_HISTORY_PATH "/var/lib/qmr/history.jsonl"
#define QMR_HISTORY_LINES 1000 /* kept, the newest */
#define QMR_HISTORY_BYTES_MAX (QMR_HISTORY_LINES * 512U)

/*
 * Adds all attempts of state but the newest, which may still change, that the file does not have yet: each once, told apart by root, number
 * and start. Durable; nothing is written where there is nothing to add. A file that is too large to be ours is begun anew.
 */
int qmr_history_append(const char *path, const struct qmr_state *state, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * What a file's text says of a root, oldest first; lines that are damaged or of another schema are passed over. *ret_attempts is malloc'ed,
 * the caller frees it. -ENOMEM.
 */
int qmr_history_parse(const char *text, size_t size, const uint8_t root[16], struct qmr_attempt **ret_attempts, size_t *ret_n,
		      struct qmr_error *err) QMR_MUST_CHECK;

#endif
