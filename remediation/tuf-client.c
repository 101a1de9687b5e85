/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tuf-client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "log.h"
#include "tuf-key.h"

#define TARGET_NAME_MAX 512

/*
 * A missing or oversized file of the repository is a failed verification: something signed for it,
 * or it must exist.
 */
static int fetch(struct qmr_tuf_client *client, const char *what, const char *path,
		 size_t max_bytes, char **ret_data, size_t *ret_size, struct qmr_error *err)
{
	int r = client->repository.fetch(client->repository.user, path, max_bytes, ret_data,
					 ret_size, err);

	if (r == -ENOENT)
		return qmr_error_set(err, -EBADMSG, "%s: the repository has no '%s'", what, path);
	if (r == -EFBIG)
		return qmr_error_set(err, -EBADMSG, "%s: '%s' has more than %zu bytes", what, path,
				     max_bytes);
	return r;
}

static int accepted(struct qmr_tuf_client *client, const char *path, const char *kept_as,
		    const char *data, size_t size, struct qmr_error *err)
{
	return client->accepted ? client->accepted(client->user, path, kept_as, data, size, err)
				: 0;
}

/* Returns 1 with the file, or 0: a cache that cannot be read is an empty one. */
static int read_cache(struct qmr_tuf_client *client, const char *name, enum qmr_tuf_role role,
		      char **ret_data, size_t *ret_size)
{
	struct qmr_error why = {0};
	int r = client->cache.fetch(client->cache.user, name, qmr_tuf_role_max_bytes(role),
				    ret_data, ret_size, &why);

	if (r < 0 && r != -ENOENT)
		qmr_warning("cached '%s': %s; going on without it", name, why.text);
	return r == 0;
}

static void load_cached_roots(struct qmr_tuf_client *client)
{
	for (int i = 0; i < QMR_TUF_ROOTS_MAX; i++) {
		cleanup_free char *data = NULL;
		struct qmr_error why = {0};
		char name[64];
		size_t size;

		snprintf(name, sizeof(name), "%lld.root.json",
			 (long long)client->trusted.root.version + 1);
		if (!read_cache(client, name, QMR_TUF_ROOT, &data, &size))
			return;
		if (qmr_tuf_trusted_add_root(&client->trusted, data, size, &why) < 0) {
			qmr_warning("cached '%s': %s; going on without it", name, why.text);
			return;
		}
	}
}

static int add_root(struct qmr_tuf_client *client, const char *path, const char *data, size_t size,
		    struct qmr_error *err)
{
	int r = qmr_tuf_trusted_add_root(&client->trusted, data, size, err);

	if (r < 0)
		return r;
	/*
	 * Before the new root is kept: a cut between the two loses the lowest versions that were
	 * known, while the other way round a fast-forwarded version would stay for ever.
	 */
	if (!client->is_forgotten && qmr_tuf_trusted_has_rotated(&client->trusted)) {
		client->is_forgotten = 1;
		r = client->forget ? client->forget(client->user, err) : 0;
		if (r < 0)
			return r;
	}
	return accepted(client, path, strrchr(path, '/') + 1, data, size, err);
}

/* Section 5.3. */
static int update_root(struct qmr_tuf_client *client, struct qmr_error *err)
{
	for (int i = 0; i < QMR_TUF_ROOTS_MAX; i++) {
		cleanup_free char *data = NULL;
		char path[64];
		size_t size, max_bytes = qmr_tuf_role_max_bytes(QMR_TUF_ROOT);
		int r;

		snprintf(path, sizeof(path), "metadata/%lld.root.json",
			 (long long)client->trusted.root.version + 1);
		r = client->repository.fetch(client->repository.user, path, max_bytes, &data, &size,
					     err);
		if (r == -ENOENT)
			break;
		if (r == -EFBIG)
			return qmr_error_set(err, -EBADMSG, "root: '%s' has more than %zu bytes",
					     path, max_bytes);
		if (r == 0)
			r = add_root(client, path, data, size, err);
		if (r < 0)
			return r;
	}
	return qmr_tuf_trusted_roots_done(&client->trusted, err);
}

