/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plan.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "boot-state.h"
#include "json.h"

#define MATCH_DEPTH_MAX 8
#define MATCH_NODES_MAX 64
#define PATH_BYTES_MAX 1024

static const char *const selectors[] = {"culprit-module", "oops-function", "incident-kind",
					"kernel-release", "machine-id",    "os-id"};

static int refuse(struct qmr_error *err, const char *name, const char *field, const char *why)
{
	return qmr_error_set(err, -EINVAL, "plan '%s': %s: %s; the whole plan is refused", name, field, why);
}

static int is_id(const char *id)
{
	size_t n = strlen(id);

	return n >= 1 && n <= 63 && id[0] != '.' &&
	       strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static int is_path(const char *path)
{
	static const char *const kernel_paths[] = {"/proc", "/sys", "/dev", "/run"};

	if (path[0] != '/' || strlen(path) > PATH_BYTES_MAX)
		return 0;
	for (size_t i = 0; i < 4; i++) {
		size_t n = strlen(kernel_paths[i]);

		if (!strncmp(path, kernel_paths[i], n) && (path[n] == '/' || !path[n]))
			return 0;
	}
	for (const char *p = path; *p;) {
		size_t n = strcspn(++p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return 0;
		p += n;
	}
	return 1;
}

static int is_sha256(const char *hex)
{
	return strlen(hex) == 64 && strspn(hex, "0123456789abcdef") == 64;
}

static int is_module(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= QMR_MODULE_NAME)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != '-')
			return 0;
	return 1;
}

static int is_selector(const char *key)
{
	for (size_t i = 0; i < sizeof(selectors) / sizeof(*selectors); i++)
		if (!strcmp(selectors[i], key))
			return 1;
	return 0;
}

static int check_match(const char *name, const json_t *node, int depth, int *nodes, struct qmr_error *err)
{
	const char *key = json_object_iter_key(json_object_iter((json_t *)node));
	const json_t *value = key ? json_object_get(node, key) : NULL;
	const json_t *child;
	size_t i;
	int r = 0;

	if (++*nodes > MATCH_NODES_MAX || depth > MATCH_DEPTH_MAX)
		return refuse(err, name, "match", "too many or too deeply nested selectors");
	if (json_object_size(node) != 1)
		return refuse(err, name, "match", "not an object with exactly one key");
	if (is_selector(key))
		return json_is_string(value) ? 0 : refuse(err, name, key, "not a string");
	if (!strcmp(key, "not"))
		return check_match(name, value, depth + 1, nodes, err);
	if (strcmp(key, "all") && strcmp(key, "any"))
		return refuse(err, name, key, "unknown selector");
	if (json_array_size(value) == 0)
		return refuse(err, name, key, "not a list with at least one selector");
	json_array_foreach (value, i, child)
		if (r == 0)
			r = check_match(name, child, depth + 1, nodes, err);
	return r;
}

static const struct {
	const char *name;
	int type;
	const char *keys; /* allowed ones beside "type", between spaces */
} action_types[] = {
	{"remove-file", QMR_ACTION_REMOVE_FILE, " path sha256 "},
	{"restore-file", QMR_ACTION_RESTORE_FILE, " path "},
	{"block-module", QMR_ACTION_BLOCK_MODULE, " module "},
};

static int parse_action(const char *name, size_t index, const json_t *json, struct qmr_action *ret,
			struct qmr_error *err)
{
	const char *type = qmr_json_string(json, "type");
	const char *key, *keys = NULL;
	const json_t *value;
	char field[160];

	snprintf(field, sizeof(field), "actions[%zu].type", index);
	for (size_t i = 0; type && i < sizeof(action_types) / sizeof(*action_types); i++)
		if (!strcmp(action_types[i].name, type)) {
			keys = action_types[i].keys;
			ret->type = action_types[i].type;
		}
	if (!keys)
		return refuse(err, name, field, "missing or unknown");
	json_object_foreach ((json_t *)json, key, value) {
		char word[80];

		snprintf(field, sizeof(field), "actions[%zu].%.64s", index, key);
		snprintf(word, sizeof(word), " %.64s ", key);
		if (strcmp(key, "type") && (!*key || strchr(key, ' ') || !strstr(keys, word)))
			return refuse(err, name, field, "unknown key");
		if (!json_is_string(value))
			return refuse(err, name, field, "not a string");
	}
	ret->path = qmr_json_string(json, "path");
	ret->sha256 = qmr_json_string(json, "sha256");
	ret->module = qmr_json_string(json, "module");
	snprintf(field, sizeof(field), "actions[%zu]", index);
	if (ret->type == QMR_ACTION_BLOCK_MODULE)
		return ret->module && is_module(ret->module) ? 0 : refuse(err, name, field, "no valid 'module'");
	if (!ret->path || !is_path(ret->path))
		return refuse(err, name, field, "'path' is missing or not a plain absolute path");
	if (ret->sha256 && !is_sha256(ret->sha256))
		return refuse(err, name, field, "'sha256' is not 64 lower-case hexadecimal digits");
	return 0;
}

