/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_POLL_PROGRAM_H
#define QMR_POLL_PROGRAM_H

#include <jansson.h>

#include "error.h"

/* What the programs that qmr-poll.timer starts have in common. */

/* Parses --config, --help and --version, and calls run for what is left. Returns the exit code. */
int qmr_poll_main(int argc, char **argv, const char *name, const char *usage, int (*run)(const char *config_path));

/* What `qmrctl --json status` says now. The caller owns *ret_status. */
int qmr_poll_status(const char *config_path, json_t **ret_status, struct qmr_error *err) QMR_MUST_CHECK;

#endif
