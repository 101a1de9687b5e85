/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_DRIVER_LIST_H
#define QMR_DRIVER_LIST_H

#include <stddef.h>

/*
 * Kernel modules in order of preference, and which of them the machine has a device for. A line is a module's name, then, if they are
 * known, the device aliases that it has (modinfo -F alias; pci: and platform:). A module without aliases always has a device.
 */

#define QMR_DRIVERS_MAX 32
#define QMR_DRIVERS_BYTES (256 * 1024) /* lpc_ich has 236 aliases */

struct qmr_driver_list {
	struct {
		const char *name, *aliases; /* in the text */
		int is_taken;
	} modules[QMR_DRIVERS_MAX];
	size_t n;
};

/* Of text, which is written into, and belongs to the list as long as that is used. Lines that begin with '-' or are too many are left out. */
void qmr_driver_list_parse(char *text, struct qmr_driver_list *ret_list);

/*
 * The first module that was not returned yet and has a device now; NULL: none. Loading one may make devices for others, also for earlier
 * ones. bus_fd: /sys/bus (tests: a tree that looks like it).
 */
const char *qmr_driver_list_next(struct qmr_driver_list *list, int bus_fd);

#endif
