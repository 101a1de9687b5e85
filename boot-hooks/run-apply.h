/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_RUN_APPLY_H
#define QMR_RUN_APPLY_H

#include <stddef.h>

#include "config.h"
#include "error.h"

#define QMR_RUN_APPLY_ARGUMENTS 12

/*
 * Runs remediation-apply on the running system. arguments: its command and options, at most QMR_RUN_APPLY_ARGUMENTS, ended by NULL; the root and
 * where the boot state is are added. Standard output and the result are those of qmr_child_run(); what goes wrong it says itself, on standard error.
 */
int qmr_run_apply(const struct qmr_config *config, const char *const arguments[], char **ret_output, size_t output_max,
		  struct qmr_error *err) QMR_MUST_CHECK;

#endif
