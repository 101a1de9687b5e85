/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-plans.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "fetch-update.h"
#include "file.h"
#include "hash.h"
#include "json.h"

#define HOLD_BYTES (sizeof(QMR_FETCH_HOLD) - 1)

/* A leftover of a cut, NN-x.json.qmr-new, counts too. */
static int is_plan_file(const char *name)
{
	return !strncmp(name, QMR_FETCH_HOLD, HOLD_BYTES) ||
	       (isdigit((unsigned char)name[0]) && isdigit((unsigned char)name[1]) && name[2] == '-' &&
		strstr(name, ".json"));
}

int qmr_fetch_plans_clear(int out_fd, struct qmr_error *err)
{
	return qmr_file_remove_some(out_fd, ".", is_plan_file, "earlier plans", err);
}

/* One plan of the repository. */
struct candidate {
	const struct qmr_fetch_file *file;
	struct qmr_plan plan;
	enum qmr_match match;
	int is_undecided; /* only the root can tell */
	const char *why;  /* it is not passed on; NULL: it is */
	int is_placed;    /* its place in the order is found */
};

struct candidates {
	struct candidate *list; /* owned */
	size_t n;
};

static void done(struct candidates *candidates)
{
	for (size_t i = 0; i < candidates->n; i++)
		qmr_plan_done(&candidates->list[i].plan);
	free(candidates->list);
}

static int append(json_t *list, json_t *item, const char *name, struct qmr_error *err)
{
	return json_array_append_new(list, item) == 0
		       ? 0
		       : qmr_error_set(err, -ENOMEM, "plan '%s': out of memory", name);
}

static int parse_all(const struct qmr_fetch_files *files, struct candidates *candidates, const struct qmr_fetch_lists *lists,
		     struct qmr_error *err)
{
	int r = 0;

	candidates->list = calloc(files->n + 1, sizeof(*candidates->list));
	if (!candidates->list)
		return qmr_error_set(err, -ENOMEM, "matching plans: out of memory");
	for (size_t i = 0; r == 0 && i < files->n; i++) {
		const struct qmr_fetch_file *file = &files->items[i];
		struct candidate *candidate = &candidates->list[candidates->n];
		struct qmr_error why = {0};

		candidate->file = file;
		if (qmr_plan_parse(file->name, file->data, file->size, &candidate->plan, &why) < 0)
			r = qmr_fetch_refuse_plan(lists->refused, file->name, why.text, err);
		else
			candidates->n++;
		/* What a plan does decides nothing here, and is most of it. */
		candidate->plan.n_actions = 0;
		(void)json_object_del(candidate->plan.json, "actions"); /* -1: a hold has none */
	}
	return r;
}

static void judge(struct candidate *candidate, const struct qmr_match_subject *subject, int64_t now_unix_s)
{
	candidate->match = qmr_plan_match(&candidate->plan, subject);
	candidate->is_undecided = candidate->match == QMR_MATCH_UNKNOWN && qmr_plan_asks_root(&candidate->plan);
	if (candidate->plan.is_withdrawn)
		candidate->why = "it was withdrawn";
	else if (candidate->match == QMR_MATCH_NO)
		candidate->why = "its selectors do not match the incident";
	else if (candidate->match == QMR_MATCH_UNKNOWN && !candidate->is_undecided)
		candidate->why = "the incident does not say all that its selectors ask for";
	else if (!qmr_plan_is_old_enough(&candidate->plan, subject->config, now_unix_s))
		candidate->why = "it was not published so long ago as [fleet] minimum_age asks for";
}

/*
 * What only the root can decide, and is passed on, is tried first and decided then. What will not be tried, but might match, supersedes: its
 * owner said that the other one is not good enough.
 */
static int is_superseding(const struct candidate *by, const struct candidate *other)
{
	return by != other && qmr_json_list_has(by->plan.supersedes, other->plan.id) &&
	       (by->match == QMR_MATCH_YES || (by->is_undecided && by->why));
}

static void judge_all(struct candidates *candidates, const struct qmr_match_subject *subject, int64_t now_unix_s)
{
	int is_changed = 1;

	for (size_t i = 0; i < candidates->n; i++)
		judge(&candidates->list[i], subject, now_unix_s);
	/* What is superseded supersedes in turn: until nothing changes, at most once for each plan. */
	while (is_changed) {
		is_changed = 0;
		for (size_t i = 0; i < candidates->n; i++)
			for (size_t j = 0; j < candidates->n; j++)
				if (!candidates->list[i].why && is_superseding(&candidates->list[j], &candidates->list[i])) {
					candidates->list[i].why = "another plan supersedes it";
					is_changed = 1;
				}
	}
}

