/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tuf-trusted.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "hash.h"
#include "json.h"

#define cleanup_metadata __attribute__((cleanup(qmr_tuf_metadata_done)))

/* Moves a metadata into its place in the set. */
static void replace(struct qmr_tuf_metadata *place, struct qmr_tuf_metadata *metadata)
{
	qmr_tuf_metadata_done(place);
	*place = *metadata;
	memset(metadata, 0, sizeof(*metadata));
}

static int check_expiry(const struct qmr_tuf_trusted *set, const struct qmr_tuf_metadata *metadata,
			struct qmr_error *err)
{
	const char *expires = qmr_json_string(metadata->content, "expires");

	if (metadata->expires_unix_s > set->now_unix_s)
		return 0;
	return qmr_error_set(
		err, -EBADMSG,
		"%s: version %lld expired at %s, and it is %lld s later (or the clock is wrong)",
		qmr_tuf_role_name(metadata->role), (long long)metadata->version, expires,
		(long long)(set->now_unix_s - metadata->expires_unix_s));
}

int qmr_tuf_trusted_start(struct qmr_tuf_trusted *set, const char *root, size_t size,
			  int64_t now_unix_s, struct qmr_error *err)
{
	int r, any_key_ids = set->any_key_ids;

	memset(set, 0, sizeof(*set));
	set->any_key_ids = any_key_ids;
	set->now_unix_s = now_unix_s;
	r = qmr_tuf_metadata_parse_with(QMR_TUF_ROOT, any_key_ids, root, size, &set->root, err);
	/*
	 * It is trusted for where it came from, but one that is not even its own would only fail
	 * later, and less clearly.
	 */
	return r < 0 ? r : qmr_tuf_metadata_check_signed(&set->root, &set->root, err);
}

static void drop_delegated(struct qmr_tuf_delegated *d)
{
	free(d->name);
	json_decref(d->role);
	json_decref(d->keys);
	qmr_tuf_metadata_done(&d->metadata);
	memset(d, 0, sizeof(*d));
}

void qmr_tuf_trusted_done(struct qmr_tuf_trusted *set)
{
	qmr_tuf_metadata_done(&set->root);
	qmr_tuf_metadata_done(&set->timestamp);
	qmr_tuf_metadata_done(&set->snapshot);
	qmr_tuf_metadata_done(&set->targets);
	json_decref(set->known_roles);
	set->known_roles = NULL;
	for (size_t i = 0; i < QMR_TUF_DELEGATED_MAX; i++)
		drop_delegated(&set->delegated[i]);
}

int qmr_tuf_trusted_add_root(struct qmr_tuf_trusted *set, const char *data, size_t size,
			     struct qmr_error *err)
{
	cleanup_metadata struct qmr_tuf_metadata root = {0};
	int r = qmr_tuf_metadata_parse_with(QMR_TUF_ROOT, set->any_key_ids, data, size, &root, err);

	if (r == 0)
		r = qmr_tuf_metadata_check_signed(&root, &set->root, err);
	if (r == 0)
		r = qmr_tuf_metadata_check_signed(&root, &root, err);
	if (r < 0)
		return r;
	if (root.version != set->root.version + 1)
		return qmr_error_set(err, -EBADMSG,
				     "root: version %lld stands where version %lld is due",
				     (long long)root.version, (long long)set->root.version + 1);
	replace(&set->root, &root);
	return 0;
}

void qmr_tuf_trusted_mark_known(struct qmr_tuf_trusted *set)
{
	json_decref(set->known_roles);
	set->known_roles = json_incref(json_object_get(set->root.content, "roles"));
}

static int has_keyid(const json_t *keyids, const json_t *keyid)
{
	const json_t *item;
	size_t i;

	json_array_foreach (keyids, i, item)
		if (json_equal(item, keyid))
			return 1;
	return 0;
}

