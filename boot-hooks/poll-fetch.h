/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_POLL_FETCH_H
#define QMR_POLL_FETCH_H

#include "config.h"
#include "error.h"

/* How the running system asks the owner's repository. */

enum qmr_poll_what { QMR_POLL_PLANS, QMR_POLL_REQUESTS };

/*
 * Has remediation-fetch bring the metadata in /var/lib/qmr/tuf up to date, and write what matches this machine, verified, into out, an absolute
 * path, which is made (mode 0700) and emptied of what an earlier run left: plans and fetch.json, and requests below requests/ if they are asked
 * for. The facts that it matches by are in out/facts.json. The highest versions that the boot state remembers hold; if the repository proved
 * higher ones, also in a run that failed, they are stored there, and nothing is written if not. A boot state that cannot be read or written
 * costs a warning. One fetch at a time: waits for another process's, which has its own limit. Takes [network] transfer_timeout and some minutes
 * at most. 0 also where nothing matches; -ETIMEDOUT or -EIO where it could not be fetched or verified, which the programs have logged.
 */
int qmr_poll_fetch(const char *config_path, const struct qmr_config *config, enum qmr_poll_what what, const char *out,
		   struct qmr_error *err) QMR_MUST_CHECK;

#endif
