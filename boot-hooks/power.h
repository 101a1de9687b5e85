/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_POWER_H
#define QMR_POWER_H

#include "error.h"

/*
 * Whether this machine has power enough for a restart that nobody waits for: on mains power, without a battery of its own, or with its
 * batteries at that percentage or more. What cannot be read is not enough, if there is a battery. class_fd: /sys/class/power_supply (tests: a
 * tree that looks like it), -1: there is none. Returns 1, or 0 with what is missing in ret_why.
 * Source: Linux, Documentation/ABI/testing/sysfs-class-power.
 */
int qmr_power_is_enough(int class_fd, int percent, struct qmr_error *ret_why);

#endif
