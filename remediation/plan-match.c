/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plan-match.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "form.h"
#include "hash.h"
#include "json.h"
#include "plan-form.h"

#define DEPTH_MAX 8
#define NODES_MAX 64

struct selector;

/* What one selector is evaluated with. */
struct question {
	const struct selector *selector;
	const json_t *value;
	const struct qmr_plan *plan;
	const struct qmr_match_subject *subject;
};

/* A selector. Adding one means adding a line, and a line to the documentation and to plan.schema.json. */
struct selector {
	const char *name;
	const char *object, *field; /* where incident.json says it; object NULL: at its top; field NULL: elsewhere */
	const char *(*check)(const json_t *value); /* why the value is not of its form; NULL: it is */
	enum qmr_match (*evaluate)(const struct question *question);
	int asks_root;
};

static const char *check_text(const json_t *value)
{
	return json_is_string(value) ? NULL : "not a string";
}

static const char *check_label(const json_t *value)
{
	return json_is_string(value) && qmr_form_is_label(json_string_value(value)) ? NULL : "not 1 to 63 of A-Za-z0-9._-";
}

static const char *check_percent(const json_t *value)
{
	return json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= 100
		       ? NULL
		       : "not a whole number from 0 to 100";
}

/* The bounds of a version; the relations of what the machine has to them. */
static const struct {
	const char *name;
	int below, equal, above; /* whether this order of "is" to the bound is wanted */
} bounds[] = {
	{"at-least", 0, 1, 1},
	{"at-most", 1, 1, 0},
	{"above", 0, 0, 1},
	{"below", 1, 0, 0},
};

static int is_version(const json_t *value, enum qmr_version_kind kind)
{
	return json_is_string(value) && qmr_version_is_valid(kind, json_string_value(value), json_string_length(value));
}

static const char *check_version_of(const json_t *value, enum qmr_version_kind kind)
{
	const json_t *bound;
	const char *key;

	if (!json_is_object(value))
		return is_version(value, kind) ? NULL : "not a version";
	if (json_object_size(value) == 0)
		return "no bound";
	json_object_foreach ((json_t *)value, key, bound) {
		size_t i = 0;

		while (i < sizeof(bounds) / sizeof(*bounds) && strcmp(bounds[i].name, key))
			i++;
		if (i == sizeof(bounds) / sizeof(*bounds))
			return "a bound is none of at-least, at-most, above, below";
		if (!is_version(bound, kind))
			return "a bound is not a version";
	}
	return NULL;
}

static const char *check_version(const json_t *value)
{
	return check_version_of(value, QMR_VERSION_TEXT);
}

/* An object with a text of its form, and one other key that may be there. */
static const char *check_object(const json_t *value, const char *needed, int (*is_form)(const char *text), const char *other)
{
	const char *text = qmr_json_string(value, needed), *key;
	const json_t *unused;

	if (!text || !is_form(text))
		return "not an object with a 'path' or 'name' of its form";
	json_object_foreach ((json_t *)value, key, unused)
		if (strcmp(key, needed) && strcmp(key, other))
			return "an unknown key in it";
	return NULL;
}

static const char *check_file(const json_t *value)
{
	const json_t *sha256 = json_object_get(value, "sha256");
	const char *why = check_object(value, "path", qmr_form_is_path, "sha256");

	if (!why && sha256 && !(json_is_string(sha256) && qmr_form_is_sha256(json_string_value(sha256))))
		return "'sha256' is not 64 lower-case hexadecimal digits";
	return why;
}

static const char *check_package(const json_t *value)
{
	const json_t *version = json_object_get(value, "version");
	const char *why = check_object(value, "name", qmr_form_is_package, "version");

	return why || !version ? why : check_version_of(version, QMR_VERSION_PACKAGE);
}

static enum qmr_match from_bool(int is_so)
{
	return is_so ? QMR_MATCH_YES : QMR_MATCH_NO;
}

