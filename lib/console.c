/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "console.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"

#define CONSOLES_MAX 8
#define STUCK_MS 200

static int consoles[CONSOLES_MAX];
static int n_consoles;

/* Keys one by one and unseen; output as it is. */
static void make_raw(int fd)
{
	struct termios t;

	if (tcgetattr(fd, &t) < 0)
		return;
	t.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
	t.c_oflag &= (tcflag_t)~OPOST;
	(void)tcsetattr(fd, TCSANOW, &t); /* then keys need a newline */
}

static void open_one(const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", name);
	fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || n_consoles == CONSOLES_MAX) {
		if (fd >= 0)
			close(fd);
		return;
	}
	make_raw(fd);
	consoles[n_consoles++] = fd;
}

void qmr_console_open(void)
{
	cleanup_free char *active = NULL;
	char *place = NULL;
	size_t size;

	if (qmr_file_read(AT_FDCWD, "/sys/class/tty/console/active", 4096, &active, &size, NULL) == 0)
		for (char *name = strtok_r(active, " \n", &place); name; name = strtok_r(NULL, " \n", &place))
			open_one(name);
	if (n_consoles == 0)
		open_one("console");
}

static void forget(int *console)
{
	close(*console);
	*console = -1; /* poll(2) passes over it */
}

/* A console that is gone (a serial adapter pulled out) or stuck must not hold up the machine at every line. */
static void write_to(int *console, const char *text, size_t size)
{
	while (*console >= 0 && size > 0) {
		struct pollfd p = {.fd = *console, .events = POLLOUT};
		ssize_t n = write(*console, text, size);

		if (n > 0) {
			text += n;
			size -= (size_t)n;
		} else if ((n < 0 && errno != EAGAIN && errno != EINTR) || poll(&p, 1, STUCK_MS) <= 0 ||
			   p.revents & (POLLERR | POLLHUP | POLLNVAL)) {
			forget(console);
		}
	}
}

static void print(const char *text)
{
	for (const char *end; *text; text = end) {
		end = strchr(text, '\n');
		for (int i = 0; i < n_consoles; i++) {
			write_to(&consoles[i], text, end ? (size_t)(end - text) : strlen(text));
			if (end)
				write_to(&consoles[i], "\r\n", 2);
		}
		if (!end)
			return;
		end++;
	}
}

void qmr_console_print(const char *format, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap); /* a cut line is still one */
	va_end(ap);
	print(text);
}

int qmr_console_key(int timeout_ms)
{
	struct pollfd fds[CONSOLES_MAX];

	for (int i = 0; i < n_consoles; i++)
		fds[i] = (struct pollfd){.fd = consoles[i], .events = POLLIN};
	if (poll(fds, (nfds_t)n_consoles, timeout_ms) <= 0)
		return -1;
	for (int i = 0; i < n_consoles; i++) {
		unsigned char key;

		if (fds[i].revents & POLLIN && read(consoles[i], &key, 1) == 1)
			return tolower(key);
		if (fds[i].revents & (POLLERR | POLLHUP | POLLNVAL))
			forget(&consoles[i]);
	}
	return -1;
}

void qmr_console_flush(void)
{
	for (int i = 0; i < n_consoles; i++)
		(void)tcflush(consoles[i], TCIFLUSH);
}
