/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qmr-publish list, check and diff. */
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "json.h"
#include "log.h"
#include "publish-item.h"
#include "publish.h"

#define DAY_S 86400

static void note_change(json_t *changes, const char *change, const char *of, const char *name,
			const char *sha256)
{
	json_t *entry = json_pack("{s:s, s:s, s:s}", "change", change, "of", of, "name", name);

	if (sha256)
		json_object_set_new(entry, "sha256", json_string(sha256));
	json_array_append_new(changes, entry);
}

static const char *hash_of(const json_t *entry)
{
	return qmr_json_string(json_object_get(entry, "hashes"), "sha256");
}

static void compare_targets(const json_t *now, const json_t *next, json_t *changes)
{
	json_t *old = json_object_get(json_object_get(now, "signed"), "targets"), *entry;
	json_t *new = json_object_get(json_object_get(next, "signed"), "targets");
	const char *name;

	json_object_foreach (new, name, entry) {
		const json_t *was = json_object_get(old, name);

		if (!was || strcmp(hash_of(was), hash_of(entry)))
			note_change(changes, was ? "replace" : "add", qmr_publish_kind(name), name, hash_of(entry));
	}
	json_object_foreach (old, name, entry)
		if (!json_object_get(new, name))
			note_change(changes, "remove", qmr_publish_kind(name), name, NULL);
}

static void compare_roots(const json_t *now, const json_t *next, json_t *changes)
{
	for (int role = 0; role < QMR_ROLE_COUNT; role++) {
		const json_t *roots[] = {next, now};
		char text[64];

		for (int i = 0; i < 2; i++) {
			const json_t *keyid;
			size_t k;

			json_array_foreach (qmr_root_keyids(roots[i], role), k, keyid)
				if (!qmr_root_has_key(roots[!i], role, json_string_value(keyid)))
					note_change(changes, i ? "remove" : "add",
						    qmr_role_name(role), json_string_value(keyid),
						    NULL);
		}
		snprintf(text, sizeof(text), "threshold %d", qmr_root_threshold(next, role));
		if (qmr_root_threshold(now, role) != qmr_root_threshold(next, role))
			note_change(changes, "replace", qmr_role_name(role), text, NULL);
	}
}

json_t *qmr_publish_changes(const struct qmr_repository *repository, enum qmr_role role)
{
	json_t *changes = json_array();
	char expires[32];

	if (!changes)
		return NULL;
	if (role == QMR_ROLE_TARGETS)
		compare_targets(repository->now[role], repository->next[role], changes);
	if (role == QMR_ROLE_ROOT)
		compare_roots(repository->now[role], repository->next[role], changes);
	qmr_time_format(qmr_metadata_expires(repository->next[role]), expires);
	note_change(changes, "replace", "expiry", expires, NULL);
	return changes;
}

void qmr_publish_print_changes(FILE *out, const json_t *changes)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (changes, i, entry) {
		const char *sha256 = qmr_json_string(entry, "sha256");

		fprintf(out, "  %s %s ", qmr_json_string(entry, "change"),
			qmr_json_string(entry, "of"));
		qmr_publish_print_clean(out, qmr_json_string(entry, "name"));
		fprintf(out, "%s%s\n", sha256 ? " sha256 " : "", sha256 ? sha256 : "");
	}
}

static int print_json(json_t *object, struct qmr_error *err)
{
	cleanup_json json_t *owned = object;

	if (!owned || json_dumpf(owned, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) < 0 ||
	    puts("") < 0 || fflush(stdout) < 0)
		return qmr_error_set(err, -EIO, "writing the answer failed");
	return 0;
}