static const char *incident_text(const struct question *question)
{
	const json_t *at = question->subject->incident;

	if (question->selector->object)
		at = json_object_get(at, question->selector->object);
	return qmr_json_string(at, question->selector->field);
}

static enum qmr_match is_text(const struct question *question)
{
	const char *is = incident_text(question);

	return is ? from_bool(!strcmp(is, json_string_value(question->value))) : QMR_MATCH_UNKNOWN;
}

static enum qmr_match is_module(const struct question *question)
{
	const char *is = incident_text(question);

	return is ? from_bool(qmr_form_is_same_module(is, json_string_value(question->value))) : QMR_MATCH_UNKNOWN;
}

enum qmr_match qmr_match_version(const json_t *value, enum qmr_version_kind kind, const char *is)
{
	int matches = 1;

	if (!is)
		return QMR_MATCH_UNKNOWN;
	if (json_is_string(value))
		return from_bool(!strcmp(is, json_string_value(value)));
	if (!qmr_version_is_valid(kind, is, strlen(is)))
		return QMR_MATCH_UNKNOWN;
	for (size_t i = 0; i < sizeof(bounds) / sizeof(*bounds); i++) {
		const char *bound = qmr_json_string(value, bounds[i].name);
		int order = bound ? qmr_version_compare(kind, is, bound) : 0;

		if (bound && !(order < 0 ? bounds[i].below : order > 0 ? bounds[i].above : bounds[i].equal))
			matches = 0;
	}
	return from_bool(matches);
}

static enum qmr_match is_version_text(const struct question *question)
{
	return qmr_match_version(question->value, QMR_VERSION_TEXT, incident_text(question));
}

static enum qmr_match has_label(const struct question *question)
{
	const struct qmr_config *config = question->subject->config;

	if (!config)
		return QMR_MATCH_UNKNOWN;
	for (size_t i = 0; i < config->n_label; i++)
		if (!strcmp(config->label[i], json_string_value(question->value)))
			return QMR_MATCH_YES;
	return QMR_MATCH_NO;
}

/* The same machine has another number for each plan, so that it is not always the same ones that go first. */
static enum qmr_match is_in_percent(const struct question *question)
{
	const char *machine = qmr_json_string(json_object_get(question->subject->incident, "machine"), "machine_id");
	char text[256], hex[QMR_SHA256_HEX];
	unsigned long long number;
	int n;

	if (!machine)
		return QMR_MATCH_UNKNOWN;
	n = snprintf(text, sizeof(text), "%s\n%s", machine, question->plan->id);
	if (n >= (int)sizeof(text) || qmr_sha256(text, (size_t)n, hex, NULL) < 0)
		return QMR_MATCH_UNKNOWN;
	hex[16] = '\0';
	number = strtoull(hex, NULL, 16) % 100;
	return from_bool((json_int_t)number < json_integer_value(question->value));
}

static enum qmr_match has_file(const struct question *question)
{
	return qmr_match_file(question->value, question->subject->root_fd);
}

static enum qmr_match has_package(const struct question *question)
{
	return qmr_match_package(question->value, question->subject->root_fd);
}

static const struct selector selectors[] = {
	{"culprit-module", "culprit", "module", check_text, is_module, 0},
	{"culprit-module-version", "culprit", "module_version", check_version, is_version_text, 0},
	{"oops-function", "culprit", "function", check_text, is_text, 0},
	{"incident-kind", NULL, "kind", check_text, is_text, 0},
	{"kernel-release", NULL, "kernel", check_version, is_version_text, 0},
	{"os-id", "machine", "os_id", check_text, is_text, 0},
	{"os-version", "machine", "os_version", check_version, is_version_text, 0},
	{"architecture", "machine", "architecture", check_text, is_text, 0},
	{"machine-id", "machine", "machine_id", check_text, is_text, 0},
	{"dmi-vendor", "machine", "dmi_vendor", check_text, is_text, 0},
	{"dmi-product", "machine", "dmi_product", check_text, is_text, 0},
	{"label", NULL, NULL, check_label, has_label, 0},
	{"percent", NULL, NULL, check_percent, is_in_percent, 0},
	{"file", NULL, NULL, check_file, has_file, 1},
	{"package", NULL, NULL, check_package, has_package, 1},
};

