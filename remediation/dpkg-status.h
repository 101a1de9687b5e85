/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_DPKG_STATUS_H
#define QMR_DPKG_STATUS_H

#include <stddef.h>

#include "error.h"

/* dpkg's database inside a root: deb822(5), dpkg's lib/dpkg/parse.c and dbmodify.c. */

/* What one stanza says of a package. */
struct qmr_dpkg_entry {
	const char *package, *version, *architecture; /* borrowed, not terminated; NULL where missing */
	size_t package_size, version_size, architecture_size;
	int is_there;    /* its files are: installed, unpacked, half-configured, triggers-* */
	int is_unknown;  /* half-installed: nobody knows what is there */
};

/*
 * Takes the next stanza off *text (size bytes). 1: there was one; 0: the end; -EBADMSG: this is no such file (a line of another form, a
 * stanza without package or status, a status of another form).
 */
int qmr_dpkg_next(const char **text, size_t *size, struct qmr_dpkg_entry *ret_entry, struct qmr_error *err) QMR_MUST_CHECK;

/* Called for each instance of the package (one for each architecture). A negative return stops and is returned. */
typedef int qmr_dpkg_fn(void *user, const struct qmr_dpkg_entry *entry, struct qmr_error *err);

/*
 * Looks a package up in /var/lib/dpkg/status and in /var/lib/dpkg/updates, whose newest word on an instance counts. fn is called for each
 * instance. -ENOENT if there is no database; -EBADMSG if it is damaged; -EFBIG beyond 64 MiB or 1,000 updates.
 */
int qmr_dpkg_find(int root_fd, const char *package, qmr_dpkg_fn *fn, void *user, struct qmr_error *err) QMR_MUST_CHECK;

#endif
