/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *log_part = "qmr";
static int log_kmsg;

void qmr_log_open(const char *part, int kmsg)
{
	log_part = part;
	log_kmsg = kmsg;
}

static void write_line(int fd, int level, const char *text)
{
	char line[700];
	int n;

	if (level >= 0)
		n = snprintf(line, sizeof(line), "<%d>%s: %s\n", level, log_part, text);
	else
		n = snprintf(line, sizeof(line), "%s: %s\n", log_part, text);
	if (n >= (int)sizeof(line)) {
		n = sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	if (write(fd, line, (size_t)n) < 0)
		return; /* there is nowhere left to complain to */
}

void qmr_log(enum qmr_log_level level, const char *format, ...)
{
	int saved = errno;
	char text[640];
	va_list ap;

	if (level > QMR_LOG_INFO && !getenv("QMR_DEBUG"))
		return;
	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	for (unsigned char *p = (unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
	if (log_kmsg) {
		int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC | O_NOCTTY);

		if (fd >= 0) {
			write_line(fd, (int)level, text);
			close(fd);
		}
	}
	write_line(STDERR_FILENO, getenv("JOURNAL_STREAM") ? (int)level : -1, text);
	errno = saved;
}
