/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_MESSAGE_H
#define QMR_FETCH_MESSAGE_H

#include <stddef.h>

#include "error.h"

/*
 * What the sandboxed child says to its parent: messages of one byte type, two bytes size of the
 * name, four bytes size of the data (little endian), name, data. Any number of 'F' (a verified
 * file, name: its path in the repository), then one 'R' (the result, name: "ok", "refused",
 * "network", "busy" or "failed", data: the error's text), which ends it.
 */

#define QMR_FETCH_STREAM_MAX (32u << 20) /* bytes of all messages together */
#define QMR_FETCH_FILES_MAX 1024

struct qmr_fetch_file {
	char *name, *data; /* owned */
	size_t size;
};

/* Files by name. Zero-initialised it is empty. */
struct qmr_fetch_files {
	struct qmr_fetch_file *items; /* owned */
	size_t n;
	size_t total_bytes; /* of data */
};

/*
 * Copies name and data. -E2BIG: more than QMR_FETCH_FILES_MAX files or QMR_FETCH_STREAM_MAX bytes.
 */
int qmr_fetch_files_add(struct qmr_fetch_files *files, const char *name, const char *data,
			size_t size, struct qmr_error *err) QMR_MUST_CHECK;

/* Frees the files and the list and zeroes it; a zeroed one is fine. */
void qmr_fetch_files_done(struct qmr_fetch_files *files);

/*
 * A struct qmr_tuf_fetcher's function over files (user): the first of that name, -ENOENT or -EFBIG.
 */
int qmr_fetch_files_fetch(void *user, const char *name, size_t max_bytes, char **ret_data,
			  size_t *ret_size, struct qmr_error *err);

/*
 * The word for an error code: "ok", "refused" (what was offered does not verify), "network",
 * "busy" (the network, and it is not to be asked again in this run), "failed".
 */
const char *qmr_fetch_result_name(int code);

/* Writes the message of a file. -EPIPE if nobody reads. */
int qmr_fetch_send_file(int fd, const char *name, const char *data, size_t size,
			struct qmr_error *err) QMR_MUST_CHECK;

/* Writes the result: code 0 or a negative errno, and its text. -EPIPE if nobody reads. */
int qmr_fetch_send_result(int fd, int code, const char *text, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Parses a whole stream. ret_result: the child's result, code 0, -EBADMSG (refused), -ETIMEDOUT
 * (network), -EBUSY (busy) or -EIO (failed). -EPROTO: not such a stream, or it was cut off. What comes from this
 * function was said by a process that may be hostile.
 */
int qmr_fetch_stream_parse(const char *data, size_t size, struct qmr_fetch_files *ret_files,
			   struct qmr_error *ret_result, struct qmr_error *err) QMR_MUST_CHECK;

#endif
