/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot-state-json.h"
#include "cleanup.h"
#include "file.h"
#include "guard.h"
#include "history.h"
#include "json.h"
#include "log.h"
#include "qmrctl.h"

/* Boot attempts: those of the boot state's ring, and before them those that healthy boots wrote down. */

/* Newest first; owned. */
struct attempts {
	struct qmr_attempt *list;
	size_t n;
};

struct summary {
	int healthy, failed, unknown, clean_shutdown;
	int recovered;              /* recovery was started */
	int observed;               /* it would have been, but for mode observe */
	int observed_healthy;       /* and this boot became healthy without it */
};

void qmrctl_print_attempt(const struct qmr_attempt *a)
{
	static const struct {
		unsigned int flag;
		const char *text;
	} notes[] = {
		{QMR_ATTEMPT_SOON, "soon after it was healthy"}, {QMR_ATTEMPT_ATTENDED, "somebody was there: not counted"},
		{QMR_ATTEMPT_OOPS, "the kernel had oopsed"},	  {QMR_ATTEMPT_HIBERNATED, "hibernated"},
		{QMR_ATTEMPT_PROBATION, "on probation"},	  {QMR_ATTEMPT_OBSERVED, "observed: would have recovered"},
		{QMR_ATTEMPT_RECOVER, "then recovery"},
	};
	char started[32];

	qmrctl_format_time((int64_t)a->started_unix_s, started);
	printf("  %6" PRIu32 "  %s  %-14s %-16s %6" PRIu32 " s", a->number, started,
	       a->outcome == QMR_OPEN ? "running" : qmr_outcome_name(a->outcome), qmr_phase_name(a->phase), a->uptime_s);
	if (a->evidence != QMR_BY_NONE)
		printf("  by %s", qmr_evidence_name(a->evidence));
	for (size_t i = 0; i < sizeof(notes) / sizeof(*notes); i++)
		if (a->flags & notes[i].flag)
			printf("  %s", notes[i].text);
	printf("\n");
}

static int is_listed(const struct attempts *all, const struct qmr_attempt *a)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->list[i].number == a->number && all->list[i].started_unix_s == a->started_unix_s)
			return 1;
	return 0;
}

/* The ring is the newer of the two where both have an attempt. */
static int merge(const struct qmr_state *state, const struct qmr_attempt *old, size_t n_old, struct attempts *ret, struct qmr_error *err)
{
	ret->list = calloc(state->n_attempts + n_old + 1, sizeof(*ret->list));
	if (!ret->list)
		return qmr_error_set(err, -ENOMEM, "out of memory");
	memcpy(ret->list, state->attempts, state->n_attempts * sizeof(*ret->list));
	ret->n = state->n_attempts;
	for (size_t i = n_old; i > 0; i--)
		if (!is_listed(ret, &old[i - 1]))
			ret->list[ret->n++] = old[i - 1];
	return 0;
}

static struct summary count(const struct attempts *all)
{
	struct summary s = {0};

	for (size_t i = 0; i < all->n; i++) {
		const struct qmr_attempt *a = &all->list[i];
		int is_observed = (a->flags & QMR_ATTEMPT_OBSERVED) != 0, is_healthy = a->outcome == QMR_HEALTHY;

		s.healthy += is_healthy;
		s.failed += a->outcome == QMR_PANIC || a->outcome == QMR_HANG || a->outcome == QMR_EMERGENCY;
		s.unknown += a->outcome == QMR_UNKNOWN;
		s.clean_shutdown += a->outcome == QMR_CLEAN_SHUTDOWN;
		s.recovered += (a->flags & QMR_ATTEMPT_RECOVER) != 0;
		s.observed += is_observed;
		s.observed_healthy += is_observed && is_healthy;
	}
	return s;
}

static int print_json(const struct attempts *all, const struct summary *s, const struct qmr_error *why, struct qmr_error *err)
{
	cleanup_json json_t *list = json_array();
	cleanup_json json_t *json = NULL;

	for (size_t i = 0; i < all->n; i++)
		if (json_array_append_new(list, qmr_attempt_to_json(&all->list[i])) < 0)
			return qmr_error_set(err, -ENOMEM, "out of memory");
	json = json_pack("{s:i, s:O, s:{s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i}, s:o}", "schema", 1, "attempts", list, "summary", "attempts",
			 (json_int_t)all->n, "healthy", s->healthy, "failed", s->failed, "unknown", s->unknown, "clean_shutdown",
			 s->clean_shutdown, "recovered", s->recovered, "would_have_recovered", s->observed,
			 "would_have_recovered_healthy", s->observed_healthy, "error", qmrctl_error_json(why));
	return qmrctl_print_json(json, err);
}

static void print_text(const struct attempts *all, const struct summary *s)
{
	printf("  number  started              outcome        phase            uptime\n");
	for (size_t i = 0; i < all->n; i++)
		qmrctl_print_attempt(&all->list[i]);
	printf("of the last %zu attempts: %d healthy, %d failed, %d without evidence, %d left on purpose before healthy\n", all->n, s->healthy,
	       s->failed, s->unknown, s->clean_shutdown);
	printf("recovery: started %d times; mode observe would have started it %d times, and %d of these boots became healthy without it\n",
	       s->recovered, s->observed, s->observed_healthy);
}

int qmrctl_history(struct qmrctl *ctl, struct qmr_error *err)
{
	cleanup_free struct qmr_attempt *old = NULL;
	cleanup_free char *text = NULL;
	struct qmr_error why = {0}, unread = {0};
	struct attempts all = {0};
	struct qmr_state state;
	struct summary summary;
	size_t size = 0, n_old = 0;
	uint8_t root[16];
	int r, r_state;

	qmr_guard_root_id(&ctl->config, root);
	r_state = qmr_state_load(root, &state, &why);
	r = qmr_file_read(AT_FDCWD, QMR_HISTORY_PATH, QMR_HISTORY_BYTES_MAX, &text, &size, &unread);
	if (r < 0 && r != -ENOENT)
		qmr_warning("%s; older attempts than those of the boot state are not shown", unread.text);
	r = text ? qmr_history_parse(text, size, root, &old, &n_old, err) : 0;
	if (r == 0)
		r = merge(&state, old, n_old, &all, err);
	if (r < 0)
		return r;
	summary = count(&all);
	if (ctl->json)
		r = print_json(&all, &summary, &why, err);
	else if (r_state < 0 && !all.n)
		r = qmr_error_set(err, r_state == -EINVAL ? -EIO : r_state, "there is no history: %s", why.text);
	else
		print_text(&all, &summary);
	if (r_state < 0 && all.n && !ctl->json)
		qmr_warning("%s; these attempts are those that healthy boots wrote down", why.text);
	free(all.list);
	return r;
}
