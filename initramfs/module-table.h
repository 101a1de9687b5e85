/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_MODULE_TABLE_H
#define QMR_MODULE_TABLE_H

/*
 * Which modules a generic recovery image holds: patterns of fnmatch(3), in which '*' matches '/' too, over paths
 * below the kernel's own tree ("drivers/ata/ahci.ko"). The last pattern that matches a path decides. What those modules
 * depend on comes in by itself. Modules outside the tree (updates/, extra/, DKMS) are never taken: one of them may be
 * what broke the machine.
 */
struct qmr_module_pattern {
	const char *pattern; /* NULL ends the table */
	enum { QMR_MODULE_TAKE, QMR_MODULE_LEAVE, QMR_MODULE_TAKE_FIRMWARE } what;
};

extern const struct qmr_module_pattern qmr_module_table[];

#endif
