/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tuf-delegation.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "hash.h"
#include "json.h"
#include "tuf-key.h"
#include "tuf-metadata.h"

/* Far above what repositories use; they bound the work that a hostile file can cause. */
#define ROLE_KEYS_MAX 64
#define DELEGATION_KEYS_MAX 4096

__attribute__((format(printf, 3, 4))) static int refuse(struct qmr_error *err, const char *what,
							const char *format, ...)
{
	char why[384];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(why, sizeof(why), format, ap);
	va_end(ap);
	return qmr_error_set(err, -EBADMSG, "%s: %s", what, why);
}

int qmr_tuf_keys_check(const char *what, const json_t *keys, size_t max, int any_key_ids,
		       struct qmr_error *err)
{
	const json_t *key;
	const char *id;

	if (!json_is_object(keys) || json_object_size(keys) > max)
		return refuse(err, what, "'keys' is not an object of at most %zu keys", max);
	json_object_foreach ((json_t *)keys, id, key) {
		int r;

		if (!qmr_json_string(key, "keytype") || !qmr_json_string(key, "scheme") ||
		    !json_is_object(json_object_get(key, "keyval")))
			return refuse(err, what, "key '%.64s' lacks a type, a scheme or a value",
				      id);
		/* One that is not known can sign nothing, and how its id is made is not ours to
		 * say. */
		if (any_key_ids || !qmr_tuf_key_is_known(key))
			continue;
		r = qmr_tuf_key_id_is_right(id, key);
		if (r < 0)
			return qmr_error_set(err, r, "%s: out of memory", what);
		if (!r)
			return refuse(err, what, "key '%.64s': its id is not the hash of the key",
				      id);
	}
	return 0;
}

int qmr_tuf_role_check(const char *what, const char *name, const json_t *role,
		       struct qmr_error *err)
{
	const json_t *keyids = json_object_get(role, "keyids"),
		     *threshold = json_object_get(role, "threshold"), *a, *b;
	size_t i, j;

	if (!json_is_integer(threshold) || json_integer_value(threshold) < 1)
		return refuse(err, what, "role '%.64s': its threshold is not 1 or more", name);
	if (!json_is_array(keyids) || json_array_size(keyids) > ROLE_KEYS_MAX)
		return refuse(err, what, "role '%.64s': its 'keyids' is not a list of at most %d",
			      name, ROLE_KEYS_MAX);
	json_array_foreach (keyids, i, a) {
		if (!json_is_string(a))
			return refuse(err, what, "role '%.64s': its 'keyids' are not strings",
				      name);
		json_array_foreach (keyids, j, b)
			if (j < i && json_equal(a, b))
				return refuse(err, what,
					      "role '%.64s': key '%.64s' is listed twice", name,
					      json_string_value(a));
	}
	return 0;
}

static int is_list_of_strings(const json_t *list)
{
	const json_t *item;
	size_t i;

	json_array_foreach (list, i, item)
		if (!json_is_string(item))
			return 0;
	return json_is_array(list);
}

static int check_name(const char *what, const char *name, struct qmr_error *err)
{
	if (!name || !*name || strlen(name) >= QMR_TUF_ROLE_NAME_MAX)
		return refuse(err, what, "a delegated role has no name of 1 to %d bytes",
			      QMR_TUF_ROLE_NAME_MAX - 1);
	for (int i = 0; i < QMR_TUF_ROLES; i++)
		if (!strcmp(name, qmr_tuf_role_name((enum qmr_tuf_role)i)))
			return refuse(err, what,
				      "a delegated role has the name of the top-level role '%s'",
				      name);
	return 0;
}

static int check_delegated_role(const char *what, const json_t *role, struct qmr_error *err)
{
	const char *name = qmr_json_string(role, "name");
	const json_t *paths = json_object_get(role, "paths"),
		     *prefixes = json_object_get(role, "path_hash_prefixes");
	int r = check_name(what, name, err);

	if (r == 0)
		r = qmr_tuf_role_check(what, name, role, err);
	if (r < 0)
		return r;
	if (!json_is_boolean(json_object_get(role, "terminating")))
		return refuse(err, what, "role '%.64s': 'terminating' is not true or false", name);
	if (!paths == !prefixes || !is_list_of_strings(paths ? paths : prefixes))
		return refuse(err, what,
			      "role '%.64s': it has not either 'paths' or 'path_hash_prefixes', a "
			      "list of strings",
			      name);
	return 0;
}

static int check_roles(const char *what, const json_t *roles, struct qmr_error *err)
{
	cleanup_json json_t *seen = json_object();
	const json_t *role;
	size_t i;

	if (!json_is_array(roles))
		return refuse(err, what, "the 'roles' of its delegations are not a list");
	json_array_foreach (roles, i, role) {
		int r = check_delegated_role(what, role, err);
		const char *name = qmr_json_string(role, "name");

		if (r < 0)
			return r;
		if (json_object_get(seen, name))
			return refuse(err, what, "it delegates to role '%.64s' twice", name);
		if (json_object_set_new(seen, name, json_true()) < 0)
			return qmr_error_set(err, -ENOMEM, "%s: out of memory", what);
	}
	return 0;
}

static int count_digits(int bits)
{
	return (bits + 3) / 4; /* of 2^bits - 1, in hexadecimal */
}

