/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_SEND_H
#define QMR_SEND_H

#include "config.h"
#include "error.h"

/* Writes the encrypted bundle of an incident folder to a file, durably. -EBADMSG: not an incident folder. */
int qmr_send_pack(const struct qmr_config *config, const char *incident, const char *out,
		  struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Sends an incident's bundle and writes upload.json into its folder. root: the system whose secrets are used. What cannot be sent goes to spool (NULL: nowhere).
 * After a success the rest of the spool is sent as well, as far as the time reaches. Errors of qmr_transfer_put(), and
 * -EBADMSG.
 */
int qmr_send_incident(const struct qmr_config *config, const char *root, const char *incident, const char *spool,
		      struct qmr_error *err) QMR_MUST_CHECK;

/* Sends what is spooled and removes what was sent. Returns how many were sent; the first failure ends it. */
int qmr_send_spool(const struct qmr_config *config, const char *root, const char *spool, struct qmr_error *err) QMR_MUST_CHECK;

#endif
