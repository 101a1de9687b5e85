/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qmr-publish add, withdraw and remove. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "json.h"
#include "plan.h"
#include "publish.h"

struct addition {
	char *data; /* owned */
	size_t size;
	char target[256]; /* plans/NAME */
	char id[64];
	json_t *plan; /* owned */
};

/* What a plan's own time may be when it is published: it is about now, or it would make the plan older than it is. */
#define PUBLISHED_AGO_S 3600
#define PUBLISHED_AHEAD_S 300

static json_t *targets_of(const json_t *document)
{
	return json_object_get(json_object_get(document, "signed"), "targets");
}

static int refuse_plan(struct qmr_error *err)
{
	if (err)
		err->code = -EBADMSG;
	return -EBADMSG;
}

static int read_addition(const char *path, struct addition *ret, struct qmr_error *err)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	struct qmr_plan plan = {0};
	int r;

	if (!qmr_target_name_is_valid(name))
		return qmr_error_set(
			err, -EBADMSG,
			"'%s': the file name is not 6 to 180 of A-Za-z0-9._- with .json at the end",
			path);
	snprintf(ret->target, sizeof(ret->target), "%s%s", QMR_TARGET_PREFIX, name);
	r = qmr_file_read(AT_FDCWD, path, QMR_PLAN_BYTES_MAX, &ret->data, &ret->size, err);
	if (r < 0)
		return r;
	r = qmr_plan_parse(path, ret->data, ret->size, &plan, err);
	if (r < 0)
		return r == -EINVAL ? refuse_plan(err) : r;
	snprintf(ret->id, sizeof(ret->id), "%s", plan.id);
	ret->plan = json_incref(plan.json);
	qmr_plan_done(&plan);
	return 0;
}

static void additions_done(struct addition *additions, size_t n)
{
	for (size_t i = 0; additions && i < n; i++) {
		free(additions[i].data);
		json_decref(additions[i].plan);
	}
	free(additions);
}

/* Puts a key and its value, as JSON text, in front of the plan's others: the rest stays as its author wrote it. */
static int put_first(struct addition *addition, const char *text, struct qmr_error *err)
{
	const char *brace = memchr(addition->data, '{', addition->size);
	size_t length = strlen(text), before = brace ? (size_t)(brace - addition->data) + 1 : 0;
	char *data = brace ? malloc(addition->size + length + 1) : NULL;
	struct qmr_plan plan = {0};
	int r;

	if (!data)
		return qmr_error_set(err, -ENOMEM, "changing '%s': out of memory", addition->target);
	memcpy(data, addition->data, before);
	memcpy(data + before, text, length);
	memcpy(data + before + length, addition->data + before, addition->size - before);
	free(addition->data);
	addition->data = data;
	addition->size += length;
	data[addition->size] = '\0';
	r = qmr_plan_parse(addition->target, data, addition->size, &plan, err);
	if (r < 0)
		return r == -EINVAL ? refuse_plan(err) : r;
	json_decref(addition->plan);
	addition->plan = json_incref(plan.json);
	qmr_plan_done(&plan);
	return 0;
}

/* Whether two plans differ in nothing but when they were published. */
static int is_same_but_time(const json_t *a, const json_t *b)
{
	json_t *one = json_copy((json_t *)a), *other = json_copy((json_t *)b);
	int is_same = one && other;

	(void)json_object_del(one, "published"); /* or there is none */
	(void)json_object_del(other, "published");
	is_same = is_same && json_equal(one, other);
	json_decref(one);
	json_decref(other);
	return is_same;
}

/* Machines wait for a plan to be old enough, so its time has to be that of its publication. */
static int settle_time(const struct qmr_repository *repository, struct addition *addition, struct qmr_error *err)
{
	const json_t *entry = json_object_get(targets_of(repository->now[QMR_ROLE_TARGETS]), addition->target);
	const char *given = qmr_json_string(addition->plan, "published");
	struct qmr_plan before = {0};
	char text[64], now[32];
	int64_t unix_s;

	if (entry && qmr_publish_read_plan(repository, addition->target, entry, &before, NULL) == 0) {
		int is_same = given ? json_equal(before.json, addition->plan) : is_same_but_time(before.json, addition->plan);

		qmr_plan_done(&before);
		if (is_same) {
			/* What is published stays, with its time. */
			free(addition->data);
			addition->data = NULL;
			return qmr_repository_read_target(repository, addition->target, entry, &addition->data, &addition->size, err);
		}
	}
	if (given) {
		if (qmr_time_parse(given, &unix_s) == 0 && unix_s <= repository->now_unix_s + PUBLISHED_AHEAD_S &&
		    unix_s >= repository->now_unix_s - PUBLISHED_AGO_S)
			return 0;
		return qmr_error_set(err, -EBADMSG, "'%s': published: '%s' is not now; leave it out, and it is written",
				     addition->target, given);
	}
	qmr_time_format(repository->now_unix_s, now);
	snprintf(text, sizeof(text), "\n  \"published\": \"%s\",", now);
	return put_first(addition, text, err);
}

