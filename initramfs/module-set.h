/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_MODULE_SET_H
#define QMR_MODULE_SET_H

#include <stddef.h>

#include "error.h"

/* The modules below MODULES/kernel of one release, and which of them are wanted. The only user of libkmod here. */

struct qmr_strings {
	char **items;
	size_t n;
};

struct qmr_module {
	char *name;    /* as the kernel writes it: '_' for '-' */
	char *path;    /* below the release's folder: "kernel/drivers/ata/ahci.ko" */
	int wanted;
	int network;   /* its firmware is wanted too */
	int mark;      /* for walks */
	size_t *depends; /* indexes into the set; only of wanted modules */
	size_t n_depends;
	struct qmr_strings aliases, firmware, softdeps; /* as modinfo gives them; only of wanted modules */
};

struct qmr_module_set {
	struct qmr_module *modules; /* sorted by name */
	size_t n, room;
};

/*
 * Lists the modules below folder_fd (the release's folder), chooses those of the table, and follows "depends" and
 * "softdep" of each. A soft dependency that is no module of the tree is passed over, a hard one is -EBADMSG. Release
 * with qmr_module_set_done().
 */
int qmr_module_set_load(int folder_fd, struct qmr_module_set *ret_set, struct qmr_error *err) QMR_MUST_CHECK;

/* Frees the set; a zeroed one is fine. */
void qmr_module_set_done(struct qmr_module_set *set);

#endif
