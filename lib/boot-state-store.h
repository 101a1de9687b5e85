/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_BOOT_STATE_STORE_H
#define QMR_BOOT_STATE_STORE_H

#include "boot-state.h"

/* Where a boot state can lie; docs/boot-state.md, "Stores". For lib/boot-state-store.c alone, which has the table of them. */
struct qmr_state_store {
	/* Between these two the others may be called; NULL: nothing to do. place: as qmr_state_set_place() got it. Never -ENOENT. */
	int (*begin)(const char *place, struct qmr_error *err);
	void (*end)(void);
	/* The newest valid state. -ENOENT: none was ever written; -EBADMSG, -ESTALE: there is one, but not for us. */
	int (*read)(struct qmr_state *ret_state, struct qmr_error *err);
	/* Durable. May raise the state's sequence, so that it is beyond what it had. */
	int (*write)(struct qmr_state *state, struct qmr_error *err);
	/* Nothing is found from now on; it need not have been there. */
	int (*clear)(struct qmr_error *err);
};

extern const struct qmr_state_store qmr_state_variable, qmr_state_file;

#endif