/* Plans, or requests. */
static json_t *list_items(const struct qmr_repository *repository, int wants_requests, struct qmr_error *err)
{
	json_t *targets = json_object_get(
		       json_object_get(repository->now[QMR_ROLE_TARGETS], "signed"), "targets"),
	       *entry;
	json_t *items = json_array();
	const char *target;

	json_object_foreach (targets, target, entry) {
		struct qmr_publish_item item = {0};

		if (qmr_publish_is_request(target) != wants_requests)
			continue;
		if (qmr_publish_item_read(repository, target, entry, &item, err) < 0) {
			json_decref(items);
			return NULL;
		}
		json_array_append_new(items, json_pack("{s:s, s:s, s:s, s:s*, s:s, s:O}", "name", target,
						       "id", item.id, "title", item.title, "mode",
						       item.is_request ? qmr_request_mode_name(item.request.mode) : NULL,
						       "sha256", hash_of(entry), "length",
						       json_object_get(entry, "length")));
		qmr_publish_item_done(&item);
	}
	return items;
}

static json_t *list_roles(const struct qmr_repository *repository)
{
	json_t *roles = json_object();

	for (int role = 0; role < QMR_ROLE_COUNT; role++) {
		const json_t *root = repository->now[QMR_ROLE_ROOT],
			     *document = repository->now[role];
		char expires[32];

		if (!document)
			continue;
		qmr_time_format(qmr_metadata_expires(document), expires);
		json_object_set_new(roles, qmr_role_name(role),
				    json_pack("{s:I, s:s, s:i, s:O}", "version",
					      (json_int_t)qmr_metadata_version(document), "expires",
					      expires, "threshold", qmr_root_threshold(root, role),
					      "keyids", qmr_root_keyids(root, role)));
	}
	return roles;
}

static json_t *list_staged(const struct qmr_repository *repository)
{
	json_t *staged = json_array();

	for (int role = 0; role <= QMR_ROLE_TARGETS; role++) {
		const json_t *document = repository->next[role];

		if (document)
			json_array_append_new(
				staged,
				json_pack("{s:s, s:I, s:i, s:o}", "role", qmr_role_name(role),
					  "version", (json_int_t)qmr_metadata_version(document),
					  "signatures",
					  (int)json_array_size(
						  json_object_get(document, "signatures")),
					  "changes", qmr_publish_changes(repository, role)));
	}
	return staged;
}

static void print_items(const json_t *items)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (items, i, entry) {
		const char *mode = qmr_json_string(entry, "mode");

		printf("%s  %s  ", qmr_json_string(entry, "name"), qmr_json_string(entry, "id"));
		qmr_publish_print_clean(stdout, qmr_json_string(entry, "title"));
		printf("%s%s%s\n", mode ? " (" : "", mode ? mode : "", mode ? ")" : "");
	}
}

static void print_list(const json_t *plans, const json_t *requests, const json_t *roles, const json_t *staged)
{
	const json_t *entry, *value;
	const char *name;
	size_t i;

	print_items(plans);
	print_items(requests);
	json_object_foreach ((json_t *)roles, name, value)
		printf("%s %lld, expires %s\n", name,
		       (long long)json_integer_value(json_object_get(value, "version")),
		       qmr_json_string(value, "expires"));
	json_array_foreach (staged, i, entry) {
		printf("staged: %s %lld, %lld signatures\n", qmr_json_string(entry, "role"),
		       (long long)json_integer_value(json_object_get(entry, "version")),
		       (long long)json_integer_value(json_object_get(entry, "signatures")));
		qmr_publish_print_changes(stdout, json_object_get(entry, "changes"));
	}
}

static int list(const struct qmr_publish_arguments *arguments, struct qmr_repository *repository,
		struct qmr_error *err)
{
	cleanup_json json_t *plans = NULL;
	cleanup_json json_t *requests = NULL;
	cleanup_json json_t *roles = NULL;
	cleanup_json json_t *staged = NULL;
	int r = qmr_repository_load(repository, NULL, 1, err);

	if (r == 0)
		r = qmr_repository_load_staged(repository, err);
	if (r < 0)
		return r;
	plans = list_items(repository, 0, err);
	requests = plans ? list_items(repository, 1, err) : NULL;
	if (!requests)
		return err->code;
	roles = list_roles(repository);
	staged = list_staged(repository);
	if (arguments->json)
		return print_json(json_pack("{s:O, s:O, s:O, s:O}", "plans", plans, "requests", requests, "roles", roles,
					    "staged", staged),
				  err);
	print_list(plans, requests, roles, staged);
	return 0;
}