static const struct selector *find_selector(const char *name)
{
	for (size_t i = 0; i < sizeof(selectors) / sizeof(*selectors); i++)
		if (!strcmp(selectors[i].name, name))
			return &selectors[i];
	return NULL;
}

static int check_node(const json_t *node, int depth, int *nodes, const char **ret_field, const char **ret_why)
{
	const char *key = json_object_iter_key(json_object_iter((json_t *)node));
	const json_t *value = key ? json_object_get(node, key) : NULL;
	const struct selector *selector = key ? find_selector(key) : NULL;
	const json_t *child;
	size_t i;
	int r = 0;

	*ret_field = "match";
	*ret_why = "too many or too deeply nested selectors";
	if (++*nodes > NODES_MAX || depth > DEPTH_MAX)
		return -EINVAL;
	*ret_why = "not an object with exactly one key";
	if (json_object_size(node) != 1)
		return -EINVAL;
	if (!strcmp(key, "not"))
		return check_node(value, depth + 1, nodes, ret_field, ret_why);
	*ret_field = key;
	if (selector) {
		*ret_why = selector->check(value);
		return *ret_why ? -EINVAL : 0;
	}
	*ret_why = "unknown selector";
	if (strcmp(key, "all") && strcmp(key, "any"))
		return -EINVAL;
	*ret_why = "not a list with at least one selector";
	if (json_array_size(value) == 0)
		return -EINVAL;
	json_array_foreach (value, i, child)
		if (r == 0)
			r = check_node(child, depth + 1, nodes, ret_field, ret_why);
	return r;
}

int qmr_match_check(const json_t *match, const char **ret_field, const char **ret_why)
{
	int nodes = 0;

	return check_node(match, 1, &nodes, ret_field, ret_why);
}

static enum qmr_match match_node(const json_t *node, const struct qmr_plan *plan, const struct qmr_match_subject *subject)
{
	const char *key = json_object_iter_key(json_object_iter((json_t *)node));
	const json_t *value = json_object_get(node, key), *child;
	const struct selector *selector = find_selector(key);
	enum qmr_match decisive, result;
	size_t i;

	if (selector)
		return selector->evaluate(&(struct question){selector, value, plan, subject});
	if (!strcmp(key, "not")) {
		result = match_node(value, plan, subject);
		return result == QMR_MATCH_UNKNOWN ? result : result == QMR_MATCH_YES ? QMR_MATCH_NO : QMR_MATCH_YES;
	}
	/* all: one "no" decides; any: one "yes" does; else one unknown leaves it unknown (Kleene's logic). */
	decisive = !strcmp(key, "all") ? QMR_MATCH_NO : QMR_MATCH_YES;
	result = decisive == QMR_MATCH_NO ? QMR_MATCH_YES : QMR_MATCH_NO;
	json_array_foreach (value, i, child) {
		enum qmr_match one = match_node(child, plan, subject);

		if (one == decisive)
			return one;
		if (one == QMR_MATCH_UNKNOWN)
			result = one;
	}
	return result;
}

enum qmr_match qmr_plan_match(const struct qmr_plan *plan, const struct qmr_match_subject *subject)
{
	return plan->match ? match_node(plan->match, plan, subject) : QMR_MATCH_UNKNOWN;
}

static int asks_root(const json_t *node)
{
	const char *key = json_object_iter_key(json_object_iter((json_t *)node));
	const json_t *value = json_object_get(node, key), *child;
	const struct selector *selector = find_selector(key);
	size_t i;

	if (selector)
		return selector->asks_root;
	if (json_is_object(value))
		return asks_root(value);
	json_array_foreach (value, i, child)
		if (asks_root(child))
			return 1;
	return 0;
}

int qmr_plan_asks_root(const struct qmr_plan *plan)
{
	return plan->match && asks_root(plan->match);
}
