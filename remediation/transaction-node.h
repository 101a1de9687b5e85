/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_TRANSACTION_NODE_H
#define QMR_TRANSACTION_NODE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "restore-point.h"

/* What a name in the root is or shall be, and copies of files with everything that belongs to them.
 */

enum qmr_node_type { QMR_NODE_NONE, QMR_NODE_FILE, QMR_NODE_SYMLINK };

struct qmr_node {
	int type;      /* enum qmr_node_type */
	char *target;  /* owned, of a symbolic link, else NULL */
	uint32_t mode; /* permission bits, of a file */
	uint32_t uid, gid;
	uint64_t size;
	int64_t mtime_ns;
	char sha256[65]; /* of a file */
};

/* Frees what the node owns; a zeroed one is fine. */
void qmr_node_done(struct qmr_node *node);

/* Deep copy; -ENOMEM. */
int qmr_node_copy(const struct qmr_node *node, struct qmr_node *ret_node,
		  struct qmr_error *err) QMR_MUST_CHECK;

/* The node that a restore point holds. */
int qmr_node_from_saved(const struct qmr_saved_file *file, struct qmr_node *ret_node,
			struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Examines name in an open folder, never following it, and hashes a file. A missing name gives
 * QMR_NODE_NONE. -EBADMSG if it is neither file nor symbolic link. path is for messages.
 */
int qmr_node_read_at(int parent_fd, const char *name, const char *path, struct qmr_node *ret_node,
		     struct qmr_error *err) QMR_MUST_CHECK;

/* The same for a path inside the root; a missing folder gives QMR_NODE_NONE too. */
int qmr_node_read(int root_fd, const char *path, struct qmr_node *ret_node,
		  struct qmr_error *err) QMR_MUST_CHECK;

/* Same type and same content (or link target). */
int qmr_node_is_same_content(const struct qmr_node *a, const struct qmr_node *b);

/* Same content, permission bits and, where the caller could change them, owner. Times do not count.
 */
int qmr_node_is_same(const struct qmr_node *a, const struct qmr_node *b);

/*
 * Copies the file in_fd (from its beginning) to a new file name in out_dir, with its extended
 * attributes, and gives it the owner, mode and time of meta; synced. *ret_sha256 is the hash of
 * what was written, read back. On failure name is removed.
 */
int qmr_node_copy_file(int in_fd, int out_dir, const char *name, const struct qmr_node *meta,
		       char ret_sha256[65], struct qmr_error *err) QMR_MUST_CHECK;

/* As qmr_node_copy_file() with the content from memory. */
int qmr_node_write_file(const void *data, size_t size, int out_dir, const char *name,
			const struct qmr_node *meta, char ret_sha256[65],
			struct qmr_error *err) QMR_MUST_CHECK;

/* Owner, mode and time from fstat(2). */
int qmr_node_stat_fd(int fd, const char *path, struct qmr_node *ret_node,
		     struct qmr_error *err) QMR_MUST_CHECK;

/* Whether two open files have the same extended attributes; 0 also where they cannot be read. */
int qmr_node_has_same_xattrs(int a, int b);

#endif
