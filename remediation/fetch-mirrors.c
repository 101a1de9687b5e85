/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-mirrors.h"

#include <errno.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "retry.h"

#define LEAST_MS 1000 /* no source is tried with less time than this */

struct run {
	struct qmr_fetch_job *job;
	struct qmr_fetch_source *sources;
	size_t n;
	struct qmr_tuf_client *client;
	struct qmr_fetch_update *update;
	int64_t deadline_ms;
};

static size_t count_left(const struct run *run, size_t from)
{
	size_t n = 0;

	for (size_t i = from; i < run->n; i++)
		n += !run->sources[i].is_out;
	return n;
}

/* What an earlier source left must not be taken for this one's. */
static void begin_afresh(struct run *run)
{
	struct qmr_fetch_store *store = run->job->store;
	const char *path = store->path;

	qmr_fetch_update_done(run->update);
	qmr_tuf_client_done(run->client);
	memset(run->update, 0, sizeof(*run->update));
	memset(run->client, 0, sizeof(*run->client));
	qmr_fetch_store_done(store);
	qmr_fetch_store_open(path, store);
	qmr_fetch_store_load(store);
}

/* What it proved counts for the next source, and for the next run, whatever became of it. */
static void raise_floor(struct run *run)
{
	struct qmr_fetch_job *job = run->job;
	struct qmr_error why = {0};
	struct qmr_floor floor;

	if (!run->client->trusted.root.json)
		return; /* it did not come to that */
	if (qmr_tuf_client_get_floor(run->client, job->root, job->root_size, &floor, &why) < 0)
		qmr_warning("%s; what was seen is not remembered", why.text);
	else
		job->floor = floor;
}

static int try_source(struct run *run, size_t i, int64_t left_ms, int is_first)
{
	struct qmr_fetch_source *source = run->sources + i;
	struct qmr_fetch_job *job = run->job;
	int r;

	if (!is_first)
		begin_afresh(run);
	job->url = source->url;
	job->folder_fd = source->folder_fd;
	job->flags = count_left(run, 0) > 1 ? QMR_FETCH_HAS_OTHERS : 0;
	job->deadline_ms = qmr_clock_ms() + left_ms / (int64_t)count_left(run, i);
	/* Of each source another sequence: none of them is in step with another machine's. */
	job->network.seed++;
	memset(&source->result, 0, sizeof(source->result));
	r = qmr_fetch_run(job, run->client, run->update, &source->result);
	raise_floor(run);
	source->result.code = r; /* what was said on the way to a success is not its result */
	source->is_tried = 1;
	source->is_out = r != -ETIMEDOUT || source->kind != QMR_FETCH_HTTPS;
	if (r < 0)
		qmr_info("'%s': %s", source->url, source->result.text);
	return r;
}

/* 0: one of them has won, which is *ret_winner. */
static int try_all(struct run *run, int *is_first, const struct qmr_fetch_source **ret_winner)
{
	for (size_t i = 0; i < run->n; i++) {
		int64_t left_ms = run->deadline_ms - qmr_clock_ms();

		if (run->sources[i].is_out)
			continue;
		if (left_ms < LEAST_MS && run->sources[i].is_tried)
			continue;
		if (try_source(run, i, left_ms < LEAST_MS ? LEAST_MS : left_ms, *is_first) == 0) {
			*ret_winner = run->sources + i;
			return 0;
		}
		*is_first = 0;
	}
	return -ETIMEDOUT;
}

static int gravity(int code)
{
	switch (code) {
	case -EBADMSG:
	case -EKEYREJECTED:
		return 3;
	case -ETIMEDOUT:
	case -EBUSY:
		return 2;
	default:
		return code < 0;
	}
}

static int tell_gravest(const struct run *run, const struct qmr_fetch_source **ret_winner,
			struct qmr_error *err)
{
	const struct qmr_fetch_source *worst = run->sources;

	for (size_t i = 1; i < run->n; i++)
		if (gravity(run->sources[i].result.code) > gravity(worst->result.code))
			worst = run->sources + i;
	*ret_winner = worst;
	if (run->n == 1)
		return qmr_error_set(err, worst->result.code, "%s", worst->result.text);
	return qmr_error_set(err, worst->result.code, "none of %zu sources could be used; '%s': %s",
			     run->n, worst->url, worst->result.text);
}

int qmr_fetch_mirrors_run(struct qmr_fetch_job *job, struct qmr_fetch_source *sources, size_t n,
			  struct qmr_tuf_client *client, struct qmr_fetch_update *update,
			  const struct qmr_fetch_source **ret_winner, struct qmr_error *err)
{
	struct run run = {job, sources, n, client, update,
			  qmr_clock_ms() + job->timeout_s * 1000LL};
	struct qmr_retry retry;
	int is_first = 1;

	qmr_retry_begin(&retry, job->network.seed);
	while (count_left(&run, 0) > 0) {
		int64_t pause_ms;

		if (try_all(&run, &is_first, ret_winner) == 0)
			return 0;
		pause_ms = qmr_retry_next_ms(&retry, 0);
		if (pause_ms + LEAST_MS > run.deadline_ms - qmr_clock_ms())
			break;
		if (count_left(&run, 0) > 0)
			qmr_retry_sleep(pause_ms);
	}
	return tell_gravest(&run, ret_winner, err);
}
