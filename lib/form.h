/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FORM_H
#define QMR_FORM_H

/* Forms of texts that more than one part reads. */

/*
 * Whether text has the form of a plan's id: 1 to 63 of A-Za-z0-9._-, not beginning with a dot (docs/remediation.md). A request's id has it too,
 * and does not begin with '-' (docs/requests.md).
 */
int qmr_form_is_id(const char *text);

/* Whether text is 64 lower-case hexadecimal digits. */
int qmr_form_is_sha256(const char *text);

/* Whether two module names are the same to the kernel and modprobe(8), for which '-' and '_' are. */
int qmr_form_is_same_module(const char *a, const char *b);

#endif
