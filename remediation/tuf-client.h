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

#define QMR_TUF_PATH_MAX 2048      /* with NUL: the longest path asked of a repository */
#define QMR_TUF_DELEGATIONS_MAX 32 /* delegated roles visited for one target */
#define QMR_TUF_KEPT_ROOTS                                                                         \
	"root_history"            /* "root_history/2.root.json"; other kept files have no folder */
#define QMR_TUF_KEPT_ROLE_MAX 230 /* characters of an encoded name, longer ones are not kept */
#define QMR_TUF_ROOTS_MAX 256     /* followed in one run, from cache and repository each */

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
	/*
	 * Paths: "metadata/timestamp.json", "targets/plans/1234.x.json", "metadata/1.a%2Fb.json".
	 * They are percent-encoded, as they stand in a URL.
	 */
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
	/*
	 * What an earlier run remembered beside the cache; all zero: nothing. One of another root
	 * than the run is given does not count.
	 */
	struct qmr_floor floor;
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
 * What is to be remembered after a run, a failed one too: never less than client->floor as long as
 * root and keys are the same. root as for _refresh.
 */
int qmr_tuf_client_get_floor(const struct qmr_tuf_client *client, const char *root,
			     size_t root_size, struct qmr_floor *ret_floor,
			     struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Section 5.6.7: looks a target up, in the top-level role and in those it delegates to, which are
 * fetched as they are needed. What *ret_file borrows is good until the next call. -EBADMSG as
 * above; -ENOENT: not listed, or not within QMR_TUF_DELEGATIONS_MAX delegated roles.
 */
int qmr_tuf_client_find_target(struct qmr_tuf_client *client, const char *name,
			       struct qmr_tuf_file *ret_file, struct qmr_error *err) QMR_MUST_CHECK;

/* Negative: stop, and return that. */
typedef int qmr_tuf_role_fn(void *user, const struct qmr_tuf_metadata *role, struct qmr_error *err);

/*
 * Calls fn for the top-level role and each that may list targets whose names begin with folder
 * ("plans") and '/', as far as QMR_TUF_DELEGATIONS_MAX. What a role lists need not be its to list:
 * look each name up.
 */
int qmr_tuf_client_each_role(struct qmr_tuf_client *client, const char *folder, qmr_tuf_role_fn *fn,
			     void *user, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Section 5.7: looks a target up, gets it and checks it. The caller frees *ret_data. Errors as of
 * _find_target. The name must be plain, see below.
 */
int qmr_tuf_client_fetch_target(struct qmr_tuf_client *client, const char *name, char **ret_data,
				size_t *ret_size, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * 1 if name is a relative path without empty, "." and ".." components and control characters, of at
 * most 512 bytes.
 */
int qmr_tuf_target_name_is_plain(const char *name);

/*
 * Writes text with everything but RFC 3986's unreserved characters and those of also as %XX.
 * Returns the length; -ENAMETOOLONG if it does not fit.
 */
int qmr_tuf_percent_encode(const char *text, const char *also, char *ret, size_t size);

/* Frees the metadata that is trusted. */
void qmr_tuf_client_done(struct qmr_tuf_client *client);

#endif
