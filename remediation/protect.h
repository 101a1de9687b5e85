/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PROTECT_H
#define QMR_PROTECT_H

#include "config.h"
#include "plan.h"
#include "transaction.h"

/*
 * -EBADMSG, with what is protected named, if changes touch a module, package or path that the policy protects and the plan (NULL: a local rung,
 * which names nothing) does not name: docs/remediation.md, "Protection". Also if it cannot be told what belongs to a protected package.
 */
int qmr_protect_check(int root_fd, const struct qmr_config *config, const struct qmr_plan *plan,
		      const struct qmr_changes *changes, struct qmr_error *err) QMR_MUST_CHECK;

#endif
