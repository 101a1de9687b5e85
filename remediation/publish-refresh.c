/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qmr-publish refresh. */
#include <errno.h>

#include "json.h"
#include "publish.h"

int qmr_publish_sign_targets(struct qmr_publish_session *session, struct qmr_error *err)
{
	struct qmr_repository *repository = &session->repository;
	int r;

	if (session->to)
		return 0;
	r = qmr_key_ring_sign(&session->ring, repository->now[QMR_ROLE_ROOT], QMR_ROLE_TARGETS,
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

static int refresh_root(struct qmr_publish_session *session, struct qmr_error *err)
{
	struct qmr_repository *repository = &session->repository;
	int r = qmr_repository_begin(repository, QMR_ROLE_ROOT, err);

	if (session->to)
		return r;
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

	if (arguments->to && arguments->roles != 1u << QMR_ROLE_ROOT && arguments->roles != 1u << QMR_ROLE_TARGETS)
		r = qmr_error_set(&err, -EINVAL, "with --to, one of --role root and --role targets is needed");
	else
		r = qmr_publish_begin(arguments, &session, &err);
	if (r == 0 && (arguments->roles & 1u << QMR_ROLE_ROOT))
		r = refresh_root(&session, &err);
	if (r == 0 && (arguments->roles & 1u << QMR_ROLE_TARGETS)) {
		r = qmr_repository_begin(&session.repository, QMR_ROLE_TARGETS, &err);
		if (r == 0)
			r = qmr_publish_sign_targets(&session, &err);
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
