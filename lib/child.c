/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "cleanup.h"
#include "clock.h"

#define KILL_GRACE_MS 2000
/* More than what a pipe holds: what is read after the child's end was written by something that it left behind. */
#define READS_AFTER_END 32

extern char **environ;

/* Where output goes: the first max bytes of it, or (last) the last ones. */
struct sink {
	char *bytes;
	size_t max, used;
	int last;
};

/* posix_spawn rather than fork: PID 1's memory is not copied, and nothing of ours runs in the child. */
static int spawn(char *const argv[], int output_fd, int errors_too, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	if (posix_spawn_file_actions_init(&actions) != 0)
		return -ENOMEM;
	if (posix_spawnattr_init(&attr) != 0) {
		posix_spawn_file_actions_destroy(&actions);
		return -ENOMEM;
	}
	sigemptyset(&none);
	sigfillset(&all);
	r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (r == 0 && output_fd >= 0)
		r = posix_spawn_file_actions_adddup2(&actions, output_fd, STDOUT_FILENO);
	if (r == 0 && output_fd >= 0 && errors_too)
		r = posix_spawn_file_actions_adddup2(&actions, output_fd, STDERR_FILENO);
	if (r == 0)
		r = posix_spawnattr_setsigmask(&attr, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(&attr, &all);
	if (r == 0)
		r = posix_spawnattr_setpgroup(&attr, 0);
	if (r == 0)
		r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
							    POSIX_SPAWN_SETSIGDEF);
	if (r == 0)
		r = posix_spawn(ret_pid, argv[0], &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static void keep(struct sink *sink, const char *bytes, size_t n)
{
	if (sink->last && n > sink->max) {
		bytes += n - sink->max;
		n = sink->max;
	}
	if (sink->last && n > sink->max - sink->used) {
		size_t drop = n - (sink->max - sink->used);

		memmove(sink->bytes, sink->bytes + drop, sink->used - drop);
		sink->used -= drop;
	}
	if (n > sink->max - sink->used)
		n = sink->max - sink->used;
	memcpy(sink->bytes + sink->used, bytes, n);
	sink->used += n;
}

/* Takes what is readable now. Returns 0 at the end of the stream, 1 otherwise. */
static int drain(int fd, struct sink *sink)
{
	char scratch[4096];
	ssize_t n = read(fd, scratch, sizeof(scratch));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (n == 0)
		return 0;
	keep(sink, scratch, (size_t)n);
	return 1;
}

/* Waits for the child's end (and its output) until the deadline. Returns 1 when it ended, 0 when time is up. */
static int wait_until(int pidfd, int output_fd, int64_t deadline, struct sink *sink)
{
	int reads_after_end = 0;

	for (;;) {
		struct pollfd fds[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = output_fd, .events = POLLIN}};
		int64_t left = deadline - qmr_clock_ms();
		int n = poll(fds, 2, left < 0 ? 0 : (int)left);

		if (n < 0 && errno != EINTR)
			return 0;
		if (n > 0 && fds[1].revents && !drain(output_fd, sink))
			output_fd = -1;
		/* What the child wrote before it ended is in the pipe: read on until there is nothing. */
		if (n > 0 && fds[0].revents && (!(fds[1].revents & POLLIN) || ++reads_after_end > READS_AFTER_END))
			return 1;
		if (left <= 0 && (n <= 0 || !fds[0].revents))
			return 0;
	}
}

/* Exit code, 128 + signal, -ETIMEDOUT if the child had to be ended, or a negative errno. */
static int finish(pid_t pid, int pidfd, int output_fd, struct sink *sink, int late)
{
	int status = 0;

	if (late) {
		(void)kill(-pid, SIGTERM); /* its group may be gone already */
		(void)wait_until(pidfd, output_fd, qmr_clock_ms() + KILL_GRACE_MS, sink);
		/* Its children may be there when it is not. Nobody waited for it yet, so its number is still its own. */
		(void)kill(-pid, SIGKILL);
		/* Stuck in the kernel, it does not even die: it is left to whoever reaps orphans. */
		if (!wait_until(pidfd, output_fd, qmr_clock_ms() + KILL_GRACE_MS, sink))
			return -ETIMEDOUT;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (late)
		return -ETIMEDOUT;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* sink NULL: output is inherited. */
static int run(char *const argv[], int deadline_ms, struct sink *sink, int errors_too, struct qmr_error *err)
{
	cleanup_close int pidfd = -1, out_read = -1;
	int pipe_fds[2] = {-1, -1};
	int late = 0, r;
	pid_t pid;

	if (sink) {
		if (pipe2(pipe_fds, O_CLOEXEC) < 0)
			return qmr_error_errno(err, -errno, "making a pipe for '%s'", argv[0]);
		out_read = pipe_fds[0];
	}
	r = spawn(argv, pipe_fds[1], errors_too, &pid);
	if (pipe_fds[1] >= 0)
		close(pipe_fds[1]);
	if (r < 0)
		return qmr_error_errno(err, r, "starting '%s'", argv[0]);

	/* A kernel without pidfd (before 5.3) waits without a deadline rather than not at all. */
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	late = pidfd >= 0 && !wait_until(pidfd, out_read, qmr_clock_ms() + deadline_ms, sink);
	r = finish(pid, pidfd, out_read, sink, late);
	if (late)
		return qmr_error_set(err, -ETIMEDOUT, "'%s' did not end within %d s and was ended", argv[0],
				     deadline_ms / 1000);
	return r;
}

int qmr_child_run(char *const argv[], int deadline_ms, char **ret_output, size_t output_max, struct qmr_error *err)
{
	cleanup_free char *buffer = ret_output ? malloc(output_max + 1) : NULL;
	struct sink sink = {.bytes = buffer, .max = output_max};
	int r;

	if (ret_output && !buffer)
		return qmr_error_set(err, -ENOMEM, "running '%s': out of memory", argv[0]);
	r = run(argv, deadline_ms, ret_output ? &sink : NULL, 0, err);
	if (r >= 0 && ret_output) {
		buffer[sink.used] = '\0';
		*ret_output = buffer;
		buffer = NULL;
	}
	return r;
}

int qmr_child_require(char *const argv[], int deadline_ms, int fine_code, struct qmr_error *err)
{
	int r = qmr_child_run(argv, deadline_ms, NULL, 0, err);

	if (r > 0 && r != fine_code)
		return qmr_error_set(err, -EIO, "'%s' ended with exit code %d", argv[0], r);
	return r < 0 ? r : 0;
}

int qmr_child_run_tail(char *const argv[], int deadline_ms, char *tail, size_t tail_max, size_t *tail_size,
		       struct qmr_error *err)
{
	struct sink sink = {.bytes = tail, .max = tail_max, .used = *tail_size, .last = 1};
	int r = run(argv, deadline_ms, &sink, 1, err);

	*tail_size = sink.used;
	return r;
}

struct answer {
	int result;
	struct qmr_error err;
	uint8_t bytes[4096];
};

static void answer_and_exit(int (*function)(void *, void *, struct qmr_error *), void *context, int fd)
{
	struct answer answer = {0};

	(void)setpgid(0, 0); /* fails only if it is so already */
	answer.result = function(context, answer.bytes, &answer.err);
	/* A pipe takes this much in one piece; if the reader is gone, nobody wants it. */
	_exit(write(fd, &answer, sizeof(answer)) == sizeof(answer) ? 0 : 1);
}

int qmr_child_call(int (*function)(void *context, void *answer, struct qmr_error *err), void *context, int deadline_ms,
		   void *ret_answer, size_t answer_size, struct qmr_error *err)
{
	cleanup_close int pidfd = -1, answer_read = -1;
	struct answer answer = {0};
	struct sink sink = {.bytes = (char *)&answer, .max = sizeof(answer)};
	int fds[2], late, r;
	pid_t pid;

	if (answer_size > sizeof(answer.bytes) || pipe2(fds, O_CLOEXEC) < 0)
		return qmr_error_errno(err, answer_size > sizeof(answer.bytes) ? -EINVAL : -errno, "making a pipe");
	answer_read = fds[0];
	pid = fork();
	if (pid == 0)
		answer_and_exit(function, context, fds[1]);
	close(fds[1]);
	if (pid < 0)
		return qmr_error_errno(err, -errno, "starting a child");
	(void)setpgid(pid, pid); /* whoever comes first; the group must be there before it is killed */
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	late = pidfd >= 0 && !wait_until(pidfd, answer_read, qmr_clock_ms() + deadline_ms, &sink);
	r = finish(pid, pidfd, answer_read, &sink, late);
	if (late)
		return qmr_error_set(err, -ETIMEDOUT, "no answer within %d s", deadline_ms / 1000);
	while (sink.used < sizeof(answer) && drain(answer_read, &sink))
		;
	if (r != 0 || sink.used != sizeof(answer))
		return qmr_error_set(err, -EIO, "a child died (%d)", r);
	if (answer.result < 0 && err)
		*err = answer.err;
	if (answer_size && answer.result >= 0)
		memcpy(ret_answer, answer.bytes, answer_size);
	return answer.result;
}
