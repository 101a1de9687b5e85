/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PLAN_FORM_H
#define QMR_PLAN_FORM_H

/* Forms of the texts in a plan, docs/remediation.md and docs/plan.schema.json. Each is 1 if text has the form. */

int qmr_form_is_path(const char *text);
int qmr_form_is_sha256(const char *text);
int qmr_form_is_module(const char *text);
int qmr_form_is_package(const char *text);
int qmr_form_is_label(const char *text);

/* Whether two module names are the same to the kernel, for which '-' and '_' are. */
int qmr_form_is_same_module(const char *a, const char *b);

#endif
