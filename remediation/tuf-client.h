/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_TUF_CLIENT_H
#define QMR_TUF_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "tuf-trusted.h"

/*
 * The client workflow of The Update Framework, specification 1.0, section 5, over two sources of
 * files and without any input or output of its own. Nothing here knows where files come from, so
 * that the same code runs in the sandboxed child (network), in its parent (what the child passed
 * on) and in tests.
 */

#define QMR_TUF_PATH_MAX 1024 /* with NUL: the longest path asked of a repository */
#define QMR_TUF_ROOTS_MAX 256 /* followed in one run, from cache and repository each */

struct qmr_tuf_fetcher {
	/*
	 * Gets a file of at most max_bytes; the caller frees *ret_data. -ENOENT: there is no such
	 * file. -EFBIG: it is larger. Any other error ends the run and is passed on as it is.
	 */
	int (*fetch)(void *user, const char *path, size_t max_bytes, char **ret_data,
		     size_t *ret_size, struct qmr_error *err);
	void *user;
};

struct qmr_tuf_client {
	/* Paths: "metadata/timestamp.json", "targets/plans/1234.x.json". */
	struct qmr_tuf_fetcher repository;
	/* What accepted() was told to keep in earlier runs, by that name. */
	struct qmr_tuf_fetcher cache;
	/*
	 * A file of the repository was verified. kept_as: the name it has in the cache from now on;
	 * NULL if it is not to be kept. An error ends the run. Optional.
	 */
	int (*accepted)(void *user, const char *path, const char *kept_as, const char *data,
			size_t size, struct qmr_error *err);
	/*
	 * Cached timestamp and snapshot are to be deleted, now: their keys were replaced (5.3.11).
	 * Optional.
	 */
	int (*forget)(void *user, struct qmr_error *err);
	void *user;
	struct qmr_tuf_trusted trusted; /* owned */
	int is_forgotten;               /* forget() was due */
};

/*
 * Sections 5.1 to 5.6 for the top-level roles: client->trusted is then complete and fresh. root:
 * the trusted root that came with the system. -EBADMSG: the repository does not hold what its keys
 * sign for, with role and check in the message. Damaged files of the cache are warned about and
 * passed over. Whatever happened, qmr_tuf_client_done() releases.
 */
int qmr_tuf_client_refresh(struct qmr_tuf_client *client, const char *root, size_t root_size,
			   int64_t now_unix_s, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Section 5.7: gets a target that the trusted targets metadata lists (top-level; delegations are
 * not followed) and checks it. The caller frees *ret_data. -EBADMSG as above; -ENOENT: not listed.
 * The name must be plain, see below.
 */
int qmr_tuf_client_fetch_target(struct qmr_tuf_client *client, const char *name, char **ret_data,
				size_t *ret_size, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * 1 if name is a relative path without empty, "." and ".." components and control characters, of at
 * most 512 bytes.
 */
int qmr_tuf_target_name_is_plain(const char *name);

void qmr_tuf_client_done(struct qmr_tuf_client *client);

#endif
