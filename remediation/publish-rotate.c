/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qmr-publish rotate and sign. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "json.h"
#include "log.h"
#include "publish-item.h"
#include "publish.h"

/* The key that goes: the only one of the role, or the one whose id begins with --replace. */
static int find_old(const json_t *root, enum qmr_role role, const char *prefix,
		    char ret_keyid[QMR_KEY_ID], struct qmr_error *err)
{
	const json_t *keyids = qmr_root_keyids(root, role), *entry;
	const char *found = NULL;
	size_t i;

	if (!prefix && json_array_size(keyids) != 1)
		return qmr_error_set(
			err, -EINVAL,
			"role %s has %zu keys; name the one that goes with --replace KEYID",
			qmr_role_name(role), json_array_size(keyids));
	json_array_foreach (keyids, i, entry) {
		const char *keyid = json_string_value(entry);

		if (prefix && strncmp(keyid, prefix, strlen(prefix)))
			continue;
		if (found)
			return qmr_error_set(err, -EINVAL,
					     "'%s' begins more than one key id of role %s", prefix,
					     qmr_role_name(role));
		found = keyid;
	}
	if (!found)
		return qmr_error_set(err, -EINVAL, "role %s has no key whose id begins with '%s'",
				     qmr_role_name(role), prefix);
	snprintf(ret_keyid, QMR_KEY_ID, "%s", found);
	return 0;
}

/* Root is signed for the root before it and for itself. */
static int sign_root(struct qmr_publish_session *session, struct qmr_error *err)
{
	const json_t *now = session->repository.now[QMR_ROLE_ROOT];
	json_t *next = session->repository.next[QMR_ROLE_ROOT];
	int r;

	if (session->to)
		return 0;
	r = qmr_key_ring_sign(&session->ring, now, QMR_ROLE_ROOT, next, err);

	if (r >= 0 && qmr_metadata_count(now, QMR_ROLE_ROOT, next, NULL) < 1)
		return qmr_error_set(err, -ENOKEY, "no key of role root is in '%s'",
				     session->ring.path);
	if (r >= 0)
		r = qmr_key_ring_sign(&session->ring, next, QMR_ROLE_ROOT, next, err);
	return r < 0 ? r : 0;
}

/* What the new root's keys of targets would not accept is made anew, signed by old and new keys. */
static int resign_targets(struct qmr_publish_session *session, struct qmr_error *err)
{
	struct qmr_repository *repository = &session->repository;
	const json_t *roots[] = {repository->now[QMR_ROLE_ROOT], repository->next[QMR_ROLE_ROOT]};
	int r;

	if (qmr_metadata_verify(roots[1], QMR_ROLE_TARGETS, repository->now[QMR_ROLE_TARGETS], "",
				NULL) == 0)
		return 0;
	r = qmr_repository_begin(repository, QMR_ROLE_TARGETS, err);
	for (int i = 0; r >= 0 && i < 2; i++)
		r = qmr_key_ring_sign(&session->ring, roots[i], QMR_ROLE_TARGETS,
				      repository->next[QMR_ROLE_TARGETS], err);
	/*
	 * None of its keys is here: root waits until one of them makes targets anew, with refresh
	 * --role targets.
	 */
	if (r >= 0 && json_array_size(json_object_get(repository->next[QMR_ROLE_TARGETS],
						      "signatures")) == 0) {
		json_decref(repository->next[QMR_ROLE_TARGETS]);
		repository->next[QMR_ROLE_TARGETS] = NULL;
	}
	return r < 0 ? r : 0;
}

/* What rotate does to one role. */
struct rotation {
	enum qmr_role role;
	int has_old, has_new;
	char old[QMR_KEY_ID];   /* the key that goes */
	struct qmr_key foreign; /* the public half of one that was made elsewhere */
	int is_foreign;
	char made[64]; /* file of the key that was made here, empty if none was */
};

static int plan_rotation(const struct qmr_publish_arguments *arguments, const json_t *root,
			 struct rotation *rotation, struct qmr_error *err)
{
	const char *out = arguments->drop ? arguments->drop : arguments->replace;
	int only_threshold =
		arguments->new_threshold && !arguments->add && !out && !arguments->public_key;
	int r = 0;

