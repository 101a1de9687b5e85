/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qmr-publish add, remove and refresh. */
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
};

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
	qmr_plan_done(&plan);
	return 0;
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
		r = name_addition(repository, &additions[i], err);
	if (r == 0 && json_equal(targets_of(repository->next[QMR_ROLE_TARGETS]),
				 targets_of(repository->now[QMR_ROLE_TARGETS])))
		r = qmr_error_set(err, -ENODATA, "the repository holds exactly this already");
	return r;
}

/* Signs targets with what is at hand, for the newest root and for one that is staged. */
static int sign_targets(struct qmr_publish_session *session, struct qmr_error *err)
{
	struct qmr_repository *repository = &session->repository;
	int r = qmr_key_ring_sign(&session->ring, repository->now[QMR_ROLE_ROOT], QMR_ROLE_TARGETS,
				  repository->next[QMR_ROLE_TARGETS], err);

	if (r >= 0 && repository->next[QMR_ROLE_ROOT])
		r = qmr_key_ring_sign(&session->ring, repository->next[QMR_ROLE_ROOT],
				      QMR_ROLE_TARGETS, repository->next[QMR_ROLE_TARGETS], err);
	if (r >= 0 &&
	    json_array_size(json_object_get(repository->next[QMR_ROLE_TARGETS], "signatures")) == 0)
		return qmr_error_set(err, -ENOKEY, "no key of role targets is in '%s'",
				     session->ring.path);
	return r < 0 ? r : 0;
}

/* Signs before anything is written, so that a key that cannot be used leaves no trace. */
static int finish_targets(struct qmr_publish_session *session, const struct addition *additions,
			  size_t n, struct qmr_error *err)
{
	int r = sign_targets(session, err);

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
	for (size_t i = 0; additions && i < arguments->n_names; i++)
		free(additions[i].data);
	free(additions);
	if (r < 0)
		r = qmr_publish_failed("adding plans", &session, &err);
	qmr_publish_done(&session);
	return r;
}

static int remove_all(const struct qmr_publish_arguments *arguments,
		      struct qmr_repository *repository, struct qmr_error *err)
{
	int r = qmr_repository_begin(repository, QMR_ROLE_TARGETS, err);

	for (size_t i = 0; r == 0 && i < arguments->n_names; i++) {
		const char *slash = strrchr(arguments->names[i], '/');
		char target[300];

		snprintf(target, sizeof(target), "%s%s", QMR_TARGET_PREFIX,
			 slash ? slash + 1 : arguments->names[i]);
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

static int refresh_root(struct qmr_publish_session *session, struct qmr_error *err)
{
	struct qmr_repository *repository = &session->repository;
	int r = qmr_repository_begin(repository, QMR_ROLE_ROOT, err);

	if (r == 0)
		r = qmr_key_ring_sign(&session->ring, repository->now[QMR_ROLE_ROOT], QMR_ROLE_ROOT,
				      repository->next[QMR_ROLE_ROOT], err);
	if (r >= 0)
		r = qmr_key_ring_sign(&session->ring, repository->next[QMR_ROLE_ROOT],
				      QMR_ROLE_ROOT, repository->next[QMR_ROLE_ROOT], err);
	if (r >= 0 &&
	    json_array_size(json_object_get(repository->next[QMR_ROLE_ROOT], "signatures")) == 0)
		return qmr_error_set(err, -ENOKEY, "no key of role root is in '%s'",
				     session->ring.path);
	return r < 0 ? r : 0;
}

int qmr_publish_refresh(const struct qmr_publish_arguments *arguments)
{
	const unsigned int online = 1u << QMR_ROLE_TIMESTAMP;
	struct qmr_publish_session session = {.repository.fd = -1, .ring.fd = -1};
	struct qmr_error err = {0};
	int r;

	r = qmr_publish_begin(arguments, &session, &err);
	if (r == 0 && (arguments->roles & 1u << QMR_ROLE_ROOT))
		r = refresh_root(&session, &err);
	if (r == 0 && (arguments->roles & 1u << QMR_ROLE_TARGETS)) {
		r = qmr_repository_begin(&session.repository, QMR_ROLE_TARGETS, &err);
		if (r == 0)
			r = sign_targets(&session, &err);
	}
	/*
	 * Offline roles are renewed where there may be no online key: timestamp is renewed then by
	 * the daily run.
	 */
	if (r == 0)
		r = qmr_publish_finish(&session, arguments->roles,
				       (arguments->roles & (1u << QMR_ROLE_SNAPSHOT | online)) |
					       (arguments->roles ? 0 : online),
				       &err);
	if (r < 0)
		r = qmr_publish_failed("refreshing", &session, &err);
	qmr_publish_done(&session);
	return r;
}
