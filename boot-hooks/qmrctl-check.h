/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMRCTL_CHECK_H
#define QMRCTL_CHECK_H

#include "qmrctl.h"

/* What qmrctl check looks at. A check changes nothing, and none depends on the result of another but on the machine having been found. */

enum qmrctl_result {
	QMRCTL_OK,
	QMRCTL_WARNING, /* recovery works, but for something that the text names */
	QMRCTL_FAILED,  /* it will not, or not when it is needed */
	QMRCTL_UNKNOWN  /* it cannot be told */
};

struct qmrctl_finding {
	enum qmrctl_result result;
	char text[512];
	char advice[256]; /* what to do about it, empty: nothing */
};

/* Fills *f; advice may be NULL. */
void qmrctl_find(struct qmrctl_finding *f, enum qmrctl_result result, const char *advice, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

typedef void qmrctl_check_fn(struct qmrctl *ctl, struct qmrctl_finding *f);

/* qmrctl-check-machine.c: what the recovery image and the firmware have to work with. */
qmrctl_check_fn qmrctl_check_space, qmrctl_check_variables, qmrctl_check_watchdog, qmrctl_check_test,
	qmrctl_check_second_test, qmrctl_check_keys;

/* qmrctl-check-modules.c: kernel modules that this machine needs, or that may break it. */
qmrctl_check_fn qmrctl_check_network, qmrctl_check_modules;

/* qmrctl-check-trust.c: what expires. */
qmrctl_check_fn qmrctl_check_trust;

#endif
