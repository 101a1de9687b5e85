/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "publish-repository.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "json.h"
#include "plan.h"

#define POLICY "qmr-publish.json"
#define ROOTS_MAX 100000
#define DAY_S 86400

const int qmr_publish_days[QMR_ROLE_COUNT] = {
	[QMR_ROLE_ROOT] = 365,
	[QMR_ROLE_TARGETS] = 90,
	[QMR_ROLE_SNAPSHOT] = 14,
	[QMR_ROLE_TIMESTAMP] = 7,
};

static int load_policy(struct qmr_repository *repository, struct qmr_error *err)
{
	cleanup_json json_t *policy = NULL;
	int r = qmr_json_load(repository->fd, POLICY, 65536, &policy, err);

	if (r == -ENOENT)
		return 0; /* made by something else; the defaults do */
	if (r < 0)
		return r;
	for (int i = 0; i < QMR_ROLE_COUNT; i++) {
		const json_t *days =
			json_object_get(json_object_get(policy, "expires_days"), qmr_role_name(i));

		if (!json_is_integer(days) || json_integer_value(days) < 1 ||
		    json_integer_value(days) > 36500)
			return qmr_error_set(err, -EINVAL,
					     "'" POLICY
					     "': expires_days.%s: not 1 to 36500; nothing was done",
					     qmr_role_name(i));
		repository->days[i] = (int)json_integer_value(days);
	}
	return 0;
}

int qmr_repository_open(const char *path, int lock, struct qmr_repository *ret,
			struct qmr_error *err)
{
	struct qmr_repository repository = {.fd = -1, .now_unix_s = time(NULL)};
	int r = 0;

	memcpy(repository.days, qmr_publish_days, sizeof(repository.days));
	repository.fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (repository.fd < 0)
		return qmr_error_errno(err, -errno, "opening the repository '%s'", path);
	if (lock && flock(repository.fd, LOCK_EX | LOCK_NB) < 0)
		r = errno == EWOULDBLOCK
			    ? qmr_error_set(err, -EBUSY,
					    "another qmr-publish is changing '%s'; nothing was "
					    "done, try again",
					    path)
			    : qmr_error_errno(err, -errno, "locking the repository '%s'", path);
	if (r == 0)
		r = load_policy(&repository, err);
	if (r < 0)
		close(repository.fd);
	else
		*ret = repository;
	return r;
}

void qmr_repository_close(struct qmr_repository *repository)
{
	for (int i = 0; i < QMR_ROLE_COUNT; i++) {
		json_decref(repository->now[i]);
		json_decref(repository->next[i]);
	}
	json_decref(repository->root_before);
	if (repository->fd >= 0)
		close(repository->fd);
	memset(repository, 0, sizeof(*repository));
	repository->fd = -1;
}

int64_t qmr_repository_expiry(const struct qmr_repository *repository, enum qmr_role role)
{
	return repository->now_unix_s + (int64_t)repository->days[role] * DAY_S;
}

int qmr_repository_is_near_expiry(const struct qmr_repository *repository, enum qmr_role role)
{
	return qmr_metadata_expires(repository->now[role]) - repository->now_unix_s <
	       (int64_t)repository->days[role] * DAY_S / 4;
}

static void metadata_path(enum qmr_role role, int64_t version, char ret[128])
{
	if (role == QMR_ROLE_TIMESTAMP)
		snprintf(ret, 128, "metadata/timestamp.json");
	else
		snprintf(ret, 128, "metadata/%lld.%s.json", (long long)version,
			 qmr_role_name(role));
}

/* -ENOENT only if the file is missing. reference may be NULL. */
static int read_document(int dirfd, enum qmr_role role, const char *path, const json_t *reference,
			 json_t **ret, struct qmr_error *err)
{
	cleanup_json json_t *document = NULL;
	cleanup_free char *data = NULL;
	size_t size;
	int r = qmr_file_read(dirfd, path, QMR_METADATA_BYTES_MAX, &data, &size, err);

	if (r < 0)
		return r;
	if (reference) {
		r = qmr_metadata_check_reference(reference, data, size, path, err);
		if (r < 0)
			return r;
	}
	if (qmr_json_parse(path, data, size, &document, err) < 0) {
		if (err)
			err->code = -EBADMSG;
		return -EBADMSG;
	}
	r = qmr_metadata_check_form(role, document, path, err);
	if (r < 0)
		return r;
	*ret = document;
	document = NULL;
	return 0;
}