static int check_succinct(const char *what, const json_t *succinct, struct qmr_error *err)
{
	const json_t *bits = json_object_get(succinct, "bit_length");
	const char *prefix = qmr_json_string(succinct, "name_prefix");

	if (!json_is_integer(bits) || json_integer_value(bits) < 1 || json_integer_value(bits) > 32)
		return refuse(err, what, "the 'bit_length' of its succinct roles is not 1 to 32");
	if (!prefix || strlen(prefix) + 1 + (size_t)count_digits((int)json_integer_value(bits)) >=
			       QMR_TUF_ROLE_NAME_MAX)
		return refuse(err, what,
			      "the 'name_prefix' of its succinct roles is missing or too long");
	return qmr_tuf_role_check(what, prefix, succinct, err);
}

int qmr_tuf_delegations_check(const char *what, const json_t *delegations, int any_key_ids,
			      struct qmr_error *err)
{
	const json_t *roles = json_object_get(delegations, "roles"),
		     *succinct = json_object_get(delegations, "succinct_roles");
	int r;

	if (!delegations || json_is_null(delegations))
		return 0;
	if (!roles == !succinct)
		return refuse(err, what,
			      "its delegations have not either 'roles' or 'succinct_roles'");
	r = qmr_tuf_keys_check(what, json_object_get(delegations, "keys"), DELEGATION_KEYS_MAX,
			       any_key_ids, err);
	if (r < 0)
		return r;
	return roles ? check_roles(what, roles, err) : check_succinct(what, succinct, err);
}

static int matches_path(const json_t *paths, const char *target)
{
	const json_t *pattern;
	size_t i;

	json_array_foreach (paths, i, pattern)
		if (fnmatch(json_string_value(pattern), target, FNM_PATHNAME | FNM_NOESCAPE) == 0)
			return 1;
	return 0;
}

static int matches_hash(const json_t *prefixes, const char *hash)
{
	const json_t *prefix;
	size_t i;

	json_array_foreach (prefixes, i, prefix)
		if (!strncmp(json_string_value(prefix), hash, json_string_length(prefix)))
			return 1;
	return 0;
}

/* A pattern's part before its first '/' must match the folder, as no wildcard matches a '/'. */
static int matches_folder(const json_t *paths, const char *folder)
{
	const json_t *pattern;
	size_t i;

	json_array_foreach (paths, i, pattern) {
		const char *text = json_string_value(pattern), *slash = strchr(text, '/');
		char first[64];

		if (!slash)
			continue;
		/* Too long to look at: it may match. */
		if (snprintf(first, sizeof(first), "%.*s", (int)(slash - text), text) >=
			    (int)sizeof(first) ||
		    fnmatch(first, folder, FNM_PATHNAME | FNM_NOESCAPE) == 0)
			return 1;
	}
	return 0;
}

static void fill(const json_t *role, const json_t *keys, struct qmr_tuf_delegation *ret)
{
	ret->role = role;
	ret->keys = keys;
	ret->is_terminating = json_is_true(json_object_get(role, "terminating"));
	strcpy(ret->name, qmr_json_string(role, "name")); /* _check() has measured it */
}

static void fill_bin(const json_t *succinct, const json_t *keys, const char *hash,
		     struct qmr_tuf_delegation *ret)
{
	int bits = (int)json_integer_value(json_object_get(succinct, "bit_length"));
	char first[9] = "";

	memcpy(first, hash, 8);
	ret->role = succinct;
	ret->keys = keys;
	ret->is_terminating = 1;
	snprintf(ret->name, sizeof(ret->name), "%s-%0*lx", qmr_json_string(succinct, "name_prefix"),
		 count_digits(bits), strtoul(first, NULL, 16) >> (32 - bits));
}

int qmr_tuf_delegations_match(const json_t *delegations, const char *target,
			      qmr_tuf_delegation_fn *fn, void *user, struct qmr_error *err)
{
	const json_t *roles = json_object_get(delegations, "roles"),
		     *keys = json_object_get(delegations, "keys"),
		     *succinct = json_object_get(delegations, "succinct_roles"), *role;
	struct qmr_tuf_delegation d;
	char hash[QMR_SHA256_HEX];
	size_t i;
	int r = roles || succinct ? qmr_sha256(target, strlen(target), hash, err) : 0;

	if (r < 0)
		return r;
	if (succinct) {
		fill_bin(succinct, keys, hash, &d);
		r = fn(user, &d, err);
		return r < 0 ? r : 1;
	}
	json_array_foreach (roles, i, role) {
		const json_t *paths = json_object_get(role, "paths");

		if (paths ? !matches_path(paths, target)
			  : !matches_hash(json_object_get(role, "path_hash_prefixes"), hash))
			continue;
		fill(role, keys, &d);
		r = fn(user, &d, err);
		if (r < 0 || d.is_terminating)
			return r < 0 ? r : 1;
	}
	return 0;
}

int qmr_tuf_delegations_match_folder(const json_t *delegations, const char *folder,
				     qmr_tuf_delegation_fn *fn, void *user, struct qmr_error *err)
{
	const json_t *roles = json_object_get(delegations, "roles"), *role;
	struct qmr_tuf_delegation d;
	size_t i;
	int r = 0;

	json_array_foreach (roles, i, role) {
		if (!matches_folder(json_object_get(role, "paths"), folder))
			continue;
		fill(role, json_object_get(delegations, "keys"), &d);
		r = fn(user, &d, err);
		if (r < 0)
			break;
	}
	return r;
}
