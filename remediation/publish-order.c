/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is published, and in which order, so that a client that comes at any moment, and the next
 * run after a cut at any moment, finds the old repository or the new one.
 *
 * Everything below timestamp.json has a version in its name and is seen by nobody before
 * timestamp.json names it. A new root is seen at once. Where it brings new keys for another role,
 * that role's metadata is signed by old and new keys and published first, so that it verifies under
 * both roots. Only if the old keys are lost does the root come before timestamp.json; between the
 * two, clients refuse the repository and keep what they have.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "json.h"
#include "publish-repository.h"

struct attempt {
	const json_t *root_after; /* borrowed: the newest root once this is published */
	int has_root, has_targets, has_snapshot, has_timestamp;
	int root_first;
};

static int verifies(const json_t *root, enum qmr_role role, const json_t *document)
{
	return qmr_metadata_verify(root, role, document, "", NULL) == 0;
}

static const json_t *effective(const struct qmr_repository *repository, enum qmr_role role,
			       int is_new)
{
	return is_new ? repository->next[role] : repository->now[role];
}

static int targets_are_ready(const struct qmr_repository *repository, const json_t *root)
{
	const json_t *next = repository->next[QMR_ROLE_TARGETS];

	return next && verifies(root, QMR_ROLE_TARGETS, next);
}

/* Which of the staged or changed documents have the signatures they need. */
static void choose_signed(const struct qmr_repository *repository, struct attempt *attempt)
{
	const json_t *now = repository->now[QMR_ROLE_ROOT], *next = repository->next[QMR_ROLE_ROOT];
	const json_t *targets = repository->now[QMR_ROLE_TARGETS];

	if (next && verifies(now, QMR_ROLE_ROOT, next) && verifies(next, QMR_ROLE_ROOT, next) &&
	    (targets_are_ready(repository, next) || verifies(next, QMR_ROLE_TARGETS, targets))) {
		attempt->has_root = 1;
		attempt->root_after = next;
		attempt->has_targets = targets_are_ready(repository, next);
		return;
	}
	/*
	 * A root that waits and changes who signs targets keeps the new targets waiting too:
	 * published alone, with the signatures that the old root asks for, they could not be given
	 * those that are still missing.
	 */
	if (!next || verifies(next, QMR_ROLE_TARGETS, targets))
		attempt->has_targets = targets_are_ready(repository, now);
}

/* A new version of an online role; 0, or 1 if its keys are not at hand. */
static int make_online(struct qmr_repository *repository, struct qmr_key_ring *ring,
		       const struct attempt *attempt, enum qmr_role role, const char *file,
		       const json_t *referred, struct qmr_error *err)
{
	int r = qmr_repository_begin(repository, role, err);

	if (r == 0 && referred)
		r = qmr_repository_refer(repository->next[role], file, referred, err);
	if (r == 0)
		r = qmr_key_ring_sign(ring, repository->now[QMR_ROLE_ROOT], role,
				      repository->next[role], err);
	if (r >= 0 && attempt->has_root)
		r = qmr_key_ring_sign(ring, attempt->root_after, role, repository->next[role], err);
	return r < 0 ? r : !verifies(attempt->root_after, role, repository->next[role]);
}

static void forget_online(struct qmr_repository *repository)
{
	for (int role = QMR_ROLE_SNAPSHOT; role < QMR_ROLE_COUNT; role++) {
		json_decref(repository->next[role]);
		repository->next[role] = NULL;
	}
}

static int prepare_snapshot(struct qmr_repository *repository, struct qmr_key_ring *ring,
			    unsigned int renew, struct attempt *attempt, struct qmr_error *err)
{
	int must = attempt->has_targets || (renew & 1u << QMR_ROLE_SNAPSHOT) ||
		   !verifies(attempt->root_after, QMR_ROLE_SNAPSHOT,
			     repository->now[QMR_ROLE_SNAPSHOT]);
	int r;

	if (!must && !((renew & 1u << QMR_ROLE_TIMESTAMP) &&
		       qmr_repository_is_near_expiry(repository, QMR_ROLE_SNAPSHOT)))
		return 0;
	r = make_online(repository, ring, attempt, QMR_ROLE_SNAPSHOT, "targets.json",
			attempt->has_targets ? repository->next[QMR_ROLE_TARGETS] : NULL, err);
	attempt->has_snapshot = r == 0;
	return r > 0 && !must ? 0
			      : r; /* one that is only getting old is warned about by the caller */
}

/* 0: next[] is complete; 1: a key of snapshot or timestamp is not at hand. */
static int prepare(struct qmr_repository *repository, struct qmr_key_ring *ring, unsigned int renew,
		   struct attempt *attempt, struct qmr_error *err)
{
	const json_t *now = repository->now[QMR_ROLE_ROOT];
	int r;

	forget_online(repository);
	r = prepare_snapshot(repository, ring, renew, attempt, err);
	if (r != 0)
		return r;
	if (attempt->has_snapshot || (renew & 1u << QMR_ROLE_TIMESTAMP) ||
	    !verifies(attempt->root_after, QMR_ROLE_TIMESTAMP,
		      repository->now[QMR_ROLE_TIMESTAMP])) {
		r = make_online(repository, ring, attempt, QMR_ROLE_TIMESTAMP, "snapshot.json",
				attempt->has_snapshot ? repository->next[QMR_ROLE_SNAPSHOT] : NULL,
				err);
		attempt->has_timestamp = r == 0;
		if (r != 0)
			return r;
	}
	attempt->root_first =
		attempt->has_root &&
		!(verifies(now, QMR_ROLE_TARGETS,
			   effective(repository, QMR_ROLE_TARGETS, attempt->has_targets)) &&
		  verifies(now, QMR_ROLE_SNAPSHOT,
			   effective(repository, QMR_ROLE_SNAPSHOT, attempt->has_snapshot)) &&
		  verifies(now, QMR_ROLE_TIMESTAMP,
			   effective(repository, QMR_ROLE_TIMESTAMP, attempt->has_timestamp)));
	return 0;
}

