/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PUBLISH_ITEM_H
#define QMR_PUBLISH_ITEM_H

#include <jansson.h>

#include "plan.h"
#include "publish-repository.h"
#include "request.h"

/* A plan (docs/remediation.md) or a request for recovery (docs/requests.md); the folder of its target says which. */
struct qmr_publish_item {
	int is_request;
	json_t *json;               /* this and the next two are borrowed from the one of the two below that there is */
	const char *id, *title;
	struct qmr_plan plan;       /* owned; zeroed for a request */
	struct qmr_request request; /* owned; zeroed for a plan */
};

#define QMR_TARGET_BYTES 256 /* FOLDER/NAME, with NUL */

/* 1 if a target, FOLDER/NAME, is a request. */
int qmr_publish_is_request(const char *target);

/* "request" or "plan". */
const char *qmr_publish_kind(const char *target);

/*
 * What is in a file: a request if it has a mode, else a plan. All is checked that a machine checks: -EBADMSG, with the field named, if it would be
 * refused there. Release with _done; a zeroed one is fine.
 */
int qmr_publish_item_parse(const char *name, const char *data, size_t size, struct qmr_publish_item *ret_item,
			   struct qmr_error *err) QMR_MUST_CHECK;

/* The same for a target of the repository, whose folder says what it has to be. */
int qmr_publish_item_read(const struct qmr_repository *repository, const char *target, const json_t *entry,
			  struct qmr_publish_item *ret_item, struct qmr_error *err) QMR_MUST_CHECK;

/* Frees what the item owns. */
void qmr_publish_item_done(struct qmr_publish_item *item);

/* What a signature on next[TARGETS] puts its name to must be there and valid. */
int qmr_publish_check_staged(const struct qmr_repository *repository, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * The target that an operand means: plans/NAME or requests/NAME, else what has the operand's file name. -ENODATA: there is none; -EINVAL: a plan
 * and a request have it.
 */
int qmr_publish_find(const json_t *targets, const char *operand, char ret_target[QMR_TARGET_BYTES], struct qmr_error *err) QMR_MUST_CHECK;

#endif