static int check_version(const json_t *document, int64_t want, const char *path,
			 struct qmr_error *err)
{
	if (qmr_metadata_version(document) == want)
		return 0;
	return qmr_error_set(err, -EBADMSG, "'%s': version: %lld, not %lld", path,
			     (long long)qmr_metadata_version(document), (long long)want);
}

static int load_first_root(struct qmr_repository *repository, const char *trusted_root,
			   struct qmr_error *err)
{
	const char *path = trusted_root ? trusted_root : "metadata/1.root.json";
	json_t **root = &repository->now[QMR_ROLE_ROOT];
	int r = read_document(trusted_root ? AT_FDCWD : repository->fd, QMR_ROLE_ROOT, path, NULL,
			      root, err);

	if (r == 0 && !trusted_root)
		r = check_version(*root, 1, path, err);
	return r < 0 ? r : qmr_metadata_verify(*root, QMR_ROLE_ROOT, *root, path, err);
}

/* Root N+1 is signed by the keys of root N and by its own (section 5.3). */
static int load_roots(struct qmr_repository *repository, const char *trusted_root,
		      struct qmr_error *err)
{
	json_t **root = &repository->now[QMR_ROLE_ROOT];
	int r = load_first_root(repository, trusted_root, err);

	for (int i = 0; r == 0 && i < ROOTS_MAX; i++) {
		int64_t version = qmr_metadata_version(*root) + 1;
		json_t *newer = NULL;
		char path[128];

		metadata_path(QMR_ROLE_ROOT, version, path);
		r = read_document(repository->fd, QMR_ROLE_ROOT, path, NULL, &newer, NULL);
		if (r == -ENOENT)
			return 0;
		if (r < 0)
			return read_document(repository->fd, QMR_ROLE_ROOT, path, NULL, &newer,
					     err);
		json_decref(repository->root_before);
		repository->root_before = *root;
		*root = newer;
		r = check_version(newer, version, path, err);
		if (r == 0)
			r = qmr_metadata_verify(repository->root_before, QMR_ROLE_ROOT, newer, path,
						err);
		if (r == 0)
			r = qmr_metadata_verify(newer, QMR_ROLE_ROOT, newer, path, err);
	}
	return r;
}

static int load_role(struct qmr_repository *repository, enum qmr_role role, const json_t *reference,
		     int lenient, struct qmr_error *err)
{
	int64_t version = json_integer_value(json_object_get(reference, "version"));
	char path[128];
	int r;

	metadata_path(role, version, path);
	r = read_document(repository->fd, role, path, reference, &repository->now[role], err);
	if (r == -ENOENT)
		return qmr_error_set(err, -EBADMSG, "'%s' is missing", path);
	if (r == 0 && reference)
		r = check_version(repository->now[role], version, path, err);
	if (r < 0)
		return r;
	r = qmr_metadata_verify(repository->now[QMR_ROLE_ROOT], role, repository->now[role], path,
				err);
	if (r == -EBADMSG && lenient && repository->root_before)
		r = qmr_metadata_verify(repository->root_before, role, repository->now[role], path,
					err);
	return r;
}

static const json_t *meta_of(const json_t *document, const char *file)
{
	return json_object_get(json_object_get(json_object_get(document, "signed"), "meta"), file);
}

int qmr_repository_load(struct qmr_repository *repository, const char *trusted_root, int lenient,
			struct qmr_error *err)
{
	json_t **now = repository->now;
	int r = load_roots(repository, trusted_root, err);

	if (r == -ENOENT)
		return qmr_error_set(err, -EBADMSG, "there is no '%s'",
				     trusted_root ? trusted_root : "metadata/1.root.json");
	if (r == 0)
		r = load_role(repository, QMR_ROLE_TIMESTAMP, NULL, lenient, err);
	if (r == 0)
		r = load_role(repository, QMR_ROLE_SNAPSHOT,
			      meta_of(now[QMR_ROLE_TIMESTAMP], "snapshot.json"), lenient, err);
	if (r == 0)
		r = load_role(repository, QMR_ROLE_TARGETS,
			      meta_of(now[QMR_ROLE_SNAPSHOT], "targets.json"), lenient, err);
	return r;
}

static int load_one_staged(struct qmr_repository *repository, enum qmr_role role,
			   struct qmr_error *err)
{
	const json_t *newer = repository->next[QMR_ROLE_ROOT];
	cleanup_json json_t *document = NULL;
	int64_t version = qmr_metadata_version(repository->now[role]);
	char path[128];
	int r, count;