static int has_same_keys(const json_t *roles_a, const json_t *roles_b, enum qmr_tuf_role role)
{
	const char *name = qmr_tuf_role_name(role);
	const json_t *a = json_object_get(json_object_get(roles_a, name), "keyids");
	const json_t *b = json_object_get(json_object_get(roles_b, name), "keyids");
	const json_t *keyid;
	size_t i;

	/* Neither list holds an id twice, so equal counts make one inclusion enough. */
	if (json_array_size(a) != json_array_size(b))
		return 0;
	json_array_foreach (a, i, keyid)
		if (!has_keyid(b, keyid))
			return 0;
	return 1;
}

int qmr_tuf_trusted_has_rotated(const struct qmr_tuf_trusted *set)
{
	const json_t *now = json_object_get(set->root.content, "roles");

	return set->known_roles && (!has_same_keys(set->known_roles, now, QMR_TUF_TIMESTAMP) ||
				    !has_same_keys(set->known_roles, now, QMR_TUF_SNAPSHOT));
}

static int compare_ids(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The ids of timestamp's and snapshot's keys, each role's in order, a line each. */
static char *list_key_ids(const struct qmr_tuf_trusted *set)
{
	const json_t *all = json_object_get(set->root.content, "roles"), *keyid;
	cleanup_free char *text = NULL;
	size_t size, i;
	FILE *out = open_memstream(&text, &size);
	char *done;

	for (int role = QMR_TUF_TIMESTAMP; out && role <= QMR_TUF_SNAPSHOT; role++) {
		const json_t *keyids = json_object_get(
			json_object_get(all, qmr_tuf_role_name((enum qmr_tuf_role)role)), "keyids");
		cleanup_free const char **ids = calloc(json_array_size(keyids) + 1, sizeof(*ids));

		json_array_foreach (keyids, i, keyid)
			if (ids)
				ids[i] = json_string_value(keyid);
		if (ids)
			qsort(ids, json_array_size(keyids), sizeof(*ids), compare_ids);
		fprintf(out, "%s\n", qmr_tuf_role_name((enum qmr_tuf_role)role));
		for (i = 0; ids && ids[i]; i++)
			fprintf(out, "%s\n", ids[i]);
		if (!ids) {
			fclose(out);
			return NULL;
		}
	}
	if (!out || fclose(out) != 0)
		return NULL;
	done = text;
	text = NULL;
	return done;
}

int qmr_tuf_short_hash(const void *data, size_t size, uint64_t *ret_hash, struct qmr_error *err)
{
	char hex[QMR_SHA256_HEX];
	int r = qmr_sha256(data, size, hex, err);

	if (r < 0)
		return r;
	hex[16] = '\0';
	*ret_hash = strtoull(hex, NULL, 16);
	return 0;
}

static int hash_keys(const struct qmr_tuf_trusted *set, uint64_t *ret_hash, struct qmr_error *err)
{
	cleanup_free char *ids = list_key_ids(set);

	return ids ? qmr_tuf_short_hash(ids, strlen(ids), ret_hash, err)
		   : qmr_error_set(err, -ENOMEM,
				   "looking at the keys of timestamp and snapshot: out of memory");
}

int qmr_tuf_trusted_set_floor(struct qmr_tuf_trusted *set, const struct qmr_floor *floor,
			      struct qmr_error *err)
{
	uint64_t keys;
	int r = hash_keys(set, &keys, err);

	if (r < 0)
		return r;
	if (set->root.version < floor->root)
		return qmr_error_set(err, -EBADMSG,
				     "root: version %lld is older than %u, which the boot state "
				     "remembers: a rollback",
				     (long long)set->root.version, floor->root);
	memset(&set->floor, 0, sizeof(set->floor));
	if (keys == floor->keys)
		set->floor = *floor;
	return 0;
}

static uint32_t cut_version(const struct qmr_tuf_metadata *metadata)
{
	return metadata->version < UINT32_MAX ? (uint32_t)metadata->version : UINT32_MAX;
}

int qmr_tuf_trusted_get_floor(const struct qmr_tuf_trusted *set, struct qmr_floor *ret_floor,
			      struct qmr_error *err)
{
	int r = hash_keys(set, &ret_floor->keys, err);

	if (r < 0)
		return r;
	ret_floor->root = cut_version(&set->root);
	ret_floor->timestamp = cut_version(&set->timestamp);
	ret_floor->snapshot = cut_version(&set->snapshot);
	ret_floor->targets = cut_version(&set->targets);
	return 0;
}

static int check_floor(const char *who, const char *whose, int64_t version, uint32_t floor,
		       struct qmr_error *err)
{
	if (version >= floor)
		return 0;
	return qmr_error_set(
		err, -EBADMSG,
		"%s: version %lld%s is older than %u, which the boot state remembers: a rollback",
		who, (long long)version, whose, floor);
}

int qmr_tuf_trusted_roots_done(const struct qmr_tuf_trusted *set, struct qmr_error *err)
{
	return check_expiry(set, &set->root, err);
}

/* Sections 5.4.2, 5.5.3 and 5.6.3: read, and signed as the trusted root asks. */
static int load(const struct qmr_tuf_trusted *set, enum qmr_tuf_role role, const char *data,
		size_t size, struct qmr_tuf_metadata *ret_metadata, struct qmr_error *err)
{
	int r = qmr_tuf_metadata_parse_with(role, set->any_key_ids, data, size, ret_metadata, err);

	return r < 0 ? r : qmr_tuf_metadata_check_signed(ret_metadata, &set->root, err);
}

int qmr_tuf_trusted_set_timestamp(struct qmr_tuf_trusted *set, const char *data, size_t size,
				  enum qmr_tuf_origin origin, struct qmr_error *err)
{
	cleanup_metadata struct qmr_tuf_metadata timestamp = {0};
	struct qmr_tuf_file old = {0}, new = {0};
	int r = load(set, QMR_TUF_TIMESTAMP, data, size, &timestamp, err);

	if (r < 0)
		return r;
	if (origin == QMR_TUF_FETCHED)
		r = check_floor("timestamp", "", timestamp.version, set->floor.timestamp, err);
	if (r < 0)
		return r;
	if (set->timestamp.json && timestamp.version < set->timestamp.version)
		return qmr_error_set(err, -EBADMSG,
				     "timestamp: version %lld is older than %lld, which was seen "
				     "before: a rollback",
				     (long long)timestamp.version,
				     (long long)set->timestamp.version);
	if (set->timestamp.json && timestamp.version == set->timestamp.version) {
		r = check_expiry(set, &set->timestamp, err);
		return r < 0 ? r : 0;
	}
	/* There is one, or it would not have parsed. */
	(void)qmr_tuf_metadata_get_file(&timestamp, "snapshot.json", &new);
	if (set->timestamp.json &&
	    qmr_tuf_metadata_get_file(&set->timestamp, "snapshot.json", &old) &&
	    new.version < old.version)
		return qmr_error_set(err, -EBADMSG,
				     "timestamp: it names version %lld of snapshot, older than "
				     "%lld, which was seen before: a rollback",
				     (long long)new.version, (long long)old.version);
	if (origin == QMR_TUF_FETCHED) {
		r = check_floor("timestamp", " of snapshot, which it names,", new.version,
				set->floor.snapshot, err);
		if (r == 0)
			r = check_expiry(set, &timestamp, err);
		if (r < 0)
			return r;
	}
	replace(&set->timestamp, &timestamp);
	return 1;
}

static int check_snapshot_version(const struct qmr_tuf_trusted *set,
				  const struct qmr_tuf_metadata *snapshot, struct qmr_error *err)
{
	struct qmr_tuf_file named = {0};

	if (qmr_tuf_metadata_get_file(&set->timestamp, "snapshot.json", &named) &&
	    snapshot->version == named.version)
		return 0;
	return qmr_error_set(err, -EBADMSG,
			     "snapshot: version %lld is not the one that timestamp names, %lld",
			     (long long)snapshot->version, (long long)named.version);
}

/* Section 5.5.5: what was listed stays listed, with no lower version. */
static int check_snapshot_rollback(const struct qmr_tuf_metadata *old,
				   const struct qmr_tuf_metadata *new, struct qmr_error *err)
{
	const json_t *files = json_object_get(old->content, "meta"), *entry;
	const char *name;

	json_object_foreach ((json_t *)files, name, entry) {
		int64_t version = json_integer_value(json_object_get(entry, "version"));
		struct qmr_tuf_file file = {0};

		if (!qmr_tuf_metadata_get_file(new, name, &file))
			return qmr_error_set(err, -EBADMSG,
					     "snapshot: it no longer lists '%.128s': a rollback",
					     name);
		if (file.version < version)
			return qmr_error_set(err, -EBADMSG,
					     "snapshot: it names version %lld of '%.128s', older "
					     "than %lld, which was seen before: a rollback",
					     (long long)file.version, name, (long long)version);
	}
	return 0;
}

int qmr_tuf_trusted_set_snapshot(struct qmr_tuf_trusted *set, const char *data, size_t size,
				 enum qmr_tuf_origin origin, struct qmr_error *err)
{
	cleanup_metadata struct qmr_tuf_metadata snapshot = {0};
	struct qmr_tuf_file named = {0};
	int r = 0;

	if (!qmr_tuf_metadata_get_file(&set->timestamp, "snapshot.json", &named))
		return qmr_error_set(err, -EINVAL, "snapshot: there is no trusted timestamp yet");
	if (origin == QMR_TUF_FETCHED)
		r = qmr_tuf_file_check("snapshot", &named, data, size, err);
	if (r == 0)
		r = load(set, QMR_TUF_SNAPSHOT, data, size, &snapshot, err);
	if (r == 0 && origin == QMR_TUF_FETCHED)
		r = check_snapshot_version(set, &snapshot, err);
	if (r == 0 && set->snapshot.json)
		r = check_snapshot_rollback(&set->snapshot, &snapshot, err);
	if (r == 0 && origin == QMR_TUF_FETCHED)
		r = check_floor("snapshot", "", snapshot.version, set->floor.snapshot, err);
	if (r == 0 && origin == QMR_TUF_FETCHED &&
	    qmr_tuf_metadata_get_file(&snapshot, "targets.json", &named))
		r = check_floor("snapshot", " of targets, which it names,", named.version,
				set->floor.targets, err);
	if (r == 0 && origin == QMR_TUF_FETCHED)
		r = check_expiry(set, &snapshot, err);
	if (r < 0)
		return r;
	replace(&set->snapshot, &snapshot);
	return 0;
}

/* The trusted snapshot may still be a cached one, which sets lowest versions and names no file. */
static int check_snapshot(const struct qmr_tuf_trusted *set, struct qmr_error *err)
{
	int r;

	if (!set->snapshot.json)
		return qmr_error_set(err, -EINVAL, "targets: there is no trusted snapshot yet");
	r = check_snapshot_version(set, &set->snapshot, err);
	return r < 0 ? r : check_expiry(set, &set->snapshot, err);
}

/* Sections 5.6.2 to 5.6.5 after the signatures. */
static int check_targets(const struct qmr_tuf_trusted *set, const struct qmr_tuf_metadata *targets,
			 const struct qmr_tuf_file *named, struct qmr_error *err)
{
	if (targets->version != named->version)
		return qmr_error_set(
			err, -EBADMSG,
			"targets: version %lld is not the one that snapshot names, %lld",
			(long long)targets->version, (long long)named->version);
	return check_expiry(set, targets, err);
}

int qmr_tuf_trusted_set_targets(struct qmr_tuf_trusted *set, const char *data, size_t size,
				struct qmr_error *err)
{
	cleanup_metadata struct qmr_tuf_metadata targets = {0};
	struct qmr_tuf_file named = {0};
	int r = check_snapshot(set, err);

	if (r < 0)
		return r;
	/* There is one, or it would not have parsed. */
	(void)qmr_tuf_metadata_get_file(&set->snapshot, "targets.json", &named);
	r = qmr_tuf_file_check("targets", &named, data, size, err);
	if (r == 0)
		r = load(set, QMR_TUF_TARGETS, data, size, &targets, err);
	if (r == 0)
		r = check_targets(set, &targets, &named, err);
	if (r < 0)
		return r;
	replace(&set->targets, &targets);
	return 0;
}

int qmr_tuf_trusted_get_delegated_file(const struct qmr_tuf_trusted *set, const char *role,
				       struct qmr_tuf_file *ret_file, struct qmr_error *err)
{
	char name[QMR_TUF_ROLE_NAME_MAX + 8];

	snprintf(name, sizeof(name), "%s.json", role);
	return qmr_tuf_metadata_get_file(&set->snapshot, name, ret_file)
		       ? 0
		       : qmr_error_set(
				 err, -EBADMSG,
				 "role '%.128s': it is delegated to, and snapshot does not list it",
				 role);
}

static struct qmr_tuf_delegated *find_delegated(const struct qmr_tuf_trusted *set, const char *name)
{
	for (size_t i = 0; i < QMR_TUF_DELEGATED_MAX; i++)
		if (set->delegated[i].name && !strcmp(set->delegated[i].name, name))
			return (struct qmr_tuf_delegated *)&set->delegated[i];
	return NULL;
}

static int check_signed_by(const struct qmr_tuf_metadata *metadata,
			   const struct qmr_tuf_delegation *d, struct qmr_error *err)
{
	return qmr_tuf_metadata_check_signed_by(metadata, d->role, d->keys, "its delegation", err);
}

static int load_delegated(const struct qmr_tuf_trusted *set, const struct qmr_tuf_delegation *d,
			  const char *data, size_t size, struct qmr_tuf_metadata *ret_metadata,
			  struct qmr_error *err)
{
	struct qmr_tuf_file named = {0};
	int r = check_snapshot(set, err);

	if (r == 0)
		r = qmr_tuf_trusted_get_delegated_file(set, d->name, &named, err);
	if (r == 0)
		r = qmr_tuf_file_check("targets", &named, data, size, err);
	if (r == 0)
		r = qmr_tuf_metadata_parse_with(QMR_TUF_TARGETS, set->any_key_ids, data, size,
						ret_metadata, err);
	if (r == 0)
		r = check_signed_by(ret_metadata, d, err);
	return r < 0 ? r : check_targets(set, ret_metadata, &named, err);
}

int qmr_tuf_trusted_set_delegated(struct qmr_tuf_trusted *set, const struct qmr_tuf_delegation *d,
				  const char *data, size_t size, struct qmr_error *err)
{
	cleanup_metadata struct qmr_tuf_metadata metadata = {0};
	struct qmr_tuf_delegated *place = find_delegated(set, d->name);
	struct qmr_error why = {0};
	int r = load_delegated(set, d, data, size, &metadata, &why);
	char *name;

	if (r < 0)
		return qmr_error_set(err, r, "role '%.128s': %s", d->name, why.text);
	name = strdup(d->name);
	if (!name)
		return qmr_error_set(err, -ENOMEM, "role '%.128s': out of memory", d->name);
	if (!place)
		place = &set->delegated[set->n_delegated++ % QMR_TUF_DELEGATED_MAX];
	drop_delegated(place);
	place->name = name;
	place->role = json_incref((json_t *)d->role);
	place->keys = json_incref((json_t *)d->keys);
	replace(&place->metadata, &metadata);
	return 0;
}

const struct qmr_tuf_metadata *qmr_tuf_trusted_get_delegated(const struct qmr_tuf_trusted *set,
							     const struct qmr_tuf_delegation *d)
{
	const struct qmr_tuf_delegated *found = find_delegated(set, d->name);

	if (!found)
		return NULL;
	/* References are held, so the same pointers are the same delegation. */
	if ((found->role == d->role && found->keys == d->keys) ||
	    check_signed_by(&found->metadata, d, NULL) == 0)
		return &found->metadata;
	return NULL;
}
