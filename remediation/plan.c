/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plan.h"

#include <errno.h>
#include <string.h>

#include "form.h"
#include "json.h"
#include "plan-form.h"
#include "plan-match.h"
#include "utc.h"

#define LIST_MAX 64

static int refuse(struct qmr_error *err, const char *name, const char *field, const char *why)
{
	return qmr_error_set(err, -EINVAL, "plan '%s': %s: %s; the whole plan is refused", name, field, why);
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
		return ret->module && qmr_form_is_module(ret->module) ? 0 : refuse(err, name, field, "no valid 'module'");
	if (!ret->path || !qmr_form_is_path(ret->path))
		return refuse(err, name, field, "'path' is missing or not a plain absolute path");
	if (ret->sha256 && !qmr_form_is_sha256(ret->sha256))
		return refuse(err, name, field, "'sha256' is not 64 lower-case hexadecimal digits");
	return 0;
}

/* A list of at most LIST_MAX texts of a form; not having one is fine. */
static int check_list(const char *name, const char *field, const json_t *list, int (*is_form)(const char *text),
		      struct qmr_error *err)
{
	const json_t *entry;
	size_t i;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > LIST_MAX)
		return refuse(err, name, field, "not a list of at most 64");
	json_array_foreach (list, i, entry)
		if (!json_is_string(entry) || !is_form(json_string_value(entry)))
			return refuse(err, name, field, "an entry is not a name of its form");
	return 0;
}

static int parse_match(const char *name, const json_t *value, struct qmr_plan *plan, struct qmr_error *err)
{
	const char *field, *why;

	plan->match = value;
	return qmr_match_check(value, &field, &why) < 0 ? refuse(err, name, field, why) : 0;
}

static int parse_actions(const char *name, const json_t *value, struct qmr_plan *plan, struct qmr_error *err)
{
	const json_t *action;
	size_t i;
	int r = 0;

	if (json_array_size(value) < 1 || json_array_size(value) > QMR_PLAN_ACTIONS_MAX)
		return refuse(err, name, "actions", "not a list of 1 to 64");
	json_array_foreach (value, i, action)
		if (r == 0)
			r = parse_action(name, plan->n_actions++, action, &plan->actions[i], err);
	return r;
}

static int parse_schema(const char *name, const json_t *value, struct qmr_plan *plan, struct qmr_error *err)
{
	return json_is_integer(value) && json_integer_value(value) == 1 ? 0 : refuse(err, name, "schema", "not 1");
}

static int parse_id(const char *name, const json_t *value, struct qmr_plan *plan, struct qmr_error *err)
{
	plan->id = json_string_value(value);
	if (!plan->id || !qmr_form_is_id(plan->id))
		return refuse(err, name, "id", "not 1 to 63 of A-Za-z0-9._-");
	/* Transactions are known by what they were made for: these are not made for a plan. */
	if (!strncmp(plan->id, "undo-", 5) || !strcmp(plan->id, "local-revert"))
		return refuse(err, name, "id", "'undo-…' and 'local-revert' are what machines do of their own");
	return 0;
}

static int parse_title(const char *name, const json_t *value, struct qmr_plan *plan, struct qmr_error *err)
{
	plan->title = json_string_value(value);
	return plan->title && strlen(plan->title) <= 200 ? 0 : refuse(err, name, "title", "not a text of at most 200 bytes");
}

static int parse_published(const char *name, const json_t *value, struct qmr_plan *plan, struct qmr_error *err)
{
	const char *text = json_string_value(value);

	plan->has_published = 1;
	return text && qmr_time_parse(text, &plan->published_unix_s) == 0
		       ? 0
		       : refuse(err, name, "published", "not a time of the form YYYY-MM-DDTHH:MM:SSZ");
}

static int parse_names(const char *name, const json_t *value, struct qmr_plan *plan, struct qmr_error *err)
{
	const json_t *list;
	const char *key;
	int r;

	if (!json_is_object(value))
		return refuse(err, name, "names", "not an object");
	json_object_foreach ((json_t *)value, key, list)
		if (strcmp(key, "modules") && strcmp(key, "packages"))
			return refuse(err, name, "names", "neither 'modules' nor 'packages'");
	plan->named_modules = json_object_get(value, "modules");
	plan->named_packages = json_object_get(value, "packages");
	r = check_list(name, "names.modules", plan->named_modules, qmr_form_is_module, err);
	return r < 0 ? r : check_list(name, "names.packages", plan->named_packages, qmr_form_is_package, err);
}

static int parse_supersedes(const char *name, const json_t *value, struct qmr_plan *plan, struct qmr_error *err)
{
	plan->supersedes = value;
	return check_list(name, "supersedes", value, qmr_form_is_id, err);
}

static int parse_requires(const char *name, const json_t *value, struct qmr_plan *plan, struct qmr_error *err)
{
	plan->requires = value;
	return check_list(name, "requires", value, qmr_form_is_id, err);
}

static int parse_withdrawn(const char *name, const json_t *value, struct qmr_plan *plan, struct qmr_error *err)
{
	plan->is_withdrawn = 1;
	return json_is_true(value) ? 0 : refuse(err, name, "withdrawn", "not true");
}

