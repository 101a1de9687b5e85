/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_LOG_VIEW_H
#define QMR_LOG_VIEW_H

/* Prints what was added to the log of messages since the last call; returns its last line in ret_last (may be empty). */
void qmr_console_print_log(char *ret_last, unsigned int room);

#endif
