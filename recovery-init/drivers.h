/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_DRIVERS_H
#define QMR_DRIVERS_H

#include "config.h"
#include "error.h"

/* Loading drivers through libkmod, as udev would: by the modalias of every device there is and of every one that appears. */

struct qmr_drivers;

/* Opens the module index of the running kernel and listens for new devices. The caller frees with _free. */
int qmr_drivers_new(struct qmr_drivers **ret_drivers, struct qmr_error *err) QMR_MUST_CHECK;

/* NULL is fine. */
void qmr_drivers_free(struct qmr_drivers *drivers);

/* Loads a module or what an alias stands for, with what it needs; one that is built in, loaded or unknown is fine. */
void qmr_drivers_load(struct qmr_drivers *drivers, const char *name);

/* Loads drivers of all devices below /sys/devices. */
void qmr_drivers_load_present(struct qmr_drivers *drivers);

/*
 * Waits at most timeout_ms for something new and loads drivers for it. Returns 1 if a device appeared, 0 if not.
 */
int qmr_drivers_wait(struct qmr_drivers *drivers, int timeout_ms);

/* watchdog.c: loads drivers of hardware watchdogs, where the configuration lets one be used. */
void qmr_watchdog_load(struct qmr_drivers *drivers, const struct qmr_config *config);

#endif