/* Section 5.4. */
static int update_timestamp(struct qmr_tuf_client *client, struct qmr_error *err)
{
	cleanup_free char *cached = NULL, *data = NULL;
	struct qmr_error why = {0};
	size_t size;
	int r;

	if (!client->is_forgotten &&
	    read_cache(client, "timestamp.json", QMR_TUF_TIMESTAMP, &cached, &size) &&
	    qmr_tuf_trusted_set_timestamp(&client->trusted, cached, size, QMR_TUF_CACHED, &why) < 0)
		qmr_warning("cached 'timestamp.json': %s; going on without it", why.text);
	r = fetch(client, "timestamp", "metadata/timestamp.json",
		  qmr_tuf_role_max_bytes(QMR_TUF_TIMESTAMP), &data, &size, err);
	if (r == 0)
		r = qmr_tuf_trusted_set_timestamp(&client->trusted, data, size, QMR_TUF_FETCHED,
						  err);
	if (r < 0)
		return r;
	return accepted(client, "metadata/timestamp.json", r == 1 ? "timestamp.json" : NULL, data,
			size, err);
}

/* Fetches what another file names; its signed length, if there is one, is the limit. */
static int fetch_named(struct qmr_tuf_client *client, enum qmr_tuf_role role,
		       const struct qmr_tuf_file *named, char ret_path[64], char **ret_data,
		       size_t *ret_size, struct qmr_error *err)
{
	size_t max_bytes = qmr_tuf_role_max_bytes(role);
	const char *name = qmr_tuf_role_name(role);

	if (named->length >= 0 && (uint64_t)named->length > max_bytes)
		return qmr_error_set(err, -EBADMSG,
				     "%s: its signed length, %lld, is more than %zu bytes", name,
				     (long long)named->length, max_bytes);
	if (named->length >= 0)
		max_bytes = (size_t)named->length;
	if (qmr_tuf_root_is_consistent(&client->trusted.root))
		snprintf(ret_path, 64, "metadata/%lld.%s.json", (long long)named->version, name);
	else
		snprintf(ret_path, 64, "metadata/%s.json", name);
	return fetch(client, name, ret_path, max_bytes, ret_data, ret_size, err);
}

/* Section 5.5. */
static int update_snapshot(struct qmr_tuf_client *client, struct qmr_error *err)
{
	cleanup_free char *cached = NULL, *data = NULL;
	struct qmr_error why = {0};
	struct qmr_tuf_file named;
	char path[64];
	size_t size;
	int r;

	if (!client->is_forgotten &&
	    read_cache(client, "snapshot.json", QMR_TUF_SNAPSHOT, &cached, &size)) {
		if (qmr_tuf_trusted_set_snapshot(&client->trusted, cached, size, QMR_TUF_FETCHED,
						 NULL) == 0)
			return 0; /* it is the very file that would be fetched */
		if (qmr_tuf_trusted_set_snapshot(&client->trusted, cached, size, QMR_TUF_CACHED,
						 &why) < 0)
			qmr_warning("cached 'snapshot.json': %s; going on without it", why.text);
	}
	if (!qmr_tuf_metadata_get_file(&client->trusted.timestamp, "snapshot.json", &named))
		return -EINVAL; /* a timestamp without it does not parse */
	r = fetch_named(client, QMR_TUF_SNAPSHOT, &named, path, &data, &size, err);
	if (r == 0)
		r = qmr_tuf_trusted_set_snapshot(&client->trusted, data, size, QMR_TUF_FETCHED,
						 err);
	return r < 0 ? r : accepted(client, path, "snapshot.json", data, size, err);
}

/*
 * Section 5.6. Delegated roles would be searched after this, per target; the top-level role is all
 * there is now.
 */