/* Machines remember by id which plans they tried. */
static int check_id(const struct qmr_repository *repository, const struct addition *addition,
		    struct qmr_error *err)
{
	json_t *targets = targets_of(repository->next[QMR_ROLE_TARGETS]), *entry;
	const char *target;

	json_object_foreach (targets, target, entry) {
		struct qmr_plan plan = {0};
		int is_used, r;

		if (!strcmp(target, addition->target))
			continue;
		r = qmr_publish_read_plan(repository, target, entry, &plan, err);
		if (r < 0)
			return r;
		is_used = !strcmp(plan.id, addition->id);
		qmr_plan_done(&plan);
		if (is_used)
			return qmr_error_set(err, -EBADMSG,
					     "'%s': id: '%s' is that of %s; remove that plan first",
					     addition->target, addition->id, target);
	}
	return 0;
}

static int name_addition(struct qmr_repository *repository, const struct addition *addition,
			 struct qmr_error *err)
{
	json_t *reference = NULL;
	int r = qmr_metadata_reference(0, addition->data, addition->size, &reference, err);

	if (r < 0)
		return r;
	if (json_object_set_new(targets_of(repository->next[QMR_ROLE_TARGETS]), addition->target,
				reference) < 0)
		return qmr_error_set(err, -ENOMEM, "naming '%s': out of memory", addition->target);
	return 0;
}

/* A target's file, which nobody looks at before published targets metadata names it. */
static int write_addition(const struct qmr_repository *repository, const struct addition *addition,
			  struct qmr_error *err)
{
	const json_t *entry =
		json_object_get(targets_of(repository->next[QMR_ROLE_TARGETS]), addition->target);
	char path[512];
	int r = qmr_repository_target_path(
		addition->target, qmr_json_string(json_object_get(entry, "hashes"), "sha256"), path,
		err);

	return r < 0 ? r
		     : qmr_file_replace(repository->fd, path, addition->data, addition->size, 0644,
					err);
}

/* Plans that go round in a circle would keep each other from being tried. */
static int check_relations(const struct qmr_repository *repository, const struct addition *additions, size_t n,
			   struct qmr_error *err)
{
	json_t *targets = targets_of(repository->next[QMR_ROLE_TARGETS]), *entry;
	cleanup_json json_t *set = json_object();
	const char *target;
	int r = set ? 0 : qmr_error_set(err, -ENOMEM, "looking at relations of plans: out of memory");

	json_object_foreach (targets, target, entry) {
		struct qmr_plan plan = {0};
		size_t i = 0;

		while (i < n && strcmp(additions[i].target, target))
			i++;
		if (r == 0 && i < n)
			r = qmr_publish_set_add(set, additions[i].plan, err);
		else if (r == 0 && (r = qmr_publish_read_plan(repository, target, entry, &plan, err)) == 0)
			r = qmr_publish_set_add(set, plan.json, err);
		qmr_plan_done(&plan);
	}
	return r < 0 ? r : qmr_publish_set_check(set, err);
}

static int add_all(struct qmr_repository *repository, struct addition *additions, size_t n,
		   struct qmr_error *err)
{
	int r = qmr_repository_begin(repository, QMR_ROLE_TARGETS, err);

