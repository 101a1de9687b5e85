/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PLAN_MATCH_H
#define QMR_PLAN_MATCH_H

#include <jansson.h>

#include "config.h"
#include "plan.h"
#include "version.h"

/* A plan's selectors, docs/remediation.md ("Selectors"). */

enum qmr_match { QMR_MATCH_NO, QMR_MATCH_YES, QMR_MATCH_UNKNOWN };

/* What a plan is held against; all of it is borrowed. What is not at hand makes the selectors that ask for it unknown. */
struct qmr_match_subject {
	const json_t *incident;          /* incident.json, NULL: not at hand */
	const struct qmr_config *config; /* the machine's, NULL: not at hand */
	int root_fd;                     /* the broken system's root, -1: not at hand */
};

/*
 * -EINVAL unless match is a tree of selectors that are known and of their form: then *ret_field names the one that is not (borrowed, of
 * match or static) and *ret_why says why (static).
 */
int qmr_match_check(const json_t *match, const char **ret_field, const char **ret_why) QMR_MUST_CHECK;

/* Evaluates the plan's selectors, three-valued. Reads inside the root; changes nothing. */
enum qmr_match qmr_plan_match(const struct qmr_plan *plan, const struct qmr_match_subject *subject);

/* Whether the plan has a selector that only the root can decide. */
int qmr_plan_asks_root(const struct qmr_plan *plan);

/*
 * The `file` and `package` selectors, plan-root.c. value has passed qmr_match_check().
 */
enum qmr_match qmr_match_file(const json_t *value, int root_fd);
enum qmr_match qmr_match_package(const json_t *value, int root_fd);

/* Whether a version, which may be NULL (unknown), is what a plan's `version` asks for. */
enum qmr_match qmr_match_version(const json_t *value, enum qmr_version_kind kind, const char *is);

#endif