	if (arguments->new_threshold && rotation->role > QMR_ROLE_TARGETS)
		return qmr_error_set(err, -EINVAL,
				     "the threshold of %s is 1: one machine renews it by itself",
				     qmr_role_name(rotation->role));
	if (!!arguments->add + !!arguments->drop + !!arguments->replace > 1 ||
	    (arguments->drop && arguments->public_key))
		return qmr_error_set(
			err, -EINVAL,
			"--add, --drop and --replace exclude each other, and --drop brings no key");
	rotation->has_old = !arguments->add && !only_threshold;
	rotation->has_new = !arguments->drop && !only_threshold;
	rotation->is_foreign = arguments->public_key != NULL;
	if (arguments->to && rotation->has_new && !rotation->is_foreign)
		return qmr_error_set(err, -EINVAL, "with --to, the new key is one that was made elsewhere: --public");
	if (rotation->has_old)
		r = find_old(root, rotation->role, out, rotation->old, err);
	if (r == 0 && rotation->is_foreign)
		r = qmr_key_load_public(arguments->public_key, &rotation->foreign, err);
	if (r == 0 && rotation->is_foreign &&
	    qmr_root_has_key(root, rotation->role, rotation->foreign.id))
		r = qmr_error_set(err, -EINVAL, "'%s' is a key of role %s already",
				  arguments->public_key, qmr_role_name(rotation->role));
	return r;
}

static int make_key(struct qmr_publish_session *session,
		    const struct qmr_publish_arguments *arguments, struct rotation *rotation,
		    const struct qmr_key **ret_key, struct qmr_error *err)
{
	struct qmr_passphrase passphrase = {0};
	int r = 0;

	if (rotation->role <= QMR_ROLE_TARGETS) /* online keys have none, see init */
		passphrase = session->ring.passphrase;
	if (rotation->role <= QMR_ROLE_TARGETS && arguments->ask_passphrase)
		r = qmr_publish_passphrase(arguments, 1, &passphrase, err);
	if (r == 0)
		r = qmr_key_ring_make(&session->ring, rotation->role, &passphrase, ret_key, err);
	if (r == 0)
		qmr_key_ring_name(rotation->role, (*ret_key)->id, "pem", rotation->made);
	OPENSSL_cleanse(&passphrase, sizeof(passphrase));
	return r;
}

static int change_root(struct qmr_publish_session *session,
		       const struct qmr_publish_arguments *arguments, struct rotation *rotation,
		       struct qmr_error *err)
{
	json_t *root = session->repository.next[QMR_ROLE_ROOT];
	const struct qmr_key *key = &rotation->foreign;
	int r = 0;

	if (rotation->has_new && !rotation->is_foreign)
		r = make_key(session, arguments, rotation, &key, err);
	if (r == 0 && rotation->has_old)
		r = qmr_root_remove_key(root, rotation->role, rotation->old, err);
	if (r == 0 && rotation->has_new)
		r = qmr_root_add_key(root, rotation->role, key, err);
	if (r == 0 && arguments->new_threshold)
		r = qmr_root_set_threshold(root, rotation->role, arguments->new_threshold, err);
	if (r == 0 && qmr_metadata_check_form(QMR_ROLE_ROOT, root, "the new root", err) < 0)
		r = qmr_error_set(err, -EINVAL,
				  "role %s would have %zu keys and threshold %d; nothing was done",
				  qmr_role_name(rotation->role),
				  json_array_size(qmr_root_keyids(root, rotation->role)),
				  qmr_root_threshold(root, rotation->role));
	return r;
}

static int rotate(struct qmr_publish_session *session,
		  const struct qmr_publish_arguments *arguments, struct rotation *rotation,
		  struct qmr_error *err)
{
	struct qmr_repository *repository = &session->repository;
	int r = qmr_repository_begin(repository, QMR_ROLE_ROOT, err);

