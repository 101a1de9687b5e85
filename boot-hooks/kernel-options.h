/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_KERNEL_OPTIONS_H
#define QMR_KERNEL_OPTIONS_H

#include "error.h"

/*
 * panic= in texts that hold a kernel command line. What is ours is marked: the word before it is QMR_OPTIONS_MARK, which the kernel passes
 * over (a word with a dot is a parameter of a module that is not loaded), so that exactly that is taken back. Words are separated as the
 * kernel does it: blanks inside of double quotes belong to a word, and what follows "--" is not the kernel's.
 */

#define QMR_OPTIONS_MARK "qmr.panic"

enum qmr_options_form {
	QMR_OPTIONS_CMDLINE, /* /etc/kernel/cmdline: all lines but those that begin with '#' */
	QMR_OPTIONS_ENTRY    /* type 1 entry: its "options" lines */
};

struct qmr_options_panic {
	int own;   /* seconds of ours, -1: there is none */
	int other; /* somebody else's is there */
};

/* Whose panic= are in the text. */
void qmr_options_find_panic(const char *text, enum qmr_options_form form, struct qmr_options_panic *ret_panic);

/*
 * The text with our panic=seconds, or with seconds 0 or beside somebody else's without; the same text where nothing is to be
 * changed. malloc, caller frees; NULL when out of memory.
 */
char *qmr_options_set_panic(const char *text, enum qmr_options_form form, int seconds);

#endif
