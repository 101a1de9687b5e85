/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_ERROR_H
#define QMR_ERROR_H

/*
 * The error contract. A function that can fail returns 0 (or a count) or a negative errno and fills the
 * caller's struct qmr_error, which may be NULL. It works without memory. A function either logs or
 * returns an error, never both.
 */

#define QMR_EXIT_OK 0
#define QMR_EXIT_FAILURE 1
#define QMR_EXIT_USAGE 2
#define QMR_EXIT_NOTHING 3
#define QMR_EXIT_REFUSED 4
#define QMR_EXIT_NETWORK 5

#define QMR_MUST_CHECK __attribute__((warn_unused_result))

struct qmr_error {
	int code;       /* negative errno, 0 while unset */
	char text[512]; /* one line, no newline, cut at the end if it does not fit */
};

/*
 * Fills err (NULL allowed) and returns code. Control characters in the text become '?', so that hostile
 * file names cannot write to a terminal.
 */
int qmr_error_set(struct qmr_error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* As qmr_error_set(), with ": <text of errno>" appended. */
int qmr_error_errno(struct qmr_error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