static int check_top(const char *name, const struct qmr_plan *plan, struct qmr_error *err)
{
	static const char allowed[] = " schema id title match actions ";
	const json_t *value, *schema = json_object_get(plan->json, "schema");
	const char *key;
	int nodes = 0;

	json_object_foreach (plan->json, key, value) {
		char word[80];

		snprintf(word, sizeof(word), " %.64s ", key);
		if (!*key || strchr(key, ' ') || !strstr(allowed, word))
			return refuse(err, name, key, "unknown key");
	}
	if (!json_is_integer(schema) || json_integer_value(schema) != 1)
		return refuse(err, name, "schema", "not 1");
	if (!plan->id || !is_id(plan->id))
		return refuse(err, name, "id", "missing or not 1 to 63 of A-Za-z0-9._-");
	if (!plan->title || strlen(plan->title) > 200)
		return refuse(err, name, "title", "missing or longer than 200 bytes");
	return check_match(name, plan->match, 1, &nodes, err);
}

int qmr_plan_parse(const char *name, const char *data, size_t size, struct qmr_plan *ret_plan, struct qmr_error *err)
{
	struct qmr_plan plan = {0};
	const json_t *actions, *action;
	size_t i;
	int r;

	if (size > QMR_PLAN_BYTES_MAX)
		return refuse(err, name, "size", "more than 64 KiB");
	r = qmr_json_parse(name, data, size, &plan.json, err);
	if (r < 0)
		return r;
	plan.id = qmr_json_string(plan.json, "id");
	plan.title = qmr_json_string(plan.json, "title");
	plan.match = json_object_get(plan.json, "match");
	r = check_top(name, &plan, err);
	actions = json_object_get(plan.json, "actions");
	if (r == 0 && (json_array_size(actions) < 1 || json_array_size(actions) > QMR_PLAN_ACTIONS_MAX))
		r = refuse(err, name, "actions", "not a list of 1 to 64");
	json_array_foreach (actions, i, action)
		if (r == 0)
			r = parse_action(name, plan.n_actions++, action, &plan.actions[i], err);
	if (r < 0)
		json_decref(plan.json);
	else
		*ret_plan = plan;
	return r;
}

void qmr_plan_done(struct qmr_plan *plan)
{
	json_decref(plan->json);
	memset(plan, 0, sizeof(*plan));
}

static const char *incident_value(const json_t *incident, const char *selector)
{
	const json_t *culprit = json_object_get(incident, "culprit");
	const json_t *machine = json_object_get(incident, "machine");

	if (!strcmp(selector, "culprit-module"))
		return qmr_json_string(culprit, "module");
	if (!strcmp(selector, "oops-function"))
		return qmr_json_string(culprit, "function");
	if (!strcmp(selector, "incident-kind"))
		return qmr_json_string(incident, "kind");
	if (!strcmp(selector, "kernel-release"))
		return qmr_json_string(incident, "kernel");
	return qmr_json_string(machine, !strcmp(selector, "machine-id") ? "machine_id" : "os_id");
}

static enum qmr_match match_node(const json_t *node, const json_t *incident)
{
	const char *key = json_object_iter_key(json_object_iter((json_t *)node));
	const json_t *value = json_object_get(node, key), *child;
	enum qmr_match decisive, result;
	size_t i;

	if (!strcmp(key, "not")) {
		result = match_node(value, incident);
		return result == QMR_MATCH_UNKNOWN ? result : result == QMR_MATCH_YES ? QMR_MATCH_NO : QMR_MATCH_YES;
	}
	if (is_selector(key)) {
		const char *is = incident_value(incident, key);

		if (!is)
			return QMR_MATCH_UNKNOWN;
		return strcmp(is, json_string_value(value)) ? QMR_MATCH_NO : QMR_MATCH_YES;
	}
	/* all: one "no" decides; any: one "yes" does; else one unknown leaves it unknown (Kleene's logic). */
	decisive = !strcmp(key, "all") ? QMR_MATCH_NO : QMR_MATCH_YES;
	result = decisive == QMR_MATCH_NO ? QMR_MATCH_YES : QMR_MATCH_NO;
	json_array_foreach (value, i, child) {
		enum qmr_match one = match_node(child, incident);

		if (one == decisive)
			return one;
		if (one == QMR_MATCH_UNKNOWN)
			result = one;
	}
	return result;
}

enum qmr_match qmr_plan_match(const struct qmr_plan *plan, const json_t *incident)
{
	return match_node(plan->match, incident);
}