	snprintf(path, sizeof(path), "staged/%s.json", qmr_role_name(role));
	r = read_document(repository->fd, role, path, NULL, &document, err);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	if (qmr_metadata_version(document) <= version) {
		repository->is_stale[role] = 1;
		return 0;
	}
	r = check_version(document, version + 1, path, err);
	if (r < 0)
		return r;
	/*
	 * Whoever can write the folder must not be able to slip something in that the next change
	 * then signs.
	 */
	count = qmr_metadata_count(repository->now[QMR_ROLE_ROOT], role, document, err);
	if (count == 0 && newer)
		count = qmr_metadata_count(newer, role, document, err);
	if (count <= 0)
		return count < 0 ? count
				 : qmr_error_set(err, -EBADMSG,
						 "'%s': signatures: none of a key of the role; "
						 "nothing was done, delete the file "
						 "if it is not yours",
						 path);
	repository->next[role] = document;
	document = NULL;
	return 0;
}

int qmr_repository_load_staged(struct qmr_repository *repository, struct qmr_error *err)
{
	int r = load_one_staged(repository, QMR_ROLE_ROOT, err);

	return r < 0 ? r : load_one_staged(repository, QMR_ROLE_TARGETS, err);
}

int qmr_repository_begin(struct qmr_repository *repository, enum qmr_role role,
			 struct qmr_error *err)
{
	int64_t version = qmr_metadata_version(repository->now[role]) + 1;
	json_t *document;

	/* Building on it would sign what somebody else staged without a look at it. */
	if (repository->next[role])
		return qmr_error_set(err, -EEXIST,
				     "a change of %s is staged already; finish it with sign or "
				     "refresh, or delete "
				     "staged/%s.json, first",
				     qmr_role_name(role), qmr_role_name(role));
	if (version > QMR_METADATA_VERSION_MAX)
		return qmr_error_set(err, -EOVERFLOW, "role %s has no version left",
				     qmr_role_name(role));
	document = qmr_metadata_next(repository->now[role], version,
				     qmr_repository_expiry(repository, role));
	if (!document)
		return qmr_error_set(err, -ENOMEM, "making metadata: out of memory");
	repository->next[role] = document;
	return 0;
}

int qmr_repository_write(const struct qmr_repository *repository, enum qmr_role role,
			 const json_t *document, struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	char path[128];
	size_t size;
	int r = qmr_metadata_text(document, &text, &size, err);

	metadata_path(role, qmr_metadata_version(document), path);
	return r < 0 ? r : qmr_file_replace(repository->fd, path, text, size, 0644, err);
}

int qmr_repository_target_path(const char *target, const char *sha256, char ret_path[512],
			       struct qmr_error *err)
{
	const char *name = strrchr(target, '/') + 1; /* the form check has seen to the prefix */

	if (snprintf(ret_path, 512, "targets/%.*s%s.%s", (int)(name - target), target, sha256,
		     name) >= 512)
		return qmr_error_set(err, -ENAMETOOLONG, "'%s': the name is too long", target);
	return 0;
}

int qmr_repository_read_target(const struct qmr_repository *repository, const char *target,
			       const json_t *entry, char **ret_data, size_t *ret_size,
			       struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	char path[512];
	size_t size;
	int r = qmr_repository_target_path(
		target, qmr_json_string(json_object_get(entry, "hashes"), "sha256"), path, err);

	if (r == 0)
		r = qmr_file_read(repository->fd, path, QMR_PLAN_BYTES_MAX, &data, &size, err);
	if (r == -ENOENT)
		return qmr_error_set(err, -EBADMSG, "'%s' is missing", path);
	if (r == 0)
		r = qmr_metadata_check_reference(entry, data, size, path, err);
	if (r < 0)
		return r;
	*ret_data = data;
	data = NULL;
	*ret_size = size;
	return 0;
}

int qmr_repository_refer(json_t *document, const char *file, const json_t *referred,
			 struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	json_t *reference = NULL;
	size_t size;
	int r = qmr_metadata_text(referred, &text, &size, err);

	if (r == 0)
		r = qmr_metadata_reference(qmr_metadata_version(referred), text, size, &reference,
					   err);
	if (r < 0)
		return r;
	if (json_object_set_new(json_object_get(document, "signed"), "meta",
				json_pack("{s:o}", file, reference)) < 0)
		return qmr_error_set(err, -ENOMEM, "making metadata: out of memory");
	return 0;
}
