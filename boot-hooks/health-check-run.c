/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "child.h"
#include "clock.h"
#include "health-check.h"
#include "log.h"

#define BASH "/bin/bash"

/* What the attempts of one check wrote. Not on the heap: want of memory must not make a check fail. */
struct tail {
	char bytes[QMR_CHECK_OUTPUT_BYTES];
	size_t size;
};

static void pause_s(int seconds)
{
	struct timespec left = {.tv_sec = seconds};

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static void attempt(struct qmr_check *check, int deadline_s, struct tail *tail)
{
	char *as_it_is[] = {check->path, NULL}, *by_bash[] = {(char *)BASH, check->path, NULL};
	struct qmr_error err = {0};
	int64_t begin = qmr_clock_ms();
	int code = qmr_child_run_tail(check->with_bash ? by_bash : as_it_is, deadline_s * 1000, tail->bytes, sizeof(tail->bytes),
				      &tail->size, &err);

	check->attempts++;
	check->duration_ms = qmr_clock_ms() - begin;
	check->exit_code = code >= 0 ? code : -1;
	check->result = code == 0 ? QMR_CHECK_PASSED : code == -ETIMEDOUT ? QMR_CHECK_LATE : QMR_CHECK_FAILED;
	check->why[0] = '\0';
	if (code > 0)
		snprintf(check->why, sizeof(check->why), "exit code %d", code);
	else if (code == -ETIMEDOUT)
		snprintf(check->why, sizeof(check->why), "it did not end within %d s and was ended", deadline_s);
	else if (code < 0)
		snprintf(check->why, sizeof(check->why), "%s", err.text);
}

void qmr_check_run(struct qmr_check *check, const struct qmr_config *config)
{
	static struct tail tail; /* programs with one thread only */
	int tries = check->required ? config->check_attempts : 1;

	if (check->switched_off || check->problem[0]) {
		check->result = check->required && !check->switched_off ? QMR_CHECK_FAILED : QMR_CHECK_NOT_RUN;
		snprintf(check->why, sizeof(check->why), "%s", check->switched_off ? "switched off in greenboot.conf" : check->problem);
		return;
	}
	tail.size = 0;
	for (;;) {
		attempt(check, config->check_deadline_s, &tail);
		if (check->result == QMR_CHECK_PASSED || check->attempts >= tries)
			break;
		qmr_notice("required check '%s': %s; attempt %d of %d, the next one in %d s", check->name, check->why, check->attempts,
			   tries, config->check_pause_s);
		pause_s(config->check_pause_s);
	}
	check->output = malloc(tail.size + 1);
	if (check->output) {
		memcpy(check->output, tail.bytes, tail.size);
		check->output_size = tail.size;
	}
}

int qmr_check_is_failure(const struct qmr_check *check)
{
	return check->required && !check->switched_off && check->result != QMR_CHECK_PASSED;
}

void qmr_check_last_line(const struct qmr_check *check, char ret_line[201])
{
	size_t end = check->output_size, begin;

	while (end && strchr(" \t\r\n", check->output[end - 1])) /* a NUL byte too */
		end--;
	begin = end;
	while (begin && check->output[begin - 1] != '\n')
		begin--;
	snprintf(ret_line, 201, "%.*s", (int)(end - begin), check->output ? check->output + begin : "");
}
