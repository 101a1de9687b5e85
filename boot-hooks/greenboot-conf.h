/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_GREENBOOT_CONF_H
#define QMR_GREENBOOT_CONF_H

#include <stddef.h>

#include "error.h"

#define QMR_GREENBOOT_NAMES_MAX 256

/* File names of checks that greenboot's owner switched off. */
struct qmr_greenboot_names {
	char **names; /* owned */
	size_t n;
};

/*
 * Reads DISABLED_HEALTHCHECKS of greenboot.conf, which greenboot has bash source: here nothing is executed or expanded. Lines that begin
 * with DISABLED_HEALTHCHECKS=, with a list in parentheses (over several lines, with comments) or one word; += adds, another = begins
 * anew; words are quoted as in bash. Everything else is passed over. -EINVAL names file and line of what only a shell could read ($, `),
 * of a quote or list without an end, or of more than 256 names; ret_names is untouched then. text ends with a NUL; name is for messages.
 * Free with qmr_greenboot_names_done().
 */
int qmr_greenboot_conf_parse(const char *name, const char *text, struct qmr_greenboot_names *ret_names,
			     struct qmr_error *err) QMR_MUST_CHECK;

/* 1 if the file name is one of them. */
int qmr_greenboot_names_has(const struct qmr_greenboot_names *names, const char *name);

/* Frees what names holds and leaves it empty. */
void qmr_greenboot_names_done(struct qmr_greenboot_names *names);

#endif
