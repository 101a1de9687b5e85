/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qmr-publish simulate: what plans would do about incidents, and who would follow requests, by the machines' own code. Changes nothing. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "engine.h"
#include "file.h"
#include "json.h"
#include "log.h"
#include "plan-match.h"
#include "protect.h"
#include "publish-item.h"
#include "publish.h"

#define INCIDENT_BYTES_MAX (16u << 20)
#define INCIDENTS_MAX 10000

/* The machine that is played. */
struct stage {
	int tree_fd;                     /* its root, -1: not at hand */
	const struct qmr_config *config; /* NULL: not at hand, so that labels and ages are unknown and nothing is protected */
	json_t *answers;                 /* list, one for each plan and incident */
	int applied;                     /* something would be */
};

static const char *const match_words[] = {[QMR_MATCH_NO] = "no", [QMR_MATCH_YES] = "yes", [QMR_MATCH_UNKNOWN] = "unknown"};

static const char *describe(const struct qmr_change *change)
{
	return change->node.type == QMR_NODE_NONE ? "remove" : change->source ? "restore" : change->node.type == QMR_NODE_SYMLINK ? "link" : "write";
}

static int add_changes(json_t *answer, const struct qmr_changes *changes)
{
	json_t *list = json_array();
	int r = json_object_set_new(answer, "would", list);

	for (size_t i = 0; r == 0 && i < changes->n; i++)
		r = json_array_append_new(list, json_pack("{s:s, s:s}", "change", describe(&changes->list[i]), "path",
							  changes->list[i].path));
	for (size_t i = 0; r == 0 && i < changes->block.n; i++)
		r = json_array_append_new(list, json_pack("{s:s, s:s}", "change", "block", "module", changes->block.names[i]));
	return r;
}

/* The actions as the engines make them, or as the plan has them where there is no tree. */
static int play(struct stage *stage, const struct qmr_plan *plan, json_t *answer, struct qmr_error *err)
{
	struct qmr_engine_context context = {stage->tree_fd, plan->id};
	struct qmr_changes changes = {0};
	struct qmr_error why = {0};
	int r;

	if (stage->tree_fd < 0)
		return json_object_set(answer, "actions", json_object_get(plan->json, "actions"));
	r = qmr_engines_plan(&context, plan, &changes, &why);
	if (r == 0 && stage->config)
		r = qmr_protect_check(stage->tree_fd, stage->config, plan, &changes, &why);
	if (r < 0)
		r = json_object_set_new(answer, "refused", json_string(why.text));
	else
		r = add_changes(answer, &changes);
	qmr_changes_done(&changes);
	return r;
}

static const char *why_not(const struct stage *stage, const struct qmr_plan *plan, enum qmr_match match)
{
	if (plan->is_hold)
		return "it holds the fleet: nothing is done";
	if (plan->is_withdrawn)
		return "it is withdrawn";
	if (match == QMR_MATCH_NO)
		return "its selectors do not match";
	if (match == QMR_MATCH_UNKNOWN)
		return stage->tree_fd < 0 && qmr_plan_asks_root(plan) ? "only the machine's disk can tell (--tree)"
								      : "what its selectors ask for cannot be determined";
	if (stage->config && plan->has_published && !qmr_plan_is_old_enough(plan, stage->config, time(NULL)))
		return "it was not published so long ago as [fleet] minimum_age asks for";
	return NULL;
}

static int simulate_one(struct stage *stage, const char *plan_file, const struct qmr_plan *plan, const char *incident_file,
			const json_t *incident, struct qmr_error *err)
{
	enum qmr_match match = qmr_plan_match(plan, &(struct qmr_match_subject){incident, stage->config, stage->tree_fd});
	const char *why = why_not(stage, plan, match);
	json_t *answer = json_pack("{s:s, s:s, s:s, s:s, s:s*}", "plan", plan_file, "id", plan->id, "incident", incident_file,
				   "matches", match_words[match], "why", why);
	int r = json_array_append_new(stage->answers, answer);

	if (r == 0 && !why) {
		r = json_object_set_new(answer, "then", json_string(qmr_then_name(plan->then)));
		if (r == 0 && plan->requires)
			r = json_object_set(answer, "requires", (json_t *)plan->requires);
		if (r == 0)
			r = play(stage, plan, answer, err);
		stage->applied |= !json_object_get(answer, "refused");
	}
	return r < 0 ? qmr_error_set(err, -ENOMEM, "simulating '%s': out of memory", plan_file) : 0;
}