	if (r == 0)
		r = plan_rotation(arguments, repository->next[QMR_ROLE_ROOT], rotation, err);
	/*
	 * Signed before it is changed: no key is made in vain, and it is known whether the owner's
	 * keys have a passphrase.
	 */
	if (r == 0)
		r = sign_root(session, err);
	if (r == 0)
		json_array_clear(json_object_get(repository->next[QMR_ROLE_ROOT], "signatures"));
	if (r == 0)
		r = change_root(session, arguments, rotation, err);
	if (r == 0)
		r = sign_root(session, err);
	/* With --to, targets are made anew once the new root is staged: refresh --role targets. */
	if (r == 0 && rotation->role == QMR_ROLE_TARGETS && !session->to)
		r = resign_targets(session, err);
	if (r < 0)
		return r;
	return qmr_publish_finish(session, 1u << QMR_ROLE_ROOT, 0, err);
}

int qmr_publish_rotate(const struct qmr_publish_arguments *arguments)
{
	int role = qmr_role_from_name(arguments->names[0]);
	struct qmr_publish_session session = {.repository.fd = -1, .ring.fd = -1};
	struct rotation rotation = {.role = role};
	struct qmr_error err = {0};
	int r;

	if (role < 0)
		r = qmr_error_set(&err, -EINVAL,
				  "'%s' is no role; root, targets, snapshot, timestamp are",
				  arguments->names[0]);
	else
		r = qmr_publish_begin(arguments, &session, &err);
	if (r == 0)
		r = rotate(&session, arguments, &rotation, &err);
	if (r >= 0 && *rotation.made)
		printf("new key: %s/%s\n", arguments->keys, rotation.made);
	else if (*rotation.made)
		qmr_warning(
			"the new key '%s/%s' was made; delete it unless list --json names its id",
			arguments->keys, rotation.made);
	if (r < 0)
		r = qmr_publish_failed("rotating a key", &session, &err);
	qmr_publish_done(&session);
	return r;
}

static int sign(struct qmr_publish_session *session, enum qmr_role role, const char *path,
		struct qmr_error *err)
{
	struct qmr_repository *repository = &session->repository;
	const json_t *next_root = repository->next[QMR_ROLE_ROOT];
	cleanup_json json_t *changes = NULL;
	struct qmr_key key = {0};
	int r, is_member;

	if (!repository->next[role])
		return qmr_error_set(err, -ENODATA, "nothing is staged for role %s",
				     qmr_role_name(role));
	if (role == QMR_ROLE_TARGETS && (r = qmr_publish_check_staged(repository, err)) < 0)
		return r;
	r = qmr_key_is_uri(path) ? qmr_key_load_uri(path, &session->ring.passphrase, &key, err)
				 : qmr_key_load(AT_FDCWD, path, &session->ring.passphrase, &key, err);
	if (r < 0)
		return r;
	is_member = qmr_root_has_key(repository->now[QMR_ROLE_ROOT], role, key.id) ||
		    (next_root && qmr_root_has_key(next_root, role, key.id));
	r = is_member
		    ? qmr_metadata_sign(repository->next[role], &key, err)
		    : qmr_error_set(err, -EBADMSG, "'%s' is no key of role %s; nothing was signed",
				    key.name, qmr_role_name(role));
	qmr_key_done(&key);
	if (r < 0)
		return r;
	changes = qmr_publish_changes(repository, role);
	printf("signed: %s %lld\n", qmr_role_name(role),
	       (long long)qmr_metadata_version(repository->next[role]));
	qmr_publish_print_changes(stdout, changes);
	return qmr_publish_finish(session, 1u << role, 0, err);
}

int qmr_publish_sign(const struct qmr_publish_arguments *arguments)
{
	struct qmr_publish_session session = {.repository.fd = -1, .ring.fd = -1};
	struct qmr_error err = {0};
	int role, r;

	if (arguments->roles == 1u << QMR_ROLE_ROOT || arguments->roles == 1u << QMR_ROLE_TARGETS) {
		role = arguments->roles == 1u << QMR_ROLE_ROOT ? QMR_ROLE_ROOT : QMR_ROLE_TARGETS;
		r = qmr_publish_begin(arguments, &session, &err);
		if (r == 0)
			r = sign(&session, role, arguments->key, &err);
	} else {
		r = qmr_error_set(
			&err, -EINVAL,
			"--role root or --role targets is needed: nothing else is staged");
	}
	if (r < 0)
		r = qmr_publish_failed("signing", &session, &err);
	qmr_publish_done(&session);
	return r;
}
