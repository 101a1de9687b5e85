/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_SYSTEMD_CONF_H
#define QMR_SYSTEMD_CONF_H

#include "error.h"

/* What a system on a disk says of its watchdog: systemd-system.conf(5), and programs that want the device for themselves. */

enum qmr_systemd_choice { QMR_SYSTEMD_UNSET, QMR_SYSTEMD_OFF, QMR_SYSTEMD_ON };

struct qmr_systemd_watchdog {
	enum qmr_systemd_choice runtime; /* RuntimeWatchdogSec= */
	int other_device;                /* WatchdogDevice= names another than watchdog0 */
};

/* Takes one setting as systemd would; what it would ignore is ignored. */
void qmr_systemd_set(struct qmr_systemd_watchdog *watchdog, const char *key, const char *value);

/* Reads system.conf and its drop-ins of a root; the last setting counts. Untouched on failure. */
int qmr_systemd_read(int root_fd, struct qmr_systemd_watchdog *ret_watchdog, struct qmr_error *err) QMR_MUST_CHECK;

/* A unit that is enabled and opens the watchdog itself, static text; NULL if there is none that is known. */
const char *qmr_systemd_find_rival(int root_fd);

/* 1 if that program is systemd, links followed within the root. */
int qmr_systemd_is_init(int root_fd, const char *init);

#endif