	for (size_t i = 0; r == 0 && i < n; i++)
		for (size_t j = 0; r == 0 && j < i; j++)
			if (!strcmp(additions[i].target, additions[j].target) ||
			    !strcmp(additions[i].id, additions[j].id))
				r = qmr_error_set(err, -EBADMSG,
						  "'%s': its name or id is given twice",
						  additions[i].target);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = check_id(repository, &additions[i], err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = settle_time(repository, &additions[i], err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = name_addition(repository, &additions[i], err);
	if (r == 0)
		r = check_relations(repository, additions, n, err);
	if (r == 0 && json_equal(targets_of(repository->next[QMR_ROLE_TARGETS]),
				 targets_of(repository->now[QMR_ROLE_TARGETS])))
		r = qmr_error_set(err, -ENODATA, "the repository holds exactly this already");
	return r;
}

/* Signs before anything is written, so that a key that cannot be used leaves no trace. */
static int finish_targets(struct qmr_publish_session *session, const struct addition *additions,
			  size_t n, struct qmr_error *err)
{
	int r = qmr_publish_sign_targets(session, err);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = write_addition(&session->repository, &additions[i], err);
	return r < 0 ? r : qmr_publish_finish(session, 1u << QMR_ROLE_TARGETS, 0, err);
}

int qmr_publish_add(const struct qmr_publish_arguments *arguments)
{
	struct addition *additions = calloc(arguments->n_names, sizeof(*additions));
	struct qmr_publish_session session = {.repository.fd = -1, .ring.fd = -1};
	struct qmr_error err = {0};
	int r = additions ? 0 : qmr_error_set(&err, -ENOMEM, "out of memory");

	/* All of them are looked at before anything is touched. */
	for (size_t i = 0; r == 0 && i < arguments->n_names; i++)
		r = read_addition(arguments->names[i], &additions[i], &err);
	if (r == 0)
		r = qmr_publish_begin(arguments, &session, &err);
	if (r == 0)
		r = add_all(&session.repository, additions, arguments->n_names, &err);
	if (r == 0)
		r = finish_targets(&session, additions, arguments->n_names, &err);
	additions_done(additions, arguments->n_names);
	if (r < 0)
		r = qmr_publish_failed("adding plans", &session, &err);
	qmr_publish_done(&session);
	return r;
}

/* "plans/" and the file name of an operand. */
static void target_of(const char *operand, char ret_target[300])
{
	const char *slash = strrchr(operand, '/');

	snprintf(ret_target, 300, "%s%s", QMR_TARGET_PREFIX, slash ? slash + 1 : operand);
}

static int withdraw_one(struct qmr_repository *repository, const char *operand, struct addition *ret, struct qmr_error *err)
{
	struct qmr_plan plan = {0};
	char target[300];
	const json_t *entry;
	int r;

	target_of(operand, target);
	entry = json_object_get(targets_of(repository->next[QMR_ROLE_TARGETS]), target);
	if (!entry)
		return qmr_error_set(err, -ENODATA, "there is no plan '%s'", target);
	snprintf(ret->target, sizeof(ret->target), "%.255s", target);
	r = qmr_publish_read_plan(repository, target, entry, &plan, err);
	if (r < 0)
		return r;
	ret->plan = json_incref(plan.json);
	if (plan.is_withdrawn)
		r = qmr_error_set(err, -ENODATA, "'%s' is withdrawn already", target);
	else if (plan.is_hold)
		r = qmr_error_set(err, -EBADMSG, "'%s' is a hold, which ends when it is removed", target);
	qmr_plan_done(&plan);
	if (r == 0)
		r = qmr_repository_read_target(repository, target, entry, &ret->data, &ret->size, err);
	if (r == 0)
		r = put_first(ret, "\n  \"withdrawn\": true,", err);
	return r < 0 ? r : name_addition(repository, ret, err);
}

int qmr_publish_withdraw(const struct qmr_publish_arguments *arguments)
{
	struct addition *additions = calloc(arguments->n_names, sizeof(*additions));
	struct qmr_publish_session session = {.repository.fd = -1, .ring.fd = -1};
	struct qmr_error err = {0};
	int r = additions ? 0 : qmr_error_set(&err, -ENOMEM, "out of memory");

	if (r == 0)
		r = qmr_publish_begin(arguments, &session, &err);
	if (r == 0)
		r = qmr_repository_begin(&session.repository, QMR_ROLE_TARGETS, &err);
	for (size_t i = 0; r == 0 && i < arguments->n_names; i++)
		r = withdraw_one(&session.repository, arguments->names[i], &additions[i], &err);
	if (r == 0)
		r = finish_targets(&session, additions, arguments->n_names, &err);
	additions_done(additions, arguments->n_names);
	if (r < 0)
		r = qmr_publish_failed("withdrawing plans", &session, &err);
	qmr_publish_done(&session);
	return r;
}

static int remove_all(const struct qmr_publish_arguments *arguments,
		      struct qmr_repository *repository, struct qmr_error *err)
{
	int r = qmr_repository_begin(repository, QMR_ROLE_TARGETS, err);

	for (size_t i = 0; r == 0 && i < arguments->n_names; i++) {
		char target[300];

		target_of(arguments->names[i], target);
		if (json_object_del(targets_of(repository->next[QMR_ROLE_TARGETS]), target) < 0)
			r = qmr_error_set(err, -ENODATA, "there is no plan '%s'", target);
	}
	return r;
}

int qmr_publish_remove(const struct qmr_publish_arguments *arguments)
{
	struct qmr_publish_session session = {.repository.fd = -1, .ring.fd = -1};
	struct qmr_error err = {0};
	int r;

	r = qmr_publish_begin(arguments, &session, &err);
	if (r == 0)
		r = remove_all(arguments, &session.repository, &err);
	if (r == 0)
		r = finish_targets(&session, NULL, 0, &err);
	if (r < 0)
		r = qmr_publish_failed("removing plans", &session, &err);
	qmr_publish_done(&session);
	return r;
}