static int is_before(const struct candidate *first, const struct candidate *second)
{
	return first != second && !first->why && !first->is_placed &&
	       (qmr_json_list_has(first->plan.supersedes, second->plan.id) ||
		qmr_json_list_has(second->plan.requires, first->plan.id));
}

/* The first that nothing else has to precede; where plans go round in a circle, the first. */
static struct candidate *next(struct candidates *candidates)
{
	struct candidate *fallback = NULL;

	for (size_t i = 0; i < candidates->n; i++) {
		struct candidate *candidate = &candidates->list[i];
		int must_wait = 0;

		if (candidate->why || candidate->is_placed)
			continue;
		fallback = fallback ? fallback : candidate;
		for (size_t j = 0; j < candidates->n; j++)
			must_wait |= is_before(&candidates->list[j], candidate);
		if (!must_wait)
			return candidate;
	}
	return fallback;
}

static int write_plan(const struct candidate *candidate, int out_fd, json_t *plans, struct qmr_error *err)
{
	const struct qmr_fetch_file *file = candidate->file;
	char name[96], sha256[QMR_SHA256_HEX];
	json_t *entry;
	int r;

	snprintf(name, sizeof(name), "%02zu-%s.json", json_array_size(plans) + 1, candidate->plan.id);
	r = qmr_sha256(file->data, file->size, sha256, err);
	if (r == 0)
		r = qmr_file_replace(out_fd, name, file->data, file->size, 0600, err);
	if (r < 0)
		return r;
	entry = json_pack("{s:s, s:s, s:s}", "file", name, "id", candidate->plan.id, "sha256", sha256);
	if (entry && candidate->is_undecided)
		json_object_set_new(entry, "undecided", json_true());
	return append(plans, entry, file->name, err);
}

static int write_all(struct candidates *candidates, int out_fd, const struct qmr_fetch_lists *lists, struct qmr_error *err)
{
	struct candidate *candidate;
	int r = 0;

	for (size_t i = 0; r == 0 && i < candidates->n; i++)
		if (candidates->list[i].why)
			r = append(lists->not_matched,
				   json_pack("{s:s, s:s}", "id", candidates->list[i].plan.id, "why", candidates->list[i].why),
				   candidates->list[i].file->name, err);
	for (size_t i = 0; r == 0 && i < candidates->n; i++)
		if (candidates->list[i].plan.is_withdrawn)
			r = append(lists->withdrawn, json_string(candidates->list[i].plan.id), candidates->list[i].file->name, err);
	while (r == 0 && (candidate = next(candidates))) {
		candidate->is_placed = 1;
		r = json_array_size(lists->plans) == QMR_FETCH_MATCHES_MAX
			    ? qmr_fetch_refuse_plan(lists->refused, candidate->file->name, "99 plans before it match already", err)
			    : write_plan(candidate, out_fd, lists->plans, err);
	}
	return r;
}

static int write_hold(const struct candidate *hold, int out_fd, struct qmr_fetch_lists *lists, struct qmr_error *err)
{
	lists->hold = json_pack("{s:s, s:s}", "id", hold->plan.id, "title", hold->plan.title);
	if (!lists->hold)
		return qmr_error_set(err, -ENOMEM, "plan '%s': out of memory", hold->file->name);
	return qmr_file_replace(out_fd, QMR_FETCH_HOLD, hold->file->data, hold->file->size, 0600, err);
}

int qmr_fetch_plans_write(const struct qmr_fetch_files *plans, const struct qmr_match_subject *subject, int64_t now_unix_s,
			  int out_fd, struct qmr_fetch_lists *lists, struct qmr_error *err)
{
	QMR_CLEANUP(done) struct candidates candidates = {0};
	const struct candidate *hold = NULL;
	int r = parse_all(plans, &candidates, lists, err);

	for (size_t i = 0; !hold && i < candidates.n; i++)
		hold = candidates.list[i].plan.is_hold ? &candidates.list[i] : NULL;
	if (r == 0 && hold) {
		r = write_hold(hold, out_fd, lists, err);
	} else if (r == 0) {
		judge_all(&candidates, subject, now_unix_s);
		r = write_all(&candidates, out_fd, lists, err);
	}
	if (r < 0) {
		json_array_clear(lists->plans);
		json_array_clear(lists->withdrawn);
		if (qmr_fetch_plans_clear(out_fd, NULL) < 0)
			return r; /* the first error is the one to report */
	}
	return r;
}
