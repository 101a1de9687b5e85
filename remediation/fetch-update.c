/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-update.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "json.h"
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

/* Adds the names of a role's plans to the object user. */
static int add_plans(void *user, const struct qmr_tuf_metadata *role, struct qmr_error *err)
{
	json_t *names = user, *entry;
	const char *name;

	json_object_foreach (json_object_get(role->content, "targets"), name, entry)
		if (is_plan(name) && json_object_set_new(names, name, json_null()) < 0)
			return qmr_error_set(err, -ENOMEM, "listing plans: out of memory");
	return 0;
}

/* Names of all plans, in order; borrowed from all, the list is the caller's. */
static int list_plans(struct qmr_tuf_client *client, json_t *all, const char ***ret_names,
		      size_t *ret_n, struct qmr_error *err)
{
	const char **names, *name;
	json_t *entry;
	size_t n = 0;
	int r = qmr_tuf_client_each_role(client, "plans", add_plans, all, err);

	if (r < 0)
		return r;
	names = calloc(json_object_size(all) + 1, sizeof(*names));
	if (!names)
		return qmr_error_set(err, -ENOMEM, "listing plans: out of memory");
	json_object_foreach (all, name, entry)
		names[n++] = name;
	qsort(names, n, sizeof(*names), compare_names);
	*ret_names = names;
	*ret_n = n;
	return 0;
}

/*
 * Why a target is not even fetched; NULL if it is. Negative: the search failed.
 */
static int find_plan(struct qmr_tuf_client *client, const char *name, size_t n_fetched,
		     const char **ret_why, struct qmr_error *err)
{
	struct qmr_tuf_file file;
	int r = 0;

	*ret_why = NULL;
	if (!qmr_tuf_target_name_is_plain(name))
		*ret_why = "its name is longer than 512 bytes or no plain path; it was not fetched";
	else if (n_fetched == QMR_FETCH_PLANS_MAX)
		*ret_why = "there are more than 256 plans; it was not fetched";
	else
		r = qmr_tuf_client_find_target(client, name, &file, err);
	if (r == -ENOENT)
		*ret_why = "the role that lists it was not given it to list; it was not fetched";
	else if (r == 0 && !*ret_why && file.length > QMR_PLAN_BYTES_MAX)
		*ret_why = "it is larger than 64 KiB; it was not fetched";
	return r == -ENOENT ? 0 : r;
}

static int fetch_plan(struct qmr_tuf_client *client, const char *name,
		      struct qmr_fetch_update *update, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	const char *why;
	size_t size;
	int r = find_plan(client, name, update->plans.n, &why, err);

	if (r < 0)
		return r;
	if (why)
		return qmr_fetch_refuse_plan(update->refused, name, why, err);
	r = qmr_tuf_client_fetch_target(client, name, &data, &size, err);
	return r < 0 ? r : qmr_fetch_files_add(&update->plans, name, data, size, err);
}

int qmr_fetch_update_run(struct qmr_tuf_client *client, const char *root, size_t root_size,
			 int64_t now_unix_s, struct qmr_fetch_update *update, struct qmr_error *err)
{
	cleanup_json json_t *all = json_object();
	cleanup_free const char **names = NULL;
	size_t n = 0;
	int r;

	update->refused = json_array();
	if (!update->refused || !all)
		return qmr_error_set(err, -ENOMEM, "fetching: out of memory");
	r = qmr_tuf_client_refresh(client, root, root_size, now_unix_s, err);
	if (r == 0)
		r = list_plans(client, all, &names, &n, err);
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
