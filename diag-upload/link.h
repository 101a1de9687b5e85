/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_LINK_H
#define QMR_LINK_H

#include <jansson.h>

/* What ties a file that changed to the culprit: docs/incident.md, "link". */

/* Weakest first. */
enum qmr_link {
	QMR_LINK_NONE,
	QMR_LINK_SOLE_CHANGE,
	QMR_LINK_MODULE_OPTION,
	QMR_LINK_MODULE_STRING,
	QMR_LINK_PACKAGE_FILE,
	QMR_LINK_MODULE_FILE,
};

/* The culprit's data, and the options that the root gives it. */
struct qmr_linker;

/*
 * Reads what is needed inside the root; what cannot be read is named in notes. module NULL: no culprit, nothing is
 * linked. module and module_file (NULL: not known) are kept by reference. NULL when out of memory, which links nothing.
 */
struct qmr_linker *qmr_linker_new(int root_fd, const char *module, const char *module_file, json_t *notes);

/* NULL is fine. */
void qmr_linker_free(struct qmr_linker *linker);

/* 1 if there is a culprit. */
int qmr_linker_has_module(const struct qmr_linker *linker);

/* Its file, NULL: not known; kept by the caller of qmr_linker_new(). */
const char *qmr_linker_module_file(const struct qmr_linker *linker);

/* Never QMR_LINK_SOLE_CHANGE or QMR_LINK_PACKAGE_FILE: these are not to be seen from a path. */
enum qmr_link qmr_linker_of_path(const struct qmr_linker *linker, const char *path);

/* "/lib/modules/..." and "/usr/lib/modules/..." are one file where /lib is a link. */
int qmr_link_is_same_file(const char *a, const char *b);

/* The word used in incident.json, NULL for none. */
const char *qmr_link_name(enum qmr_link link);

#endif
