/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-plans.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "fetch-update.h"
#include "file.h"
#include "hash.h"
#include "plan.h"

#define cleanup_plan __attribute__((cleanup(qmr_plan_done)))

/* A leftover of a cut, NN-x.json.qmr-new, counts too. */
static int is_plan_file(const char *name)
{
	return isdigit((unsigned char)name[0]) && isdigit((unsigned char)name[1]) &&
	       name[2] == '-' && strstr(name, ".json");
}

int qmr_fetch_plans_clear(int out_fd, struct qmr_error *err)
{
	int fd = openat(out_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (!dir) {
		int r = qmr_error_errno(err, -errno, "reading the folder for plans");

		if (fd >= 0)
			close(fd);
		return r;
	}
	while ((entry = readdir(dir)))
		if (is_plan_file(entry->d_name) && unlinkat(out_fd, entry->d_name, 0) < 0)
			return qmr_error_errno(err, -errno, "removing the earlier plan '%s'",
					       entry->d_name);
	return 0;
}

static int append(json_t *list, json_t *item, const char *name, struct qmr_error *err)
{
	return json_array_append_new(list, item) == 0
		       ? 0
		       : qmr_error_set(err, -ENOMEM, "plan '%s': out of memory", name);
}

static int write_plan(const struct qmr_fetch_file *file, const struct qmr_plan *plan, int out_fd,
		      json_t *plans, struct qmr_error *err)
{
	char name[96], sha256[QMR_SHA256_HEX];
	int r;

	snprintf(name, sizeof(name), "%02zu-%s.json", json_array_size(plans) + 1, plan->id);
	r = qmr_sha256(file->data, file->size, sha256, err);
	if (r == 0)
		r = qmr_file_replace(out_fd, name, file->data, file->size, 0600, err);
	if (r < 0)
		return r;
	return append(plans,
		      json_pack("{s:s, s:s, s:s}", "file", name, "id", plan->id, "sha256", sha256),
		      file->name, err);
}

static int take_plan(const struct qmr_fetch_file *file, const json_t *incident, int out_fd,
		     const struct qmr_fetch_lists *lists, struct qmr_error *err)
{
	cleanup_plan struct qmr_plan plan = {0};
	struct qmr_error why = {0};
	const char *not_matched;

	if (qmr_plan_parse(file->name, file->data, file->size, &plan, &why) < 0)
		return qmr_fetch_refuse_plan(lists->refused, file->name, why.text, err);
	switch (qmr_plan_match(&plan, incident)) {
	case QMR_MATCH_YES:
		if (json_array_size(lists->plans) == QMR_FETCH_MATCHES_MAX)
			return qmr_fetch_refuse_plan(lists->refused, file->name,
						     "99 plans before it match already", err);
		return write_plan(file, &plan, out_fd, lists->plans, err);
	case QMR_MATCH_UNKNOWN:
		not_matched = "the incident does not say all that its selectors ask for";
		break;
	default:
		not_matched = "its selectors do not match the incident";
		break;
	}
	return append(lists->not_matched,
		      json_pack("{s:s, s:s}", "id", plan.id, "why", not_matched), file->name, err);
}

int qmr_fetch_plans_write(const struct qmr_fetch_files *plans, const json_t *incident, int out_fd,
			  const struct qmr_fetch_lists *lists, struct qmr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < plans->n; i++)
		r = take_plan(&plans->items[i], incident, out_fd, lists, err);
	if (r < 0) {
		json_array_clear(lists->plans);
		if (qmr_fetch_plans_clear(out_fd, NULL) < 0)
			return r; /* the first error is the one to report */
	}
	return r;
}
