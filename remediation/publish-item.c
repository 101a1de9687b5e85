/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is published: plans and requests for recovery. */
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "json.h"
#include "publish-item.h"
#include "request-form.h"

int qmr_publish_is_request(const char *target)
{
	return !strncmp(target, QMR_REQUEST_PREFIX, strlen(QMR_REQUEST_PREFIX));
}

const char *qmr_publish_kind(const char *target)
{
	return qmr_publish_is_request(target) ? "request" : "plan";
}

static int parse(const char *name, const char *data, size_t size, int is_request, struct qmr_publish_item *ret_item, struct qmr_error *err)
{
	struct qmr_publish_item item = {.is_request = is_request};
	int r = is_request ? qmr_request_load(name, data, size, &item.request, err) : qmr_plan_parse(name, data, size, &item.plan, err);

	if (r == -EINVAL && err)
		err->code = -EBADMSG; /* a file that is refused, not a wrong argument */
	if (r < 0)
		return r == -EINVAL ? -EBADMSG : r;
	item.json = is_request ? item.request.json : item.plan.json;
	item.id = is_request ? item.request.id : item.plan.id;
	item.title = is_request ? item.request.title : item.plan.title;
	*ret_item = item;
	return 0;
}

int qmr_publish_item_parse(const char *name, const char *data, size_t size, struct qmr_publish_item *ret_item, struct qmr_error *err)
{
	cleanup_json json_t *json = NULL;

	/* No plan has a mode, and no request is without one. */
	return parse(name, data, size, qmr_json_parse(name, data, size, &json, NULL) == 0 && json_object_get(json, "mode"), ret_item, err);
}

int qmr_publish_item_read(const struct qmr_repository *repository, const char *target, const json_t *entry,
			  struct qmr_publish_item *ret_item, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	size_t size;
	int r = qmr_repository_read_target(repository, target, entry, &data, &size, err);

	return r < 0 ? r : parse(target, data, size, qmr_publish_is_request(target), ret_item, err);
}

void qmr_publish_item_done(struct qmr_publish_item *item)
{
	qmr_plan_done(&item->plan);
	qmr_request_done(&item->request);
	memset(item, 0, sizeof(*item));
}

int qmr_publish_check_staged(const struct qmr_repository *repository, struct qmr_error *err)
{
	json_t *targets = json_object_get(json_object_get(repository->next[QMR_ROLE_TARGETS], "signed"), "targets"), *entry;
	const char *target;

	json_object_foreach (targets, target, entry) {
		struct qmr_publish_item item = {0};
		int r = qmr_publish_item_read(repository, target, entry, &item, err);

		if (r < 0)
			return r;
		qmr_publish_item_done(&item);
	}
	return 0;
}

int qmr_publish_find(const json_t *targets, const char *operand, char ret_target[QMR_TARGET_BYTES], struct qmr_error *err)
{
	static const char *const folders[] = {QMR_PLAN_PREFIX, QMR_REQUEST_PREFIX};
	const char *slash = strrchr(operand, '/'), *name = slash ? slash + 1 : operand;
	int found = 0;

	for (size_t i = 0; i < 2; i++) {
		const int is_told = slash && (size_t)(name - operand) == strlen(folders[i]) && !strncmp(operand, folders[i], strlen(folders[i]));
		char target[QMR_TARGET_BYTES];

		if (snprintf(target, sizeof(target), "%s%s", folders[i], name) >= (int)sizeof(target) || !json_object_get(targets, target)) {
			if (is_told) /* and nothing else is meant */
				return qmr_error_set(err, -ENODATA, "there is no %s '%.200s'", i ? "request" : "plan", operand);
			continue;
		}
		memcpy(ret_target, target, sizeof(target));
		if (is_told)
			return 0;
		found++;
	}
	if (found > 1)
		return qmr_error_set(err, -EINVAL, "'%s' is a plan and a request: say %s%s or %s%s", name, folders[0], name, folders[1], name);
	return found ? 0 : qmr_error_set(err, -ENODATA, "there is no plan or request '%.200s'", name);
}
