/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "fetch-message.h"
#include "log.h"
#include "retry.h"

#define GRACE_MS 10000 /* beyond the child's own deadline, to verify and pass on what it has */
#define STREAM_ROOM_FIRST 65536
/* Names and headers, beside the data that QMR_FETCH_STREAM_MAX bounds. */
#define STREAM_BYTES_MAX (QMR_FETCH_STREAM_MAX + QMR_FETCH_FILES_MAX * 2100u)

struct stream {
	char *data; /* owned */
	size_t used, room;
};

static int start_child(const struct qmr_fetch_job *job, pid_t *ret_pid, int *ret_fd,
		       struct qmr_error *err)
{
	pid_t parent = getpid(), pid;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return qmr_error_errno(err, -errno, "making a pipe");
	pid = fork();
	if (pid < 0) {
		int r = qmr_error_errno(err, -errno, "starting the downloading process");

		close(fds[0]);
		close(fds[1]);
		return r;
	}
	if (pid == 0)
		_exit(qmr_fetch_child(fds[1], parent, job));
	close(fds[1]);
	*ret_pid = pid;
	*ret_fd = fds[0];
	return 0;
}

static int make_room(struct stream *stream)
{
	size_t room = stream->room ? stream->room * 2 : STREAM_ROOM_FIRST;
	char *grown;

	if (stream->used < stream->room)
		return 0;
	if (stream->room == STREAM_BYTES_MAX)
		return -E2BIG;
	if (room > STREAM_BYTES_MAX)
		room = STREAM_BYTES_MAX;
	grown = realloc(stream->data, room);
	if (!grown)
		return -ENOMEM;
	stream->data = grown;
	stream->room = room;
	return 0;
}

/* Reads to the end of the stream or until the deadline. */
static int read_stream(int fd, int64_t deadline_ms, struct stream *stream, struct qmr_error *err)
{
	for (;;) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		int64_t left_ms = deadline_ms - qmr_clock_ms();
		int r = make_room(stream);
		ssize_t n;

		if (r < 0)
			return qmr_error_set(
				err, r, "the downloading process says more than there is room for");
		if (left_ms <= 0)
			return qmr_error_set(
				err, -ETIMEDOUT,
				"the downloading process did not end in time and was ended");
		r = poll(&poll_fd, 1, left_ms > 60000 ? 60000 : (int)left_ms);
		if (r == 0 || (r < 0 && errno == EINTR))
			continue;
		n = r < 0 ? r : read(fd, stream->data + stream->used, stream->room - stream->used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return qmr_error_errno(err, -errno, "reading from the downloading process");
		if (n == 0)
			return 0;
		stream->used += (size_t)n;
	}
}

/*
 * The child's work is over, or not wanted any more. Returns its status as waitpid(2) gives it: its
 * own if it was ending by itself, which is how the stream ends, unless it is hostile.
 */
static int end_child(pid_t pid)
{
	int status = 0;

	(void)kill(pid, SIGKILL); /* not reaped yet, so the id is still its own */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static int collect(const struct qmr_fetch_job *job, struct qmr_fetch_files *ret_files,
		   struct qmr_error *ret_result, struct qmr_error *err)
{
	cleanup_close int fd = -1;
	struct stream stream = {0};
	pid_t pid = -1;
	int status, r;

	r = start_child(job, &pid, &fd, err);
	if (r < 0)
		return r;
	r = read_stream(fd, job->deadline_ms + GRACE_MS, &stream, err);
	status = end_child(pid);
	if (r == 0)
		r = qmr_fetch_stream_parse(stream.data, stream.used, ret_files, ret_result, err);
	if (r == -EPROTO && WIFSIGNALED(status))
		r = qmr_error_set(err, -EPROTO, "the downloading process died of signal %d",
				  WTERMSIG(status));
	free(stream.data);
	return r;
}

/*
 * The second verification: the repository is now what the child passed on, in the order in which it
 * did.
 */
struct replay {
	const struct qmr_fetch_files *files;
	size_t next;
	const struct qmr_error *result; /* the child's */
	struct qmr_fetch_store *store;
};

static int replay_fetch(void *user, const char *path, size_t max_bytes, char **ret_data,
			size_t *ret_size, struct qmr_error *err)
{
	struct replay *replay = user;
	struct qmr_fetch_files one = {.items = replay->files->items + replay->next, .n = 1};

	if (replay->next < replay->files->n) {
		int r = qmr_fetch_files_fetch(&one, path, max_bytes, ret_data, ret_size, err);

		if (r == 0)
			replay->next++;
		return r; /* -ENOENT: the next root, which the child did not find either */
	}
	if (replay->result->code < 0)
		return qmr_error_set(err, replay->result->code, "%s", replay->result->text);
	return qmr_error_set(err, -ENOENT, "there is no '%s'", path);
}

static int replay_accepted(void *user, const char *path, const char *kept_as, const char *data,
			   size_t size, struct qmr_error *err)
{
	struct replay *replay = user;
	struct qmr_error why = {0};

	if (kept_as && qmr_fetch_store_keep(replay->store, kept_as, data, size, &why) < 0)
		qmr_warning("%s; the next run will not know that it was seen", why.text);
	return 0;
}

static int replay_forget(void *user, struct qmr_error *err)
{
	struct replay *replay = user;

	qmr_fetch_store_forget(replay->store);
	return 0;
}

int qmr_fetch_accept(const struct qmr_fetch_job *job, const struct qmr_fetch_files *files,
		     const struct qmr_error *result, struct qmr_tuf_client *client,
		     struct qmr_fetch_update *update, struct qmr_error *err)
{
	struct replay replay = {.files = files, .result = result, .store = job->store};

	client->repository = (struct qmr_tuf_fetcher){replay_fetch, &replay};
	client->cache = (struct qmr_tuf_fetcher){qmr_fetch_files_fetch, &job->store->files};
	client->accepted = replay_accepted;
	client->forget = replay_forget;
	client->floor = job->floor;
	client->user = &replay;
	update->wants_requests = job->wants_requests;
	return qmr_fetch_update_run(client, job->root, job->root_size, job->now_unix_s, update,
				    err);
}

int qmr_fetch_run(const struct qmr_fetch_job *job, struct qmr_tuf_client *client,
		  struct qmr_fetch_update *update, struct qmr_error *err)
{
	struct qmr_fetch_files files = {0};
	struct qmr_error result = {0};
	int r = collect(job, &files, &result, err);

	if (r < 0)
		return r;
	r = qmr_fetch_accept(job, &files, &result, client, update, err);
	qmr_fetch_files_done(&files);
	return r;
}
