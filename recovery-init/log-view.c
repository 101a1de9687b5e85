/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log-view.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "console.h"
#include "recovery.h"

#define LOG_BYTES_MAX 65536 /* of one step, shown; the file has all */

static off_t log_shown;

void qmr_console_print_log(char *ret_last, unsigned int room)
{
	cleanup_close int fd = open(QMR_RECOVERY_LOG, O_RDONLY | O_CLOEXEC);
	cleanup_free char *text = malloc(LOG_BYTES_MAX + 1);
	char *line, *place = NULL;
	ssize_t n;

	*ret_last = '\0';
	if (fd < 0 || !text)
		return;
	n = pread(fd, text, LOG_BYTES_MAX, log_shown);
	if (n <= 0)
		return;
	log_shown = lseek(fd, 0, SEEK_END);
	text[n] = '\0';
	for (char *c = text; *c; c++)
		if (((unsigned char)*c < 0x20 && *c != '\n') || *c == 0x7f)
			*c = '?';
	for (line = strtok_r(text, "\n", &place); line; line = strtok_r(NULL, "\n", &place)) {
		qmr_console_print("    %.900s\n", line);
		snprintf(ret_last, room, "%s", line);
	}
}
