/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_NETWORK_H
#define QMR_NETWORK_H

#include <curl/curl.h>
#include <stddef.h>

#include "config.h"
#include "error.h"

/* How servers are reached, for what uploads and what downloads: whom to trust, through which proxy, as whom. */

struct qmr_network {
	char *ca; /* PEM; owned, as all of these */
	size_t ca_size;
	const char *proxy; /* URL without user; borrowed; "" or NULL: the environment's */
	char *proxy_user;  /* "user:password", NULL: none */
	size_t proxy_user_size;
	char *client; /* PEM: certificate and private key for servers that ask; NULL: none */
	size_t client_size;
};

/*
 * Reads what config names: the CA from where it says, secrets below root, a path. A secret that is missing is none, one that cannot be
 * used costs a warning: not every server asks for it. proxy is borrowed from config. Errors: of the CA's file; -EINVAL, the proxy.
 * Release with _done, after a failure too.
 */
int qmr_network_load(const struct qmr_config *config, const char *root, struct qmr_network *ret_network,
		     struct qmr_error *err) QMR_MUST_CHECK;

/* Frees what is owned, secrets wiped, and zeroes it; a zeroed one is fine. */
void qmr_network_done(struct qmr_network *network);

/* Sets CA, proxy and client certificate on curl; network is borrowed until curl is gone. 0 or -ENOMEM. */
int qmr_network_set(const struct qmr_network *network, CURL *curl) QMR_MUST_CHECK;

#endif