static const char *why_not_followed(const struct stage *stage, const struct qmr_plan *selectors, enum qmr_match match)
{
	if (match == QMR_MATCH_NO)
		return "its selectors do not match";
	if (match == QMR_MATCH_UNKNOWN)
		return stage->tree_fd < 0 && qmr_plan_asks_root(selectors) ? "only the machine's disk can tell (--tree)"
									   : "what its selectors ask for is not known of a machine that runs";
	if (stage->config && !stage->config->requests_poll)
		return "[requests] poll is not yes";
	if (stage->config && stage->config->mode < QMR_MODE_COLLECT)
		return stage->config->mode == QMR_MODE_OFF ? "the mode is off" : "mode observe does nothing";
	return NULL;
}

/* The machine that an incident is of, as it would be asked while it runs: what only the incident tells is not there. */
static int simulate_request(struct stage *stage, const char *file, const struct qmr_request *request, const char *incident_file,
			    const json_t *incident, struct qmr_error *err)
{
	const struct qmr_plan selectors = {.id = request->id, .match = request->match};
	cleanup_json json_t *facts = json_pack("{s:s, s:O*, s:O*}", "kind", "none", "machine", json_object_get(incident, "machine"), "kernel",
					       json_object_get(incident, "kernel"));
	enum qmr_match match = qmr_plan_match(&selectors, &(struct qmr_match_subject){facts, stage->config, stage->tree_fd});
	const char *why = why_not_followed(stage, &selectors, match);
	json_t *answer = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:s*}", "request", file, "id", request->id, "incident", incident_file,
				   "matches", match_words[match], "mode", qmr_request_mode_name(request->mode), "grace_minutes",
				   request->grace_minutes, "why", why);

	stage->applied |= !why;
	return facts && json_array_append_new(stage->answers, answer) == 0 ?
		       0 :
		       qmr_error_set(err, -ENOMEM, "simulating '%s': out of memory", file);
}

static int load_item(const char *path, struct qmr_publish_item *ret_item, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	size_t size;
	int r = qmr_file_read(AT_FDCWD, path, QMR_PLAN_BYTES_MAX, &data, &size, err);

	return r < 0 ? r : qmr_publish_item_parse(path, data, size, ret_item, err);
}

static int simulate_incident(struct stage *stage, const struct qmr_publish_arguments *arguments, const char *path,
			     struct qmr_error *err)
{
	cleanup_json json_t *incident = NULL;
	int r = qmr_json_load(AT_FDCWD, path, INCIDENT_BYTES_MAX, &incident, err);

	for (size_t i = 0; r == 0 && i < arguments->n_names; i++) {
		struct qmr_publish_item item = {0};

		r = load_item(arguments->names[i], &item, err);
		if (r == 0)
			r = item.is_request ? simulate_request(stage, arguments->names[i], &item.request, path, incident, err)
					    : simulate_one(stage, arguments->names[i], &item.plan, path, incident, err);
		qmr_publish_item_done(&item);
	}
	return r;
}

/* path is one, or a folder with files of this name somewhere below. */
static int simulate_incidents(struct stage *stage, const struct qmr_publish_arguments *arguments, struct qmr_error *err)
{
	char *const paths[] = {(char *)arguments->incident, NULL};
	FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	const FTSENT *entry;
	int n = 0, r = 0;

	if (!walk)
		return qmr_error_errno(err, -errno, "opening '%s'", arguments->incident);
	while (r == 0 && (entry = fts_read(walk))) {
		if (entry->fts_info == FTS_NS || entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR)
			r = qmr_error_errno(err, -entry->fts_errno, "reading '%s'", entry->fts_path);
		else if (entry->fts_info == FTS_F && (entry->fts_level == 0 || !strcmp(entry->fts_name, "incident.json")))
			r = ++n > INCIDENTS_MAX ? qmr_error_set(err, -E2BIG, "more than %d incidents", INCIDENTS_MAX)
						: simulate_incident(stage, arguments, entry->fts_path, err);
	}
	(void)fts_close(walk); /* nothing was written */
	return r == 0 && n == 0 ? qmr_error_set(err, -ENODATA, "there is no incident.json below '%s'", arguments->incident) : r;
}

