/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tuf-client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "log.h"
#include "tuf-key.h"

#define TARGET_NAME_MAX 512 /* bytes */

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

/* A '/' stands in no other kept file's name: roles' are encoded. */
static void kept_root_name(long long version, char ret_name[64])
{
	snprintf(ret_name, 64, QMR_TUF_KEPT_ROOTS "/%lld.root.json", version);
}

static void load_cached_roots(struct qmr_tuf_client *client)
{
	for (int i = 0; i < QMR_TUF_ROOTS_MAX; i++) {
		cleanup_free char *data = NULL;
		struct qmr_error why = {0};
		char name[64];
		size_t size;

		kept_root_name((long long)client->trusted.root.version + 1, name);
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
	char kept_as[64];
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
	kept_root_name((long long)client->trusted.root.version, kept_as);
	return accepted(client, path, kept_as, data, size, err);
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
	return 0;
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

/*
 * Fetches what another file names; its signed length, if there is one, is the limit. encoded: the
 * role's name as it stands in a path.
 */
static int fetch_named(struct qmr_tuf_client *client, enum qmr_tuf_role role, const char *encoded,
		       const struct qmr_tuf_file *named, char ret_path[QMR_TUF_PATH_MAX],
		       char **ret_data, size_t *ret_size, struct qmr_error *err)
{
	size_t max_bytes = qmr_tuf_role_max_bytes(role);

	if (named->length >= 0 && (uint64_t)named->length > max_bytes)
		return qmr_error_set(err, -EBADMSG,
				     "%.128s: its signed length, %lld, is more than %zu bytes",
				     encoded, (long long)named->length, max_bytes);
	if (named->length >= 0)
		max_bytes = (size_t)named->length;
	if (qmr_tuf_root_is_consistent(&client->trusted.root))
		snprintf(ret_path, QMR_TUF_PATH_MAX, "metadata/%lld.%s.json",
			 (long long)named->version, encoded);
	else
		snprintf(ret_path, QMR_TUF_PATH_MAX, "metadata/%s.json", encoded);
	return fetch(client, encoded, ret_path, max_bytes, ret_data, ret_size, err);
}

/* Section 5.5. */
static int update_snapshot(struct qmr_tuf_client *client, struct qmr_error *err)
{
	cleanup_free char *cached = NULL, *data = NULL;
	struct qmr_error why = {0};
	struct qmr_tuf_file named;
	char path[QMR_TUF_PATH_MAX];
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
	r = fetch_named(client, QMR_TUF_SNAPSHOT, "snapshot", &named, path, &data, &size, err);
	if (r == 0)
		r = qmr_tuf_trusted_set_snapshot(&client->trusted, data, size, QMR_TUF_FETCHED,
						 err);
	return r < 0 ? r : accepted(client, path, "snapshot.json", data, size, err);
}

/* Section 5.6, the top-level role. */
static int update_targets(struct qmr_tuf_client *client, struct qmr_error *err)
{
	cleanup_free char *cached = NULL, *data = NULL;
	struct qmr_tuf_file named;
	char path[QMR_TUF_PATH_MAX];
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
	r = fetch_named(client, QMR_TUF_TARGETS, "targets", &named, path, &data, &size, err);
	if (r == 0)
		r = qmr_tuf_trusted_set_targets(&client->trusted, data, size, err);
	return r < 0 ? r : accepted(client, path, "targets.json", data, size, err);
}

/* The floor, if it is one of this root. */
static int get_own_floor(const struct qmr_tuf_client *client, const char *root, size_t root_size,
			 struct qmr_floor *ret_floor, struct qmr_error *err)
{
	uint64_t trust;
	int r = qmr_tuf_short_hash(root, root_size, &trust, err);

	if (r < 0)
		return r;
	memset(ret_floor, 0, sizeof(*ret_floor));
	if (client->floor.trust == trust)
		*ret_floor = client->floor;
	ret_floor->trust = trust;
	return 0;
}

int qmr_tuf_client_get_floor(const struct qmr_tuf_client *client, const char *root,
			     size_t root_size, struct qmr_floor *ret_floor, struct qmr_error *err)
{
	struct qmr_floor floor, now;
	int r = get_own_floor(client, root, root_size, &floor, err);

	if (r < 0)
		return r;
	now = floor;
	/* A run that did not come as far as the root that is remembered has nothing to say. */
	if (client->trusted.root.json && client->trusted.root.version >= floor.root)
		r = qmr_tuf_trusted_get_floor(&client->trusted, &now, err);
	if (r < 0)
		return r;
	if (now.keys == floor.keys) {
		now.timestamp = now.timestamp > floor.timestamp ? now.timestamp : floor.timestamp;
		now.snapshot = now.snapshot > floor.snapshot ? now.snapshot : floor.snapshot;
		now.targets = now.targets > floor.targets ? now.targets : floor.targets;
	}
	*ret_floor = now;
	return 0;
}

int qmr_tuf_client_refresh(struct qmr_tuf_client *client, const char *root, size_t root_size,
			   int64_t now_unix_s, struct qmr_error *err)
{
	struct qmr_error why = {0};
	struct qmr_floor floor;
	int r = qmr_tuf_trusted_start(&client->trusted, root, root_size, now_unix_s, &why);

	client->is_forgotten = 0;
	if (r < 0)
		return qmr_error_set(err, r, "the trusted root of this system: %s", why.text);
	load_cached_roots(client);
	qmr_tuf_trusted_mark_known(&client->trusted);
	r = get_own_floor(client, root, root_size, &floor, err);
	if (r == 0)
		r = update_root(client, err);
	if (r == 0)
		r = qmr_tuf_trusted_set_floor(&client->trusted, &floor, err);
	if (r == 0)
		r = qmr_tuf_trusted_roots_done(&client->trusted, err);
	if (r == 0)
		r = update_timestamp(client, err);
	if (r == 0)
		r = update_snapshot(client, err);
	if (r == 0)
		r = update_targets(client, err);
	return r;
}

/* RFC 3986, section 2.3 */
static const char unreserved[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

/*
 * Section 3.3: what else stands for itself in a path, which servers that decode nothing count on.
 * Not '+', of which some make a space.
 */
static const char also_in_urls[] = "/!$&'()*,;=:@";

int qmr_tuf_percent_encode(const char *text, const char *also, char *ret, size_t size)
{
	size_t used = 0;

	for (; *text; text++) {
		int is_plain = strchr(unreserved, *text) || strchr(also, *text);

		if (used + (is_plain ? 1 : 3) >= size)
			return -ENAMETOOLONG;
		used += (size_t)sprintf(ret + used, is_plain ? "%c" : "%%%02X",
					(unsigned char)*text);
	}
	ret[used] = '\0';
	return (int)used;
}

/* Section 5.6.7: delegations still to be followed, the next one last. */
struct search {
	struct edge {
		struct qmr_tuf_delegation
			delegation; /* of which role and keys are owned references */
	} * edges;
	size_t n, room;
	json_t *visited; /* an object: names of roles */
};

static void drop_edge(struct search *search)
{
	struct qmr_tuf_delegation *d = &search->edges[--search->n].delegation;

	json_decref((json_t *)d->role);
	json_decref((json_t *)d->keys);
}

static void end_search(struct search *search)
{
	while (search->n > 0)
		drop_edge(search);
	free(search->edges);
	json_decref(search->visited);
}

static int add_edge(void *user, const struct qmr_tuf_delegation *delegation, struct qmr_error *err)
{
	struct search *search = user;

	if (json_object_get(search->visited, delegation->name))
		return 0;
	if (search->n == search->room) {
		size_t room = search->room ? 2 * search->room : 16;
		struct edge *edges = reallocarray(search->edges, room, sizeof(*edges));

		if (!edges)
			return qmr_error_set(err, -ENOMEM, "following delegations: out of memory");
		search->edges = edges;
		search->room = room;
	}
	search->edges[search->n++].delegation = *delegation;
	json_incref((json_t *)delegation->role);
	json_incref((json_t *)delegation->keys);
	return 0;
}

static void reverse(struct edge *edges, size_t n)
{
	for (size_t i = 0; i < n / 2; i++) {
		struct edge edge = edges[i];

		edges[i] = edges[n - 1 - i];
		edges[n - 1 - i] = edge;
	}
}

/* Puts what a role delegates to on top. what is a target, or a folder of them, and is_folder. */
static int push_delegations(struct search *search, const struct qmr_tuf_metadata *from,
			    const char *what, int is_folder, struct qmr_error *err)
{
	const json_t *delegations = json_object_get(from->content, "delegations");
	size_t before = search->n;
	int r = is_folder
			? qmr_tuf_delegations_match_folder(delegations, what, add_edge, search, err)
			: qmr_tuf_delegations_match(delegations, what, add_edge, search, err);

	if (r < 0)
		return r;
	reverse(search->edges + before, search->n - before);
	if (r == 0)
		return 0;
	/* Terminating: only what was just added stays. */
	reverse(search->edges, search->n);
	reverse(search->edges, search->n - before);
	while (before-- > 0)
		drop_edge(search);
	return 0;
}

/* Sections 5.6.1 to 5.6.6 for a delegated role. */
static int load_delegated(struct qmr_tuf_client *client, const struct qmr_tuf_delegation *d,
			  struct qmr_error *err)
{
	char encoded[3 * QMR_TUF_ROLE_NAME_MAX], kept_as[256], path[QMR_TUF_PATH_MAX];
	cleanup_free char *cached = NULL, *data = NULL;
	struct qmr_tuf_file named;
	int r, is_kept;
	size_t size;

	(void)qmr_tuf_percent_encode(d->name, "", encoded, sizeof(encoded)); /* there is room */
	is_kept = strlen(encoded) <= QMR_TUF_KEPT_ROLE_MAX;
	if (is_kept) {
		snprintf(kept_as, sizeof(kept_as), "%.*s.json", QMR_TUF_KEPT_ROLE_MAX, encoded);
		if (read_cache(client, kept_as, QMR_TUF_TARGETS, &cached, &size) &&
		    qmr_tuf_trusted_set_delegated(&client->trusted, d, cached, size, NULL) == 0)
			return 0;
	}
	r = qmr_tuf_trusted_get_delegated_file(&client->trusted, d->name, &named, err);
	if (r == 0)
		r = fetch_named(client, QMR_TUF_TARGETS, encoded, &named, path, &data, &size, err);
	if (r == 0)
		r = qmr_tuf_trusted_set_delegated(&client->trusted, d, data, size, err);
	return r < 0 ? r : accepted(client, path, is_kept ? kept_as : NULL, data, size, err);
}

/* Takes the next delegation off the search. 1 with its role, or NULL if that was visited before; 0:
 * that was all. */
static int visit_next(struct qmr_tuf_client *client, struct search *search,
		      const struct qmr_tuf_metadata **ret_role, struct qmr_error *err)
{
	const struct qmr_tuf_delegation *next;
	const struct qmr_tuf_metadata *role;
	int r = 0;

	if (search->n == 0)
		return 0;
	*ret_role = NULL;
	next = &search->edges[search->n - 1].delegation;
	if (json_object_get(search->visited, next->name)) {
		drop_edge(search);
		return 1;
	}
	if (json_object_size(search->visited) == QMR_TUF_DELEGATIONS_MAX) {
		qmr_warning("more than %d delegated roles would have to be looked at; the others "
			    "are not",
			    QMR_TUF_DELEGATIONS_MAX);
		return 0;
	}
	role = qmr_tuf_trusted_get_delegated(&client->trusted, next);
	if (!role) {
		r = load_delegated(client, next, err);
		if (r == 0)
			role = qmr_tuf_trusted_get_delegated(&client->trusted, next);
	}
	if (r == 0 && json_object_set_new(search->visited, next->name, json_true()) < 0)
		r = qmr_error_set(err, -ENOMEM, "following delegations: out of memory");
	drop_edge(search);
	*ret_role = role;
	return r < 0 ? r : 1;
}

static int start_search(struct search *search, struct qmr_error *err)
{
	search->visited = json_object();
	return search->visited
		       ? 0
		       : qmr_error_set(err, -ENOMEM, "following delegations: out of memory");
}

int qmr_tuf_client_find_target(struct qmr_tuf_client *client, const char *name,
			       struct qmr_tuf_file *ret_file, struct qmr_error *err)
{
	const struct qmr_tuf_metadata *role = &client->trusted.targets;
	struct search search = {0};
	int r = start_search(&search, err);

	while (r >= 0) {
		if (role && qmr_tuf_metadata_get_target(role, name, ret_file))
			break;
		if (role)
			r = push_delegations(&search, role, name, 0, err);
		if (r >= 0)
			r = visit_next(client, &search, &role, err);
		if (r == 0)
			r = qmr_error_set(err, -ENOENT, "targets: there is no target '%.128s'",
					  name);
	}
	end_search(&search);
	return r < 0 ? r : 0;
}

int qmr_tuf_client_each_role(struct qmr_tuf_client *client, const char *folder, qmr_tuf_role_fn *fn,
			     void *user, struct qmr_error *err)
{
	const struct qmr_tuf_metadata *role = &client->trusted.targets;
	struct search search = {0};
	int r = start_search(&search, err);

	do {
		if (r >= 0 && role)
			r = fn(user, role, err);
		if (r >= 0 && role)
			r = push_delegations(&search, role, folder, 1, err);
		if (r >= 0)
			r = visit_next(client, &search, &role, err);
	} while (r > 0);
	end_search(&search);
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
	char encoded[3 * TARGET_NAME_MAX + 1];
	const char *base, *hash = "", *dot = "";

	if (!qmr_tuf_target_name_is_plain(name))
		return qmr_error_set(err, -EBADMSG,
				     "targets: '%.128s' is no name to fetch a file by", name);
	/* There is room. */
	(void)qmr_tuf_percent_encode(name, also_in_urls, encoded, sizeof(encoded));
	base = strrchr(encoded, '/');
	base = base ? base + 1 : encoded;
	if (qmr_tuf_root_is_consistent(&client->trusted.root)) {
		hash = qmr_tuf_hashes_name(file->hashes);
		dot = ".";
	}
	if (!hash)
		return qmr_error_set(
			err, -EBADMSG,
			"targets: the entry of '%.128s' has no hash of a kind that is known", name);
	if (snprintf(ret_path, QMR_TUF_PATH_MAX, "targets/%.*s%s%s%s", (int)(base - encoded),
		     encoded, hash, dot, base) >= QMR_TUF_PATH_MAX)
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

	r = qmr_tuf_client_find_target(client, name, &file, err);
	snprintf(what, sizeof(what), "target '%.128s'", name);
	if (r == 0)
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
