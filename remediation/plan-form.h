/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PLAN_FORM_H
#define QMR_PLAN_FORM_H

/*
 * Forms of the texts in a plan, docs/remediation.md and docs/plan.schema.json; ids and hashes are in lib/form.h. Each is 1 if text has the form,
 * 0 if not.
 */

/* Absolute, at most 1,024 bytes, without empty, "." and ".." components or such of over 255 bytes; not below /proc, /sys, /dev, /run, /var/lib/qmr. */
int qmr_form_is_path(const char *text);

/* A kernel module's name: letters, digits, '_' and '-', shorter than QMR_MODULE_NAME. */
int qmr_form_is_module(const char *text);

/* A Debian package's name: 1 to 127 of a-z0-9+.-, beginning with a letter or a digit. */
int qmr_form_is_package(const char *text);

/* A group of machines, as in [fleet] label: 1 to 63 of A-Za-z0-9._- */
int qmr_form_is_label(const char *text);

#endif
