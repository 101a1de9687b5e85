/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_URL_H
#define QMR_URL_H

#include "error.h"

/*
 * What is wrong with a server's URL of the configuration after its "scheme://": a user name, which everybody could read there, a query, no
 * host, a character that must be encoded. NULL: nothing; the rest is libcurl's to judge.
 */
const char *qmr_url_judge_server(const char *rest);

/* NULL, or what is wrong with text: a character that must be percent-encoded. */
const char *qmr_url_judge_characters(const char *text);

/* -EINVAL: text is neither empty nor a proxy's URL of a kind that is known. */
int qmr_url_check_proxy(const char *text, struct qmr_error *err) QMR_MUST_CHECK;

#endif
