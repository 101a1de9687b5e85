/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What plans say of each other: {"supersedes": {id: [ids]}, "requires": {id: [ids]}, "ids": {id: true}}. */
#include <errno.h>

#include "json.h"
#include "plan.h"
#include "publish.h"

static const char *const relations[] = {"supersedes", "requires"};

int qmr_publish_set_add(json_t *set, const json_t *plan, struct qmr_error *err)
{
	const char *id = qmr_json_string(plan, "id");
	int r = 0;

	for (size_t i = 0; i < 2; i++) {
		json_t *list = json_object_get(plan, relations[i]), *all = json_object_get(set, relations[i]);

		if (!all)
			r |= json_object_set_new(set, relations[i], all = json_object());
		r |= list ? json_object_set(all, id, list) : 0;
	}
	if (!json_object_get(set, "ids"))
		r |= json_object_set_new(set, "ids", json_object());
	r |= json_object_set_new(json_object_get(set, "ids"), id, json_true());
	return r < 0 ? qmr_error_set(err, -ENOMEM, "looking at plans: out of memory") : 0;
}

/* Whether one of the ids in a list has a list itself that is still there. */
static int leads_on(const json_t *all, const json_t *list)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (list, i, entry)
		if (json_object_get(all, json_string_value(entry)))
			return 1;
	return 0;
}

int qmr_publish_set_check(json_t *set, struct qmr_error *err)
{
	for (size_t i = 0; i < 2; i++) {
		json_t *all = json_object_get(set, relations[i]), *list;
		int is_changed = 1;
		const char *id;
		void *next;

		/* What leads nowhere is taken out until there is nothing, or nothing but circles and what leads to them. */
		while (is_changed) {
			is_changed = 0;
			json_object_foreach_safe (all, next, id, list)
				if (!leads_on(all, list)) {
					(void)json_object_del(all, id); /* it is there */
					is_changed = 1;
				}
		}
		json_object_foreach (all, id, list)
			return qmr_error_set(err, -EBADMSG, "plan '%s': %s: this leads round in a circle", id, relations[i]);
	}
	return 0;
}

json_t *qmr_publish_set_missing(const json_t *set)
{
	json_t *missing = json_array(), *list;
	const char *id;

	json_object_foreach (json_object_get(set, "requires"), id, list) {
		const json_t *entry;
		size_t i;

		json_array_foreach (list, i, entry)
			if (!json_object_get(json_object_get(set, "ids"), json_string_value(entry)))
				(void)json_array_append_new(missing, json_pack("{s:s, s:s}", "id", id, "requires",
									       json_string_value(entry)));
	}
	return missing;
}
