/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_COMPRESS_H
#define QMR_COMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* Streams bytes into one zstd frame in memory. The only user of libzstd in this folder. */

struct qmr_compress;

/*
 * level 1..19. Uses all processors; the result does not depend on how many there are. Release with
 * qmr_compress_free().
 */
int qmr_compress_new(int level, struct qmr_compress **ret_compress, struct qmr_error *err) QMR_MUST_CHECK;

/* A qmr_sink_fn; user is the struct qmr_compress. */
int qmr_compress_write(void *user, const void *data, size_t size, struct qmr_error *err) QMR_MUST_CHECK;

/* Ends the frame. The data is borrowed until qmr_compress_free(); *ret_input_bytes is what went in. */
int qmr_compress_finish(struct qmr_compress *compress, const void **ret_data, size_t *ret_size,
			uint64_t *ret_input_bytes, struct qmr_error *err) QMR_MUST_CHECK;

/* NULL is fine. */
void qmr_compress_free(struct qmr_compress *compress);

static inline void qmr_cleanup_compress(struct qmr_compress **compress)
{
	qmr_compress_free(*compress);
}

#endif