static void print_answer(const json_t *answer)
{
	const char *why = qmr_json_string(answer, "why"), *refused = qmr_json_string(answer, "refused");
	const char *mode = qmr_json_string(answer, "mode");
	const json_t *would = json_object_get(answer, "would"), *entry;
	size_t i;

	qmr_publish_print_clean(stdout, qmr_json_string(answer, "incident"));
	printf(": %s: ", qmr_json_string(answer, "id"));
	qmr_publish_print_clean(stdout, refused ? refused : why ? why : mode ? "it would be followed" : "it would be applied");
	if (!why && mode)
		printf(": recovery (%s), %lld min after people are told", mode,
		       (long long)json_integer_value(json_object_get(answer, "grace_minutes")));
	else if (!why && !refused)
		printf(", then %s", qmr_json_string(answer, "then"));
	puts("");
	json_array_foreach (json_object_get(answer, "requires"), i, entry)
		printf("  if '%s' was applied before\n", json_string_value(entry));
	json_array_foreach (would, i, entry) {
		const char *path = qmr_json_string(entry, "path");

		printf("  %s ", qmr_json_string(entry, "change"));
		qmr_publish_print_clean(stdout, path ? path : qmr_json_string(entry, "module"));
		puts("");
	}
	json_array_foreach (json_object_get(answer, "actions"), i, entry) {
		const char *path = qmr_json_string(entry, "path");

		printf("  %s ", qmr_json_string(entry, "type"));
		qmr_publish_print_clean(stdout, path ? path : qmr_json_string(entry, "module"));
		puts("");
	}
}

static void print_forms(size_t n_plans, size_t n_requests)
{
	if (n_plans)
		printf("%zu plan%s of the right form\n", n_plans, n_plans == 1 ? "" : "s");
	if (n_requests)
		printf("%zu request%s of the right form\n", n_requests, n_requests == 1 ? "" : "s");
}

static int simulate(const struct qmr_publish_arguments *arguments, struct stage *stage, struct qmr_error *err)
{
	int r = stage->answers ? 0 : qmr_error_set(err, -ENOMEM, "simulating: out of memory");
	const json_t *answer;
	size_t k, n_requests = 0;

	/* All files are looked at, whatever there is of incidents. */
	for (size_t i = 0; r == 0 && i < arguments->n_names; i++) {
		struct qmr_publish_item item = {0};

		r = load_item(arguments->names[i], &item, err);
		n_requests += (size_t)item.is_request;
		qmr_publish_item_done(&item);
	}
	if (r == 0 && arguments->tree) {
		stage->tree_fd = open(arguments->tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (stage->tree_fd < 0)
			r = qmr_error_errno(err, -errno, "opening the tree '%s'", arguments->tree);
	}
	if (r == 0 && arguments->incident)
		r = simulate_incidents(stage, arguments, err);
	if (r < 0)
		return r;
	if (arguments->json && json_dumpf(stage->answers, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) < 0)
		return qmr_error_set(err, -EIO, "writing the answer failed");
	if (arguments->json)
		puts("");
	else
		json_array_foreach (stage->answers, k, answer)
			print_answer(answer);
	if (!arguments->json && !arguments->incident)
		print_forms(arguments->n_names - n_requests, n_requests);
	return fflush(stdout) < 0 ? qmr_error_errno(err, -errno, "writing the answer") : 0;
}

int qmr_publish_simulate(const struct qmr_publish_arguments *arguments)
{
	static struct qmr_config config;
	struct qmr_publish_session session = {.repository.fd = -1, .ring.fd = -1};
	struct stage stage = {.tree_fd = -1, .answers = json_array()};
	struct qmr_error err = {0};
	int r = 0;

	if (arguments->config) {
		r = qmr_config_load(arguments->config, &config, &err);
		stage.config = &config;
	}
	if (r == 0)
		r = simulate(arguments, &stage, &err);
	if (r == 0)
		r = !arguments->incident || stage.applied ? QMR_EXIT_OK : QMR_EXIT_NOTHING;
	else
		r = qmr_publish_failed("simulating", &session, &err);
	if (stage.tree_fd >= 0)
		close(stage.tree_fd);
	json_decref(stage.answers);
	return r;
}
