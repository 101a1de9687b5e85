/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qmr-publish add, withdraw and remove: of plans, and of requests, which have no time, no relations and no word for their withdrawal. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "json.h"
#include "log.h"
#include "publish-item.h"
#include "publish.h"

struct addition {
	char *data; /* owned */
	size_t size;
	char target[QMR_TARGET_BYTES];
	char id[64];
	json_t *plan; /* owned; or the request */
	int mode, grace_minutes; /* of a request */
};

/* What a plan's own time may be when it is published: it is about now, or it would make the plan older than it is. */
#define PUBLISHED_AGO_S 3600
#define PUBLISHED_AHEAD_S 300

static json_t *targets_of(const json_t *document)
{
	return json_object_get(json_object_get(document, "signed"), "targets");
}

static int read_addition(const char *path, struct addition *ret, struct qmr_error *err)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	struct qmr_publish_item item = {0};
	int r;

	if (!qmr_target_name_is_valid(name))
		return qmr_error_set(
			err, -EBADMSG,
			"'%s': the file name is not 6 to 180 of A-Za-z0-9._- with .json at the end",
			path);
	r = qmr_file_read(AT_FDCWD, path, QMR_PLAN_BYTES_MAX, &ret->data, &ret->size, err);
	if (r < 0)
		return r;
	r = qmr_publish_item_parse(path, ret->data, ret->size, &item, err);
	if (r < 0)
		return r;
	snprintf(ret->target, sizeof(ret->target), "%s%s", item.is_request ? QMR_REQUEST_PREFIX : QMR_PLAN_PREFIX, name);
	snprintf(ret->id, sizeof(ret->id), "%s", item.id);
	ret->plan = json_incref(item.json);
	ret->mode = item.request.mode;
	ret->grace_minutes = item.request.grace_minutes;
	qmr_publish_item_done(&item);
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
	struct qmr_publish_item item = {0};
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
	r = qmr_publish_item_parse(addition->target, data, addition->size, &item, err);
	if (r < 0)
		return r;
	json_decref(addition->plan);
	addition->plan = json_incref(item.json);
	qmr_publish_item_done(&item);
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
	struct qmr_publish_item before = {0};
	char text[64], now[32];
	int64_t unix_s;

	if (entry && qmr_publish_item_read(repository, addition->target, entry, &before, NULL) == 0) {
		int is_same = given ? json_equal(before.json, addition->plan) : is_same_but_time(before.json, addition->plan);

		qmr_publish_item_done(&before);
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

/* Machines remember by id which plans they tried and, apart from them, which requests they followed. */
static int check_id(const struct qmr_repository *repository, const struct addition *addition,
		    struct qmr_error *err)
{
	json_t *targets = targets_of(repository->next[QMR_ROLE_TARGETS]), *entry;
	const char *target;

	json_object_foreach (targets, target, entry) {
		struct qmr_publish_item item = {0};
		int is_used, r;

		if (qmr_publish_is_request(target) != qmr_publish_is_request(addition->target))
			continue;
		r = qmr_publish_item_read(repository, target, entry, &item, err);
		if (r < 0 && !strcmp(target, addition->target))
			continue; /* it makes way */
		if (r < 0)
			return r;
		is_used = !strcmp(item.id, addition->id);
		if (is_used && item.is_request && !strcmp(target, addition->target) && !json_equal(item.json, addition->plan))
			qmr_warning("'%s': id: '%s' is that of what it replaces; machines that followed that one do not follow this one",
				    target, addition->id);
		qmr_publish_item_done(&item);
		if (is_used && strcmp(target, addition->target))
			return qmr_error_set(err, -EBADMSG, "'%s': id: '%s' is that of %s; remove that %s first", addition->target,
					     addition->id, target, qmr_publish_kind(target));
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

	/* Repositories that were made before there were requests have no folder for them. */
	if (r == 0 && qmr_publish_is_request(addition->target))
		r = qmr_file_mkdirs(repository->fd, "targets/requests", 0755, err);
	if (r == 0 && qmr_publish_is_request(addition->target))
		r = qmr_file_sync_dir(repository->fd, "targets", err);
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
		struct qmr_publish_item item = {0};
		size_t i = 0;

		if (qmr_publish_is_request(target))
			continue;
		while (i < n && strcmp(additions[i].target, target))
			i++;
		if (r == 0 && i < n)
			r = qmr_publish_set_add(set, additions[i].plan, err);
		else if (r == 0 && (r = qmr_publish_item_read(repository, target, entry, &item, err)) == 0)
			r = qmr_publish_set_add(set, item.json, err);
		qmr_publish_item_done(&item);
	}
	return r < 0 ? r : qmr_publish_set_check(set, err);
}

/* A file that no machine fetches must not look published; a hold that all of them fetch first may be one more. */
static int check_numbers(const struct qmr_repository *repository, const struct addition *addition, struct qmr_error *err)
{
	const int is_request = qmr_publish_is_request(addition->target);
	const size_t max = is_request ? QMR_REQUEST_FILES_MAX : QMR_PLAN_FILES_MAX;
	json_t *targets = targets_of(repository->next[QMR_ROLE_TARGETS]), *entry;
	const char *target;
	size_t n = 0;

	json_object_foreach (targets, target, entry)
		n += qmr_publish_is_request(target) == is_request;
	if (n <= max || (!is_request && qmr_plan_file_is_urgent(addition->target)))
		return 0;
	return qmr_error_set(err, -EBADMSG, "'%s': there would be %zu %ss, and machines fetch %zu; remove some first%s", addition->target, n,
			     qmr_publish_kind(addition->target), max, is_request ? "" : ", or give a hold a file name that begins with hold");
}

static int add_all(struct qmr_repository *repository, struct addition *additions, size_t n,
		   struct qmr_error *err)
{
	int r = qmr_repository_begin(repository, QMR_ROLE_TARGETS, err);

	for (size_t i = 0; r == 0 && i < n; i++)
		for (size_t j = 0; r == 0 && j < i; j++)
			if (!strcmp(additions[i].target, additions[j].target) ||
			    (qmr_publish_is_request(additions[i].target) == qmr_publish_is_request(additions[j].target) &&
			     !strcmp(additions[i].id, additions[j].id)))
				r = qmr_error_set(err, -EBADMSG,
						  "'%s': its name or id is given twice",
						  additions[i].target);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = check_id(repository, &additions[i], err);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (!qmr_publish_is_request(additions[i].target))
			r = settle_time(repository, &additions[i], err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = name_addition(repository, &additions[i], err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = check_numbers(repository, &additions[i], err);
	if (r == 0)
		r = check_relations(repository, additions, n, err);
	if (r == 0 && json_equal(targets_of(repository->next[QMR_ROLE_TARGETS]),
				 targets_of(repository->now[QMR_ROLE_TARGETS])))
		r = qmr_error_set(err, -ENODATA, "the repository holds exactly this already");
	return r;
}

/* Whoever meant a plan has to see that machines will restart. */
static void say_request(const struct addition *addition)
{
	if (!addition->data)
		printf("%s: taken out; machines that have not restarted yet do not follow it\n", addition->target);
	else
		printf("%s: machines that match and look for requests restart into recovery (%s), %d min after people are told\n",
		       addition->target, qmr_request_mode_name(addition->mode), addition->grace_minutes);
}

/* Signs before anything is written, so that a key that cannot be used leaves no trace. */
static int finish_targets(struct qmr_publish_session *session, const struct addition *additions,
			  size_t n, struct qmr_error *err)
{
	int r = qmr_publish_sign_targets(session, err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (additions[i].data)
			r = write_addition(&session->repository, &additions[i], err);
		if (r == 0 && qmr_publish_is_request(additions[i].target))
			say_request(&additions[i]);
	}
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
		r = qmr_publish_failed("adding", &session, &err);
	qmr_publish_done(&session);
	return r;
}

static int withdraw_one(struct qmr_repository *repository, const char *operand, struct addition *ret, struct qmr_error *err)
{
	json_t *targets = targets_of(repository->next[QMR_ROLE_TARGETS]);
	struct qmr_publish_item item = {0};
	const json_t *entry;
	int r = qmr_publish_find(targets, operand, ret->target, err);

	if (r < 0)
		return r;
	if (qmr_publish_is_request(ret->target)) {
		(void)json_object_del(targets, ret->target); /* it is there; machines know a request that is not there as withdrawn */
		return 0;
	}
	entry = json_object_get(targets, ret->target);
	r = qmr_publish_item_read(repository, ret->target, entry, &item, err);
	if (r < 0)
		return r;
	ret->plan = json_incref(item.json);
	if (item.plan.is_withdrawn)
		r = qmr_error_set(err, -ENODATA, "'%s' is withdrawn already", ret->target);
	else if (item.plan.is_hold)
		r = qmr_error_set(err, -EBADMSG, "'%s' is a hold, which ends when it is removed", ret->target);
	qmr_publish_item_done(&item);
	if (r == 0)
		r = qmr_repository_read_target(repository, ret->target, entry, &ret->data, &ret->size, err);
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
		r = qmr_publish_failed("withdrawing", &session, &err);
	qmr_publish_done(&session);
	return r;
}

static int remove_all(const struct qmr_publish_arguments *arguments,
		      struct qmr_repository *repository, struct qmr_error *err)
{
	int r = qmr_repository_begin(repository, QMR_ROLE_TARGETS, err);

	for (size_t i = 0; r == 0 && i < arguments->n_names; i++) {
		json_t *targets = targets_of(repository->next[QMR_ROLE_TARGETS]);
		char target[QMR_TARGET_BYTES];

		r = qmr_publish_find(targets, arguments->names[i], target, err);
		if (r == 0)
			(void)json_object_del(targets, target); /* it is there */
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
		r = qmr_publish_failed("removing", &session, &err);
	qmr_publish_done(&session);
	return r;
}

