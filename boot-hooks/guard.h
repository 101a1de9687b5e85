/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_GUARD_H
#define QMR_GUARD_H

#include "boot-state.h"
#include "config.h"
#include "error.h"

/* The commands of boot-guard; all return 0 or a negative errno. dry_run: print the decision, write nothing. */
int qmr_guard_start(const struct qmr_config *config, int dry_run, struct qmr_error *err) QMR_MUST_CHECK;
int qmr_guard_healthy(const struct qmr_config *config, struct qmr_error *err) QMR_MUST_CHECK;
int qmr_guard_clean_shutdown(struct qmr_error *err) QMR_MUST_CHECK;

/* Moves crash records to /var/lib/qmr/pstore; failures are logged. */
void qmr_guard_archive(void);

/*
 * Begins a switch to recovery: an incident id and the reason go into the state, which is written and read back, and
 * only then is BootNext set. Does not reboot. Without a boot entry nothing is written (-ENOENT).
 */
int qmr_guard_request(struct qmr_state *state, enum qmr_reason reason, const char *note, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * The root file system of this boot as the command line (root=UUID=...) or the configuration names it; anything else is
 * turned into 16 bytes that stand for it. Needs /proc.
 */
void qmr_guard_root(const struct qmr_config *config, uint8_t ret_root[16]);

/* 1 if the kernel command line has this word. */
int qmr_guard_cmdline_has(const char *word);

#endif
