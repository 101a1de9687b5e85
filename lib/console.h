/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_CONSOLE_H
#define QMR_CONSOLE_H

/*
 * The screens of this machine: every active kernel console (a display, a serial line), all of which show the same and can
 * answer. Writing never blocks for longer than a fifth of a second: a stuck serial line loses text, not the machine.
 */

/* Opens the consoles of /sys/class/tty/console/active, else /dev/console. */
void qmr_console_open(void);

/* Writes text to all of them; "\n" becomes "\r\n". Control characters other than newline and tab must not be in it. */
void qmr_console_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Waits for a key on any of them, at most timeout_ms. Returns it in lower case, or -1. */
int qmr_console_key(int timeout_ms);

/* Forgets what was typed so far. */
void qmr_console_flush(void);

#endif
