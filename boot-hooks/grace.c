/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "grace.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"

#define MINUTE_MS 60000
#define FLOOD_MS 100 /* somebody may write without end */

static const int64_t reminders_ms[] = {10 * MINUTE_MS, 5 * MINUTE_MS, MINUTE_MS};

struct wait {
	const struct qmr_grace *grace;
	int fifo_fd, signal_fd;
	int64_t end_ms, deferred_ms;
};

static int minutes_of(int64_t ms)
{
	return (int)((ms + MINUTE_MS - 1) / MINUTE_MS);
}

static void tell(const struct wait *w)
{
	const int64_t left_ms = w->end_ms - qmr_clock_ms(), defer_ms = w->grace->defer_ms - w->deferred_ms;
	char text[256];
	int n = snprintf(text, sizeof(text), "in %d min", left_ms > 0 ? minutes_of(left_ms) : 0);

	if (defer_ms >= MINUTE_MS)
		snprintf(text + n, sizeof(text) - (size_t)n, "; 'qmrctl defer MINUTES' puts it off, by %d min at most",
			 (int)(defer_ms / MINUTE_MS));
	else if (w->grace->defer_ms)
		snprintf(text + n, sizeof(text) - (size_t)n, "; it cannot be put off any further");
	w->grace->tell(w->grace->context, text);
}

/* What is no number of minutes is nobody's wish. */
static void take_line(struct wait *w, const char *line)
{
	const int64_t left_ms = w->grace->defer_ms - w->deferred_ms;
	char *end;
	const long minutes = strtol(line, &end, 10);
	int64_t more_ms;

	if (end == line || *end || minutes < 1 || minutes > QMR_GRACE_MINUTES_MAX)
		return;
	more_ms = (int64_t)minutes * MINUTE_MS < left_ms ? (int64_t)minutes * MINUTE_MS : left_ms;
	w->end_ms += more_ms;
	w->deferred_ms += more_ms;
	tell(w);
}

/* A line is written at once (pipe(7), PIPE_BUF), so that it is read whole or is none. */
static void take_lines(struct wait *w)
{
	char text[PIPE_BUF + 1], *place = NULL;
	ssize_t n = read(w->fifo_fd, text, sizeof(text) - 1);

	if (n <= 0)
		return;
	text[n] = '\0';
	for (char *line = strtok_r(text, "\n", &place); line; line = strtok_r(NULL, "\n", &place))
		take_line(w, line);
	(void)usleep(FLOOD_MS * 1000);
}

/* How long until something has to be said or done. */
static int64_t next_ms(const struct wait *w)
{
	const int64_t left_ms = w->end_ms - qmr_clock_ms();

	for (size_t i = 0; i < sizeof(reminders_ms) / sizeof(*reminders_ms); i++)
		if (left_ms > reminders_ms[i])
			return left_ms - reminders_ms[i];
	return left_ms > 0 ? left_ms : 0;
}

static int wait_for_the_end(struct wait *w, struct qmr_error *err)
{
	tell(w);
	for (;;) {
		struct pollfd fds[] = {{.fd = w->signal_fd, .events = POLLIN}, {.fd = w->fifo_fd, .events = POLLIN}};
		const int64_t wait_ms = next_ms(w);
		const int n = poll(fds, 2, wait_ms < INT_MAX ? (int)wait_ms + 1 : INT_MAX);

		if (n < 0 && errno != EINTR)
			return qmr_error_errno(err, -errno, "waiting for the end of the grace");
		if (fds[0].revents)
			return qmr_error_set(err, -EINTR, "stopped before the end of the grace");
		if (n > 0 && fds[1].revents)
			take_lines(w);
		/* Whoever writes without end does not keep it from coming. */
		if (w->end_ms <= qmr_clock_ms())
			return 0;
		if (n == 0)
			tell(w);
	}
}

static int open_fifo(const char *path, struct qmr_error *err)
{
	int fd;

	(void)unlink(path); /* of one that was killed */
	if (mkfifo(path, 0600) < 0)
		return qmr_error_errno(err, -errno, "making '%s'", path);
	/* Also for writing: there is no end of it when a writer goes. */
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fchmod(fd, 0622) < 0) {
		int r = qmr_error_errno(err, -errno, "opening '%s'", path);

		if (fd >= 0)
			close(fd);
		return r;
	}
	return fd;
}

int qmr_grace_wait(const struct qmr_grace *grace, struct qmr_error *err)
{
	struct wait w = {.grace = grace, .fifo_fd = -1, .signal_fd = -1, .end_ms = qmr_clock_ms() + grace->grace_ms};
	sigset_t signals, before;
	int r = 0;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	if (sigprocmask(SIG_BLOCK, &signals, &before) < 0 || (w.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC)) < 0)
		return qmr_error_errno(err, -errno, "preparing to be stopped");
	w.fifo_fd = open_fifo(grace->fifo, err);
	r = w.fifo_fd < 0 ? w.fifo_fd : wait_for_the_end(&w, err);
	if (w.fifo_fd >= 0) {
		(void)unlink(grace->fifo); /* the next one does */
		close(w.fifo_fd);
	}
	if (r == -EINTR) {
		struct signalfd_siginfo info;

		(void)!read(w.signal_fd, &info, sizeof(info)); /* else it would come once it is let in */
	}
	close(w.signal_fd);
	(void)sigprocmask(SIG_SETMASK, &before, NULL); /* cannot fail with these arguments */
	return r;
}

int qmr_grace_defer(const char *fifo, int minutes, struct qmr_error *err)
{
	cleanup_close int fd = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	char line[16];
	int n = snprintf(line, sizeof(line), "%d\n", minutes);

	if (fd < 0 && (errno == ENOENT || errno == ENXIO))
		return qmr_error_set(err, -ENOENT, "no restart is waited for");
	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", fifo);
	return write(fd, line, (size_t)n) == n ? 0 : qmr_error_errno(err, -errno, "writing to '%s'", fifo);
}