static int update_targets(struct qmr_tuf_client *client, struct qmr_error *err)
{
	cleanup_free char *cached = NULL, *data = NULL;
	struct qmr_tuf_file named;
	char path[64];
	size_t size;
	int r;

	/*
	 * A cached one that does not fit is an older one, or damaged: it sets no lowest version, so
	 * nothing is lost with it.
	 */
	if (read_cache(client, "targets.json", QMR_TUF_TARGETS, &cached, &size) &&
	    qmr_tuf_trusted_set_targets(&client->trusted, cached, size, NULL) == 0)
		return 0;
	if (!qmr_tuf_metadata_get_file(&client->trusted.snapshot, "targets.json", &named))
		return -EINVAL; /* a snapshot without it does not parse */
	r = fetch_named(client, QMR_TUF_TARGETS, &named, path, &data, &size, err);
	if (r == 0)
		r = qmr_tuf_trusted_set_targets(&client->trusted, data, size, err);
	return r < 0 ? r : accepted(client, path, "targets.json", data, size, err);
}

int qmr_tuf_client_refresh(struct qmr_tuf_client *client, const char *root, size_t root_size,
			   int64_t now_unix_s, struct qmr_error *err)
{
	struct qmr_error why = {0};
	int r = qmr_tuf_trusted_start(&client->trusted, root, root_size, now_unix_s, &why);

	client->is_forgotten = 0;
	if (r < 0)
		return qmr_error_set(err, r, "the trusted root of this system: %s", why.text);
	load_cached_roots(client);
	qmr_tuf_trusted_mark_known(&client->trusted);
	r = update_root(client, err);
	if (r == 0)
		r = update_timestamp(client, err);
	if (r == 0)
		r = update_snapshot(client, err);
	if (r == 0)
		r = update_targets(client, err);
	return r;
}

int qmr_tuf_target_name_is_plain(const char *name)
{
	if (strlen(name) > TARGET_NAME_MAX)
		return 0;
	for (const unsigned char *p = (const unsigned char *)name; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			return 0;
	for (const char *p = name;; p++) {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return 0;
		p += n;
		if (!*p)
			return 1;
	}
}

/* "targets/a/HASH.b" or, without consistent snapshots, "targets/a/b". */
static int target_path(const struct qmr_tuf_client *client, const char *name,
		       const struct qmr_tuf_file *file, char ret_path[QMR_TUF_PATH_MAX],
		       struct qmr_error *err)
{
	const char *base = strrchr(name, '/'), *hash = "", *dot = "";

	base = base ? base + 1 : name;
	if (qmr_tuf_root_is_consistent(&client->trusted.root)) {
		hash = qmr_tuf_hashes_name(file->hashes);
		dot = ".";
	}
	if (!hash)
		return qmr_error_set(
			err, -EBADMSG,
			"targets: the entry of '%.128s' has no hash of a kind that is known", name);
	if (!qmr_tuf_target_name_is_plain(name) ||
	    snprintf(ret_path, QMR_TUF_PATH_MAX, "targets/%.*s%s%s%s", (int)(base - name), name,
		     hash, dot, base) >= QMR_TUF_PATH_MAX)
		return qmr_error_set(err, -EBADMSG,
				     "targets: '%.128s' is no name to fetch a file by", name);
	return 0;
}

int qmr_tuf_client_fetch_target(struct qmr_tuf_client *client, const char *name, char **ret_data,
				size_t *ret_size, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	char path[QMR_TUF_PATH_MAX], what[192];
	struct qmr_tuf_file file;
	size_t size;
	int r;

	if (!qmr_tuf_metadata_get_target(&client->trusted.targets, name, &file))
		return qmr_error_set(err, -ENOENT, "targets: there is no target '%.128s'", name);
	snprintf(what, sizeof(what), "target '%.128s'", name);
	r = target_path(client, name, &file, path, err);
	if (r == 0)
		r = fetch(client, what, path, (size_t)file.length, &data, &size, err);
	if (r == 0)
		r = qmr_tuf_file_check(what, &file, data, size, err);
	if (r == 0)
		r = accepted(client, path, NULL, data, size, err);
	if (r < 0)
		return r;
	*ret_data = data;
	data = NULL;
	*ret_size = size;
	return 0;
}

void qmr_tuf_client_done(struct qmr_tuf_client *client)
{
	qmr_tuf_trusted_done(&client->trusted);
}
