/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-update.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "json.h"
#include "plan.h"
#include "request.h"

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

/* What is fetched of a repository: the JSON files below a folder. */
struct kind {
	const char *folder;
	size_t max_files, max_bytes;
	const char *too_many, *too_large;
};
static const struct kind plans = {"plans", QMR_PLAN_FILES_MAX, QMR_PLAN_BYTES_MAX, "there are more than 256 plans; it was not fetched",
				  "it is larger than 64 KiB; it was not fetched"};
static const struct kind requests = {"requests", QMR_REQUEST_FILES_MAX, QMR_REQUEST_BYTES_MAX,
				     "there are more than 99 requests; it was not fetched", "it is larger than 64 KiB; it was not fetched"};

static int is_of(const struct kind *kind, const char *name)
{
	const size_t n = strlen(name), folder = strlen(kind->folder);

	return !strncmp(name, kind->folder, folder) && name[folder] == '/' && n > folder + sizeof("/.json") - 1 &&
	       !strcmp(name + n - 5, ".json");
}

static int compare_names(const void *a, const void *b)
{
	const char *first = *(const char *const *)a, *second = *(const char *const *)b;

	int urgent = qmr_plan_file_is_urgent(first), other = qmr_plan_file_is_urgent(second);

	return urgent != other ? other - urgent : strcmp(first, second);
}

struct listing {
	const struct kind *kind;
	json_t *names; /* an object, for its keys */
};

/* Adds the names of a role's files of the kind. */
static int add_names(void *user, const struct qmr_tuf_metadata *role, struct qmr_error *err)
{
	const struct listing *listing = user;
	json_t *entry;
	const char *name;

	json_object_foreach (json_object_get(role->content, "targets"), name, entry)
		if (is_of(listing->kind, name) && json_object_set_new(listing->names, name, json_null()) < 0)
			return qmr_error_set(err, -ENOMEM, "listing %s: out of memory", listing->kind->folder);
	return 0;
}

/* Names of all files, in order; borrowed from all, the list is the caller's. */
static int list_names(struct qmr_tuf_client *client, const struct kind *kind, json_t *all, const char ***ret_names, size_t *ret_n,
		      struct qmr_error *err)
{
	struct listing listing = {kind, all};
	const char **names, *name;
	json_t *entry;
	size_t n = 0;
	int r = qmr_tuf_client_each_role(client, kind->folder, add_names, &listing, err);

	if (r < 0)
		return r;
	names = calloc(json_object_size(all) + 1, sizeof(*names));
	if (!names)
		return qmr_error_set(err, -ENOMEM, "listing %s: out of memory", kind->folder);
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
static int find(struct qmr_tuf_client *client, const struct kind *kind, const char *name, size_t n_fetched, const char **ret_why,
		struct qmr_error *err)
{
	struct qmr_tuf_file file;
	int r = 0;

	*ret_why = NULL;
	if (!qmr_tuf_target_name_is_plain(name))
		*ret_why = "its name is longer than 512 bytes or no plain path; it was not fetched";
	else if (n_fetched == kind->max_files)
		*ret_why = kind->too_many;
	else
		r = qmr_tuf_client_find_target(client, name, &file, err);
	if (r == -ENOENT)
		*ret_why = "the role that lists it was not given it to list; it was not fetched";
	else if (r == 0 && !*ret_why && file.length > (int64_t)kind->max_bytes)
		*ret_why = kind->too_large;
	return r == -ENOENT ? 0 : r;
}

static int fetch_one(struct qmr_tuf_client *client, const struct kind *kind, const char *name, struct qmr_fetch_files *files,
		     const struct qmr_fetch_update *update, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	const char *why;
	size_t size;
	int r = find(client, kind, name, files->n, &why, err);

	if (r < 0)
		return r;
	if (why)
		return qmr_fetch_refuse_plan(update->refused, name, why, err);
	r = qmr_tuf_client_fetch_target(client, name, &data, &size, err);
	return r < 0 ? r : qmr_fetch_files_add(files, name, data, update->names_only ? 0 : size, err);
}

static int fetch_all(struct qmr_tuf_client *client, const struct kind *kind, struct qmr_fetch_files *files,
		     const struct qmr_fetch_update *update, struct qmr_error *err)
{
	cleanup_json json_t *all = json_object();
	cleanup_free const char **names = NULL;
	size_t n = 0;
	int r = all ? list_names(client, kind, all, &names, &n, err) : qmr_error_set(err, -ENOMEM, "fetching: out of memory");

	for (size_t i = 0; r == 0 && i < n; i++)
		r = fetch_one(client, kind, names[i], files, update, err);
	return r;
}

int qmr_fetch_update_run(struct qmr_tuf_client *client, const char *root, size_t root_size,
			 int64_t now_unix_s, struct qmr_fetch_update *update, struct qmr_error *err)
{
	int r;

	update->refused = json_array();
	if (!update->refused)
		return qmr_error_set(err, -ENOMEM, "fetching: out of memory");
	r = qmr_tuf_client_refresh(client, root, root_size, now_unix_s, err);
	if (r == 0)
		r = fetch_all(client, &plans, &update->plans, update, err);
	if (r == 0 && update->wants_requests)
		r = fetch_all(client, &requests, &update->requests, update, err);
	return r;
}

void qmr_fetch_update_done(struct qmr_fetch_update *update)
{
	qmr_fetch_files_done(&update->plans);
	qmr_fetch_files_done(&update->requests);
	json_decref(update->refused);
	update->refused = NULL;
}