static int parse_then(const char *name, const json_t *value, struct qmr_plan *plan, struct qmr_error *err)
{
	for (int i = 0; json_is_string(value) && i <= QMR_THEN_NEXT_RUNG; i++)
		if (!strcmp(json_string_value(value), qmr_then_name(i))) {
			plan->then = i;
			return 0;
		}
	return refuse(err, name, "then", "none of reboot, shutdown, next-rung");
}

static int parse_hold(const char *name, const json_t *value, struct qmr_plan *plan, struct qmr_error *err)
{
	plan->is_hold = 1;
	return json_is_true(value) ? 0 : refuse(err, name, "hold", "not true");
}

enum { NEEDED = 1 << 0, NEEDED_UNLESS_HOLD = 1 << 1, NOT_IN_HOLD = 1 << 2 };

static const struct key {
	const char *name;
	int flags;
	int (*parse)(const char *name, const json_t *value, struct qmr_plan *plan, struct qmr_error *err);
} keys[] = {
	{"schema", NEEDED, parse_schema},
	{"id", NEEDED, parse_id},
	{"title", NEEDED, parse_title},
	{"published", 0, parse_published},
	{"hold", 0, parse_hold},
	{"match", NEEDED_UNLESS_HOLD | NOT_IN_HOLD, parse_match},
	{"actions", NEEDED_UNLESS_HOLD | NOT_IN_HOLD, parse_actions},
	{"names", NOT_IN_HOLD, parse_names},
	{"supersedes", NOT_IN_HOLD, parse_supersedes},
	{"requires", NOT_IN_HOLD, parse_requires},
	{"withdrawn", NOT_IN_HOLD, parse_withdrawn},
	{"then", NOT_IN_HOLD, parse_then},
};

static int parse_top(const char *name, struct qmr_plan *plan, struct qmr_error *err)
{
	int is_hold = json_object_get(plan->json, "hold") != NULL;
	const json_t *value;
	const char *key;

	json_object_foreach (plan->json, key, value) {
		size_t i = 0;

		while (i < sizeof(keys) / sizeof(*keys) && strcmp(keys[i].name, key))
			i++;
		if (i == sizeof(keys) / sizeof(*keys))
			return refuse(err, name, key, "unknown key");
		if (is_hold && keys[i].flags & NOT_IN_HOLD)
			return refuse(err, name, key, "not in a hold");
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		int r = 0;

		value = json_object_get(plan->json, keys[i].name);
		if (value)
			r = keys[i].parse(name, value, plan, err);
		else if (keys[i].flags & (is_hold ? NEEDED : NEEDED | NEEDED_UNLESS_HOLD))
			r = refuse(err, name, keys[i].name, "missing");
		if (r < 0)
			return r;
	}
	if (qmr_json_list_has(plan->supersedes, plan->id))
		return refuse(err, name, "supersedes", "the plan itself");
	if (qmr_json_list_has(plan->requires, plan->id))
		return refuse(err, name, "requires", "the plan itself");
	for (size_t i = 0; i < json_array_size(plan->requires); i++)
		if (qmr_json_list_has(plan->supersedes, json_string_value(json_array_get(plan->requires, i))))
			return refuse(err, name, "requires", "a plan that it supersedes");
	return 0;
}

int qmr_plan_file_is_urgent(const char *target)
{
	const char *slash = strchr(target, '/');

	return slash && !strncmp(slash + 1, "hold", 4);
}

const char *qmr_then_name(int then)
{
	static const char *const names[] = {
		[QMR_THEN_REBOOT] = "reboot", [QMR_THEN_SHUTDOWN] = "shutdown", [QMR_THEN_NEXT_RUNG] = "next-rung"};

	return names[then];
}

int qmr_plan_parse(const char *name, const char *data, size_t size, struct qmr_plan *ret_plan, struct qmr_error *err)
{
	struct qmr_plan plan = {0};
	int r;

	if (size > QMR_PLAN_BYTES_MAX)
		return refuse(err, name, "size", "more than 64 KiB");
	r = qmr_json_parse(name, data, size, &plan.json, err);
	if (r < 0)
		return r;
	r = parse_top(name, &plan, err);
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

int qmr_plan_is_old_enough(const struct qmr_plan *plan, const struct qmr_config *config, int64_t now_unix_s)
{
	int hours = -1;

	for (size_t i = 0; i < config->n_minimum_age; i++)
		for (size_t j = 0; j < config->n_label; j++)
			if (!strcmp(config->minimum_age[i].label, config->label[j]) && config->minimum_age[i].hours > hours)
				hours = config->minimum_age[i].hours;
	for (size_t i = 0; hours < 0 && i < config->n_minimum_age; i++)
		if (!strcmp(config->minimum_age[i].label, "*"))
			hours = config->minimum_age[i].hours;
	if (hours <= 0)
		return 1;
	return plan->has_published && now_unix_s >= plan->published_unix_s &&
	       now_unix_s - plan->published_unix_s >= hours * 3600LL;
}
