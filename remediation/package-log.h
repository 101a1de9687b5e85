/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PACKAGE_LOG_H
#define QMR_PACKAGE_LOG_H

#include <jansson.h>
#include <stddef.h>

#include "error.h"

/* The logs of package managers, read from where the last run stopped: docs/changes.md, "Packages". */

struct qmr_package_change {
	char time[20];     /* "YYYY-MM-DD HH:MM:SS", as the log has it */
	char action[12];   /* "install", "upgrade", "remove", "purge" */
	char package[256]; /* "name:architecture" */
	char from[256];    /* versions; empty: none */
	char to[256];
};

/* One package manager: its log, the log's predecessor after a rotation, and what one of its lines says. */
struct qmr_package_log {
	const char *name;
	const char *current, *rotated;
	/* 1: *ret_change is filled; 0: the line is about something else. It has length bytes and no newline. */
	int (*parse)(const char *line, size_t length, struct qmr_package_change *ret_change);
};

extern const struct qmr_package_log qmr_package_logs[];
extern const size_t qmr_n_package_logs;

/* A negative return stops the reading and is returned. */
typedef int qmr_package_change_fn(void *user, const struct qmr_package_change *change, struct qmr_error *err);

/*
 * Calls fn for each transaction after position ({"offset", "mark"}; NULL: where the log ends now, fn is not called), oldest
 * first, and sets *ret_position, which the caller owns. Reads at most 4 MiB of each file; a missing log is an
 * empty one. Where the position is not found again, transactions may come that came before.
 */
int qmr_package_log_read(int root_fd, const struct qmr_package_log *log, const json_t *position, qmr_package_change_fn *fn,
			 void *user, json_t **ret_position, struct qmr_error *err) QMR_MUST_CHECK;

#endif
