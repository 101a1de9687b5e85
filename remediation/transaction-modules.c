/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "boot-state.h"
#include "log.h"
#include "transaction.h"

/*
 * The boot state's list makes boot-guard block a module in the initramfs already. The root's
 * modprobe.d file works without it, so nothing here is a reason to fail. A state that could not be
 * read is never written: it may be newer than us.
 */

static int load(struct qmr_state *state, struct qmr_error *err)
{
	return qmr_state_load(NULL, state, err);
}

static void unblock(struct qmr_state *state, const char *name)
{
	for (size_t i = 0; i < QMR_STATE_MODULES; i++) {
		if (strncmp(state->modules[i], name, QMR_MODULE_NAME))
			continue;
		memmove(state->modules[i], state->modules[i + 1],
			(QMR_STATE_MODULES - 1 - i) * sizeof(state->modules[0]));
		memset(state->modules[QMR_STATE_MODULES - 1], 0, sizeof(state->modules[0]));
		return;
	}
}

static int is_listed(const struct qmr_state *state, const char *name)
{
	for (size_t i = 0; i < QMR_STATE_MODULES; i++)
		if (!strncmp(state->modules[i], name, QMR_MODULE_NAME))
			return 1;
	return 0;
}

static int edit(struct qmr_state *state, const struct qmr_modules *from,
		const struct qmr_modules *to)
{
	struct qmr_error err = {0};
	int changed = 0;

	for (size_t i = 0; i < from->n; i++) {
		if (qmr_modules_has(to, from->names[i]) || !is_listed(state, from->names[i]))
			continue;
		unblock(state, from->names[i]);
		changed = 1;
	}
	for (size_t i = 0; i < to->n; i++) {
		if (qmr_modules_has(from, to->names[i]) || is_listed(state, to->names[i]))
			continue;
		if (qmr_state_block_module(state, to->names[i], &err) < 0)
			qmr_warning("blocking module '%s' in the boot state: %s; it is blocked by "
				    "modprobe.d alone",
				    to->names[i], err.text);
		else
			changed = 1;
	}
	return changed;
}

void qmr_transaction_set_modules(const struct qmr_modules *from, const struct qmr_modules *to)
{
	struct qmr_error err = {0};
	struct qmr_state state;

	if (qmr_modules_equal(from, to))
		return;
	if (load(&state, &err) < 0) {
		qmr_warning("changing the boot state's block list: %s; modprobe.d alone is changed",
			    err.text);
		return;
	}
	if (edit(&state, from, to) && qmr_state_save(&state, &err) < 0)
		qmr_warning("changing the boot state's block list: %s; modprobe.d alone is changed",
			    err.text);
}

int qmr_transaction_get_modules(struct qmr_modules *ret_modules)
{
	struct qmr_error err = {0};
	struct qmr_state state;
	int r = load(&state, &err);

	if (r < 0) {
		qmr_warning("changing the boot state's block list: %s; modprobe.d alone is changed", err.text);
		return r;
	}
	memset(ret_modules, 0, sizeof(*ret_modules));
	for (size_t i = 0; i < QMR_STATE_MODULES; i++)
		if (state.modules[i][0] && qmr_modules_add(ret_modules, state.modules[i], NULL) < 0)
			continue; /* not a module's name: not ours, and it stays in the state */
	return 0;
}