static int write_staged(const struct qmr_repository *repository, enum qmr_role role,
			struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	char path[64];
	size_t size;
	int r = qmr_metadata_text(repository->next[role], &text, &size, err);

	snprintf(path, sizeof(path), "staged/%s.json", qmr_role_name(role));
	if (r == 0)
		r = qmr_file_mkdirs(repository->fd, "staged", 0755, err);
	if (r == 0)
		r = qmr_file_sync_dir(repository->fd, ".", err);
	return r < 0 ? r : qmr_file_replace(repository->fd, path, text, size, 0644, err);
}

/* A leftover would only be ignored, as older than what is published. */
static void remove_staged(const struct qmr_repository *repository, enum qmr_role role)
{
	char path[64];

	snprintf(path, sizeof(path), "staged/%s.json", qmr_role_name(role));
	(void)unlinkat(repository->fd, path, 0);
}

static int write_published(struct qmr_repository *repository, const struct attempt *attempt,
			   struct qmr_error *err)
{
	json_t *const *next = repository->next;
	int r = 0;

	/*
	 * After a cut between root and timestamp the next run finds here what it needs to go on.
	 * Root is what vouches for targets.
	 */
	if (attempt->root_first && attempt->has_targets) {
		r = write_staged(repository, QMR_ROLE_ROOT, err);
		if (r == 0)
			r = write_staged(repository, QMR_ROLE_TARGETS, err);
	}
	if (r == 0 && attempt->has_targets)
		r = qmr_repository_write(repository, QMR_ROLE_TARGETS, next[QMR_ROLE_TARGETS], err);
	if (r == 0 && attempt->has_snapshot)
		r = qmr_repository_write(repository, QMR_ROLE_SNAPSHOT, next[QMR_ROLE_SNAPSHOT],
					 err);
	repository->is_visible = r == 0;
	if (r == 0 && attempt->root_first)
		r = qmr_repository_write(repository, QMR_ROLE_ROOT, next[QMR_ROLE_ROOT], err);
	if (r == 0 && attempt->has_timestamp)
		r = qmr_repository_write(repository, QMR_ROLE_TIMESTAMP, next[QMR_ROLE_TIMESTAMP],
					 err);
	if (r == 0 && attempt->has_root && !attempt->root_first)
		r = qmr_repository_write(repository, QMR_ROLE_ROOT, next[QMR_ROLE_ROOT], err);
	return r;
}

/* next[] of what was published becomes now[]. */
static void settle(struct qmr_repository *repository, const struct attempt *attempt,
		   struct qmr_publication *ret)
{
	const int is_new[QMR_ROLE_COUNT] = {attempt->has_root, attempt->has_targets,
					    attempt->has_snapshot, attempt->has_timestamp};

	for (int role = 0; role < QMR_ROLE_COUNT; role++) {
		ret->is_published[role] = is_new[role];
		if (!is_new[role])
			continue;
		json_decref(repository->now[role]);
		repository->now[role] = repository->next[role];
		repository->next[role] = NULL;
	}
	forget_online(repository);
	for (int role = 0; role <= QMR_ROLE_TARGETS; role++)
		if (is_new[role] || repository->is_stale[role])
			remove_staged(repository, role);
}

int qmr_repository_publish(struct qmr_repository *repository, struct qmr_key_ring *ring,
			   unsigned int renew, struct qmr_publication *ret, struct qmr_error *err)
{
	struct attempt attempt = {.root_after = repository->now[QMR_ROLE_ROOT]};
	struct qmr_publication publication = {0};
	int r;

	choose_signed(repository, &attempt);
	r = prepare(repository, ring, renew, &attempt, err);
	if (r > 0) {
		/*
		 * Without the online keys nothing changes for clients, but a renewal that was asked
		 * for may be possible.
		 */
		attempt = (struct attempt){.root_after = repository->now[QMR_ROLE_ROOT]};
		r = renew ? prepare(repository, ring, renew, &attempt, err) : 0;
		if (r > 0)
			return qmr_error_set(
				err, -ENOKEY,
				"the keys of timestamp, and of snapshot where it must change, are "
				"not among those in '%s'; nothing was published",
				ring->path ? ring->path : "(no --keys)");
	}
	if (r == 0 && !verifies(attempt.root_after, QMR_ROLE_TARGETS,
				effective(repository, QMR_ROLE_TARGETS, attempt.has_targets)))
		return qmr_error_set(
			err, -EBADMSG,
			"targets metadata is not signed by the keys of root version %lld; nothing "
			"was "
			"published, refresh --role targets with the new key repairs it",
			(long long)qmr_metadata_version(attempt.root_after));
	for (int role = 0; r == 0 && role <= QMR_ROLE_TARGETS; role++)
		if (repository->next[role] &&
		    !(role == QMR_ROLE_ROOT ? attempt.has_root : attempt.has_targets)) {
			r = write_staged(repository, role, err);
			publication.is_staged[role] = 1;
		}
	if (r == 0)
		r = write_published(repository, &attempt, err);
	if (r < 0)
		return r;
	settle(repository, &attempt, &publication);
	*ret = publication;
	return 0;
}