int qmr_publish_list(const struct qmr_publish_arguments *arguments)
{
	struct qmr_repository repository = {.fd = -1};
	struct qmr_error err = {0};
	int r = qmr_repository_open(arguments->repository, 0, &repository, &err);

	if (r == 0)
		r = list(arguments, &repository, &err);
	if (r < 0)
		qmr_error_log("listing: %s", err.text);
	qmr_repository_close(&repository);
	return r == 0 ? QMR_EXIT_OK : r == -EBADMSG ? QMR_EXIT_REFUSED : QMR_EXIT_FAILURE;
}

/* What other repository has that this one has not: plans, requests, keys, thresholds, versions. */
static int diff(const struct qmr_publish_arguments *arguments, struct qmr_repository *repository, struct qmr_repository *other,
		int *ret_differ, struct qmr_error *err)
{
	cleanup_json json_t *changes = json_array();
	int r = qmr_repository_load(repository, NULL, 1, err);

	if (r == 0)
		r = qmr_repository_load(other, NULL, 1, err);
	if (r < 0)
		return r;
	if (!changes)
		return qmr_error_set(err, -ENOMEM, "comparing: out of memory");
	compare_roots(repository->now[QMR_ROLE_ROOT], other->now[QMR_ROLE_ROOT], changes);
	compare_targets(repository->now[QMR_ROLE_TARGETS], other->now[QMR_ROLE_TARGETS], changes);
	*ret_differ = json_array_size(changes) > 0;
	for (int role = 0; role < QMR_ROLE_COUNT; role++) {
		int64_t from = qmr_metadata_version(repository->now[role]), to = qmr_metadata_version(other->now[role]);
		char text[64];

		snprintf(text, sizeof(text), "%s %lld to %lld", qmr_role_name(role), (long long)from, (long long)to);
		if (from != to)
			note_change(changes, "replace", "version", text, NULL);
	}
	if (arguments->json)
		return print_json(json_incref(changes), err);
	qmr_publish_print_changes(stdout, changes);
	return fflush(stdout) < 0 ? qmr_error_errno(err, -errno, "writing the answer") : 0;
}

int qmr_publish_diff(const struct qmr_publish_arguments *arguments)
{
	struct qmr_repository repository = {.fd = -1}, other = {.fd = -1};
	struct qmr_error err = {0};
	int differ = 0, r = qmr_repository_open(arguments->repository, 0, &repository, &err);

	if (r == 0)
		r = qmr_repository_open(arguments->names[0], 0, &other, &err);
	if (r == 0)
		r = diff(arguments, &repository, &other, &differ, &err);
	if (r < 0)
		qmr_error_log("comparing: %s", err.text);
	qmr_repository_close(&repository);
	qmr_repository_close(&other);
	return r == -EBADMSG ? QMR_EXIT_REFUSED : r < 0 ? QMR_EXIT_FAILURE : differ ? QMR_EXIT_OK : QMR_EXIT_NOTHING;
}

/* What was found; the first list makes a client refuse, the second will in time. */
struct findings {
	json_t *problems, *warnings;
};

__attribute__((format(printf, 2, 3))) static void note(json_t *list, const char *format, ...)
{
	char text[600];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	json_array_append_new(list, json_string(text));
}

static void check_expiry(const struct qmr_publish_arguments *arguments,
			 const struct qmr_repository *repository, struct findings *findings)
{
	for (int role = 0; role < QMR_ROLE_COUNT; role++) {
		int64_t expires, left;
		char text[32];

		if (!repository->now[role])
			continue;
		expires = qmr_metadata_expires(repository->now[role]);
		left = expires - repository->now_unix_s;
		qmr_time_format(expires, text);
		if (left <= 0)
			note(findings->problems, "%s expired on %s", qmr_role_name(role), text);
		else if (arguments->warn_days < 0 ? qmr_repository_is_near_expiry(repository, role)
						  : left < (int64_t)arguments->warn_days * DAY_S)
			note(findings->warnings, "%s expires in %lld days, on %s",
			     qmr_role_name(role), (long long)(left / DAY_S), text);
	}
}

