/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qmr-publish key: a key of one's own desk, for `rotate --public` elsewhere. */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>

#include "publish.h"

static int save_public(const struct qmr_publish_arguments *arguments, struct qmr_key_ring *ring, enum qmr_role role,
		       const struct qmr_key *key, const char *end, struct qmr_error *err)
{
	char name[64], public_name[64];
	int r;

	qmr_key_ring_name(role, key->id, end, name);
	qmr_key_ring_name(role, key->id, "pub.pem", public_name);
	r = qmr_key_save_public(ring->fd, public_name, key, err);
	if (r < 0)
		return r;
	printf("key: %s\nprivate: %s/%s\npublic: %s/%s\n", key->id, arguments->keys, name, arguments->keys, public_name);
	return fflush(stdout) < 0 ? qmr_error_errno(err, -errno, "writing to standard output") : 0;
}

/* A token may say only now that the PIN is wrong. */
static int try_key(const struct qmr_key *key, struct qmr_error *err)
{
	static const char text[] = "not metadata: a signature over this is of no use";
	char signature[QMR_KEY_SIGNATURE_HEX];
	int r = qmr_key_sign(key, text, sizeof(text), signature, err);

	if (r == 0 && !qmr_key_verify(key->public, signature, text, sizeof(text)))
		r = qmr_error_set(err, -EBADMSG, "'%s' makes signatures that its public half does not verify", key->name);
	return r;
}

static int make(const struct qmr_publish_arguments *arguments, enum qmr_role role, struct qmr_key_ring *ring,
		struct qmr_error *err)
{
	struct qmr_passphrase passphrase = {0};
	const struct qmr_key *made = NULL;
	struct qmr_key key = {0};
	int r = qmr_publish_passphrase(arguments, !arguments->uri, &passphrase, err);

	if (r == 0 && arguments->uri) {
		r = qmr_key_load_uri(arguments->uri, &passphrase, &key, err);
		if (r == 0 && (r = try_key(&key, err)) < 0)
			qmr_key_done(&key);
		if (r == 0)
			r = qmr_key_ring_note(ring, role, arguments->uri, &key, err);
		made = &ring->keys[0];
	} else if (r == 0) {
		r = qmr_key_ring_make(ring, role, &passphrase, &made, err);
	}
	OPENSSL_cleanse(&passphrase, sizeof(passphrase));
	return r < 0 ? r : save_public(arguments, ring, role, made, arguments->uri ? "uri" : "pem", err);
}

int qmr_publish_key(const struct qmr_publish_arguments *arguments)
{
	struct qmr_publish_session session = {.repository.fd = -1, .ring.fd = -1};
	int role = qmr_role_from_name(arguments->names[0]);
	struct qmr_error err = {0};
	int r = 0;

	if (role < 0)
		r = qmr_error_set(&err, -EINVAL, "'%s' is no role; root, targets, snapshot, timestamp are", arguments->names[0]);
	else if (mkdir(arguments->keys, 0700) < 0 && errno != EEXIST)
		r = qmr_error_errno(&err, -errno, "making the folder of keys '%s'", arguments->keys);
	if (r == 0)
		r = qmr_key_ring_open(arguments->keys, &session.ring, &err);
	if (r == 0)
		r = make(arguments, role, &session.ring, &err);
	if (r < 0)
		r = qmr_publish_failed("making a key", &session, &err);
	qmr_publish_done(&session);
	return r;
}
