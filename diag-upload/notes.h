/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_NOTES_H
#define QMR_NOTES_H

#include <jansson.h>

/* incident.json's "notes": what could not be determined, and why. Borrows the array; at most 200, the rest is dropped. */
void qmr_note(json_t *notes, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A JSON string of text that may hold any bytes: what is not UTF-8 becomes '?'. NULL or "" gives null. Caller owns it. */
json_t *qmr_json_text(const char *text);

#endif
