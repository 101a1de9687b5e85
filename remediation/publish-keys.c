/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "publish-keys.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

#define URI_BYTES_MAX QMR_PASSPHRASE_BYTES_MAX

int qmr_key_ring_open(const char *path, struct qmr_key_ring *ring, struct qmr_error *err)
{
	ring->fd = -1;
	ring->path = path;
	if (!path)
		return 0;
	ring->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return ring->fd < 0 ? qmr_error_errno(err, -errno, "opening the folder of keys '%s'", path)
			    : 0;
}

void qmr_key_ring_done(struct qmr_key_ring *ring)
{
	for (size_t i = 0; i < ring->n_keys; i++)
		qmr_key_done(&ring->keys[i]);
	ring->n_keys = 0;
	if (ring->fd >= 0)
		close(ring->fd);
	ring->fd = -1;
	OPENSSL_cleanse(&ring->passphrase, sizeof(ring->passphrase));
}

int qmr_key_ring_take(struct qmr_key_ring *ring, struct qmr_key *key, struct qmr_error *err)
{
	if (ring->n_keys == QMR_KEY_RING_MAX) {
		qmr_key_done(key);
		return qmr_error_set(err, -E2BIG, "more than %d keys are in use", QMR_KEY_RING_MAX);
	}
	ring->keys[ring->n_keys++] = *key;
	memset(key, 0, sizeof(*key));
	return 0;
}

void qmr_key_ring_name(enum qmr_role role, const char *keyid, const char *end, char ret_name[64])
{
	snprintf(ret_name, 64, "%s-%.16s.%s", qmr_role_name(role), keyid, end);
}

int qmr_key_ring_note(struct qmr_key_ring *ring, enum qmr_role role, const char *uri, struct qmr_key *key,
		      struct qmr_error *err)
{
	char name[64], line[URI_BYTES_MAX + 2];
	int n = snprintf(line, sizeof(line), "%s\n", uri), r = 0;

	qmr_key_ring_name(role, key->id, "uri", name);
	if (n >= (int)sizeof(line) || strpbrk(uri, "\r\n"))
		r = qmr_error_set(err, -EINVAL, "a URI has more than %d bytes, or more than one line", URI_BYTES_MAX);
	if (r == 0) /* it may hold a PIN */
		r = qmr_file_replace(ring->fd, name, line, (size_t)n, 0600, err);
	if (r < 0) {
		qmr_key_done(key);
		return r;
	}
	return qmr_key_ring_take(ring, key, err);
}

/* The key of the folder, by its file or by where that says it is; -ENOENT if there is neither. */
static int load(struct qmr_key_ring *ring, enum qmr_role role, const char *keyid, char ret_name[64], struct qmr_key *ret_key,
		struct qmr_error *err)
{
	struct qmr_passphrase line = {0};
	char path[4096];
	int r;

	qmr_key_ring_name(role, keyid, "pem", ret_name);
	if (faccessat(ring->fd, ret_name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
		return qmr_key_load(ring->fd, ret_name, &ring->passphrase, ret_key, err);
	qmr_key_ring_name(role, keyid, "uri", ret_name);
	if (faccessat(ring->fd, ret_name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return -ENOENT;
	if (snprintf(path, sizeof(path), "%s/%s", ring->path, ret_name) >= (int)sizeof(path))
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", ring->path);
	r = qmr_passphrase_load(path, &line, err); /* a secret of one line is what it is */
	if (r == 0)
		r = qmr_key_load_uri(line.text, &ring->passphrase, ret_key, err);
	OPENSSL_cleanse(&line, sizeof(line));
	return r;
}

int qmr_key_ring_make(struct qmr_key_ring *ring, enum qmr_role role,
		      const struct qmr_passphrase *passphrase, const struct qmr_key **ret_key,
		      struct qmr_error *err)
{
	struct qmr_key key = {0};
	char name[64];
	int r = qmr_key_generate(&key, err);

	if (r < 0)
		return r;
	qmr_key_ring_name(role, key.id, "pem", name);
	r = qmr_key_save(ring->fd, name, &key, passphrase, err);
	if (r < 0) {
		qmr_key_done(&key);
		return r;
	}
	r = qmr_key_ring_take(ring, &key, err);
	if (r == 0)
		*ret_key = &ring->keys[ring->n_keys - 1];
	return r;
}

/* *ret_key stays NULL if the key is not at hand. */
static int find(struct qmr_key_ring *ring, enum qmr_role role, const char *keyid,
		const struct qmr_key **ret_key, struct qmr_error *err)
{
	struct qmr_key key = {0};
	char name[64];
	int r;

	for (size_t i = 0; i < ring->n_keys; i++)
		if (!strcmp(ring->keys[i].id, keyid)) {
			*ret_key = &ring->keys[i];
			return 0;
		}
	if (ring->fd < 0)
		return 0;
	r = load(ring, role, keyid, name, &key, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (strcmp(key.id, keyid)) {
		qmr_key_done(&key);
		return qmr_error_set(err, -EBADMSG, "'%s/%s' holds another key than its name says",
				     ring->path, name);
	}
	r = qmr_key_ring_take(ring, &key, err);
	if (r == 0)
		*ret_key = &ring->keys[ring->n_keys - 1];
	return r;
}

int qmr_key_ring_sign(struct qmr_key_ring *ring, const json_t *root, enum qmr_role role,
		      json_t *document, struct qmr_error *err)
{
	const json_t *keyids = qmr_root_keyids(root, role), *keyid;
	int threshold = qmr_root_threshold(root, role);
	int count = qmr_metadata_count(root, role, document, err);
	size_t i;

	json_array_foreach (keyids, i, keyid) {
		const struct qmr_key *key = NULL;
		int r;

		if (count < 0 || count >= threshold)
			break;
		r = find(ring, role, json_string_value(keyid), &key, err);
		if (r == 0 && key)
			r = qmr_metadata_sign(document, key, err);
		if (r < 0)
			return r;
		if (key)
			count = qmr_metadata_count(root, role, document, err);
	}
	return count < 0 ? count : count < threshold ? threshold - count : 0;
}
