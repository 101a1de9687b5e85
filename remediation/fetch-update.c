/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-update.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "plan.h"

json_t *qmr_fetch_text(const char *text)
{
	json_t *string = json_string(text);
	cleanup_free char *copy = NULL;

	if (string)
		return string;
	copy = strdup(text);
	for (char *p = copy; p && *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	return copy ? json_string(copy) : NULL;
}

int qmr_fetch_refuse_plan(json_t *list, const char *name, const char *why, struct qmr_error *err)
{
	if (json_array_append_new(list, json_pack("{s:o, s:o}", "target", qmr_fetch_text(name),
						  "why", qmr_fetch_text(why))) < 0)
		return qmr_error_set(err, -ENOMEM, "plan '%s': out of memory", name);
	return 0;
}

static int is_plan(const char *name)
{
	size_t n = strlen(name);

	return !strncmp(name, "plans/", 6) && n > 11 && !strcmp(name + n - 5, ".json");
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names of all plans, in order; borrowed from targets, the list is the caller's. */
static int list_plans(const struct qmr_tuf_metadata *targets, const char ***ret_names,
		      size_t *ret_n, struct qmr_error *err)
{
	json_t *all = json_object_get(targets->content, "targets"), *entry;
	const char **names = calloc(json_object_size(all) + 1, sizeof(*names));
	const char *name;
	size_t n = 0;

	if (!names)
		return qmr_error_set(err, -ENOMEM, "listing plans: out of memory");
	json_object_foreach (all, name, entry)
		if (is_plan(name))
			names[n++] = name;
	qsort(names, n, sizeof(*names), compare_names);
	*ret_names = names;
	*ret_n = n;
	return 0;
}

/* Why a target is not even fetched; NULL if it is. */
static const char *unusable(const struct qmr_tuf_metadata *targets, const char *name,
			    size_t n_fetched)
{
	struct qmr_tuf_file file;

	if (!qmr_tuf_target_name_is_plain(name))
		return "its name is longer than 512 bytes or no plain path; it was not fetched";
	if (!qmr_tuf_metadata_get_target(targets, name, &file) || file.length > QMR_PLAN_BYTES_MAX)
		return "it is larger than 64 KiB; it was not fetched";
	if (n_fetched == QMR_FETCH_PLANS_MAX)
		return "there are more than 256 plans; it was not fetched";
	return NULL;
}

static int fetch_plan(struct qmr_tuf_client *client, const char *name,
		      struct qmr_fetch_update *update, struct qmr_error *err)
{
	const char *why = unusable(&client->trusted.targets, name, update->plans.n);
	cleanup_free char *data = NULL;
	size_t size;
	int r;

	if (why)
		return qmr_fetch_refuse_plan(update->refused, name, why, err);
	r = qmr_tuf_client_fetch_target(client, name, &data, &size, err);
	return r < 0 ? r : qmr_fetch_files_add(&update->plans, name, data, size, err);
}

int qmr_fetch_update_run(struct qmr_tuf_client *client, const char *root, size_t root_size,
			 int64_t now_unix_s, struct qmr_fetch_update *update, struct qmr_error *err)
{
	cleanup_free const char **names = NULL;
	size_t n = 0;
	int r;

	update->refused = json_array();
	if (!update->refused)
		return qmr_error_set(err, -ENOMEM, "fetching: out of memory");
	r = qmr_tuf_client_refresh(client, root, root_size, now_unix_s, err);
	if (r == 0)
		r = list_plans(&client->trusted.targets, &names, &n, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = fetch_plan(client, names[i], update, err);
	return r;
}

void qmr_fetch_update_done(struct qmr_fetch_update *update)
{
	qmr_fetch_files_done(&update->plans);
	json_decref(update->refused);
	update->refused = NULL;
}