static void check_plan(const char *target, const struct qmr_plan *plan, json_t *set, struct findings *findings)
{
	struct qmr_error err = {0};

	if (qmr_publish_set_add(set, plan->json, &err) < 0)
		note(findings->warnings, "%s", err.text);
	if (plan->is_hold)
		note(findings->warnings, "%s holds the fleet: machines do nothing until it is removed", target);
	else if (!plan->has_published)
		note(findings->warnings, "%s: published: missing; machines with a minimum age never apply it", target);
}

/* Plans and requests. */
static void check_items(const struct qmr_repository *repository, struct findings *findings)
{
	json_t *targets = json_object_get(
		       json_object_get(repository->now[QMR_ROLE_TARGETS], "signed"), "targets"),
	       *entry;
	const char *target;

	cleanup_json json_t *set = json_object();
	cleanup_json json_t *missing = NULL;
	struct qmr_error err = {0};
	size_t i;

	json_object_foreach (targets, target, entry) {
		struct qmr_publish_item item = {0};

		if (qmr_publish_item_read(repository, target, entry, &item, &err) < 0)
			note(findings->problems, "%s", err.text);
		else if (!item.is_request)
			check_plan(target, &item.plan, set, findings);
		qmr_publish_item_done(&item);
	}
	missing = qmr_publish_set_missing(set);
	json_array_foreach (missing, i, entry)
		note(findings->warnings, "plan '%s' requires '%s', which is not here", qmr_json_string(entry, "id"),
		     qmr_json_string(entry, "requires"));
	if (qmr_publish_set_check(set, &err) < 0)
		note(findings->warnings, "%s", err.text);
}

static void print_findings(FILE *out, const char *kind, const json_t *list)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (list, i, entry)
		fprintf(out, "%s: %s\n", kind, json_string_value(entry));
}

static int report(const struct qmr_publish_arguments *arguments,
		  const struct qmr_repository *repository, const struct findings *findings,
		  struct qmr_error *err)
{
	int is_valid = json_array_size(findings->problems) == 0;

	if (arguments->json)
		return print_json(json_pack("{s:b, s:O, s:O, s:o}", "valid", is_valid, "problems",
					    findings->problems, "warnings", findings->warnings,
					    "roles", list_roles(repository)),
				  err);
	print_findings(stdout, "problem", findings->problems);
	print_findings(stdout, "warning", findings->warnings);
	if (is_valid)
		puts("every signature, hash, length, version and expiry is as it should be");
	return fflush(stdout) < 0 ? qmr_error_errno(err, -errno, "writing the answer") : 0;
}

int qmr_publish_check(const struct qmr_publish_arguments *arguments)
{
	cleanup_json json_t *problems = json_array();
	cleanup_json json_t *warnings = json_array();
	struct findings findings = {problems, warnings};
	struct qmr_repository repository = {.fd = -1};
	struct qmr_error err = {0};
	int r = qmr_repository_open(arguments->repository, 0, &repository, &err);

	if (r == 0) {
		r = qmr_repository_load(&repository, arguments->root, 0, &err);
		if (r == -EBADMSG) {
			note(problems, "%s", err.text);
			r = 0;
		}
	}
	if (r == 0) {
		check_expiry(arguments, &repository, &findings);
		check_items(&repository, &findings);
		r = report(arguments, &repository, &findings, &err);
	}
	if (r < 0)
		qmr_error_log("checking: %s", err.text);
	qmr_repository_close(&repository);
	return r < 0                       ? QMR_EXIT_FAILURE
	       : json_array_size(problems) ? QMR_EXIT_REFUSED
					   : QMR_EXIT_OK;
}
