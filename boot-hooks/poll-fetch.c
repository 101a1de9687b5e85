/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "poll-fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "file.h"
#include "floor-report.h"
#include "guard.h"
#include "log.h"

#define METADATA "/var/lib/qmr/tuf"
#define LOCK QMR_GUARD_RUN "/fetch.lock"
#define BOOT_GUARD "/usr/lib/qmr/boot-guard"
#define CRASH_COLLECT "/usr/lib/qmr/crash-collect"
#define FETCH "/usr/lib/qmr/remediation-fetch"
#define PROGRAM_MS 60000
#define FETCH_GRACE_MS 30000 /* beyond [network] transfer_timeout, which it keeps to itself */

/* Held until the descriptor is closed. */
static int take_lock(const char *path, int flags, int *ret_fd, struct qmr_error *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), r;

	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", path);
	if (flock(fd, LOCK_EX | flags) < 0) {
		r = qmr_error_errno(err, -errno, "locking '%s'", path);
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/* What the boot state remembers, as text; empty: nothing. */
static void ask_floor(const char *config_path, char ret_text[QMR_FLOOR_TEXT])
{
	char *const argv[] = {BOOT_GUARD, "--config", (char *)config_path, "floor", NULL};
	cleanup_free char *output = NULL;
	struct qmr_error err = {0};
	int r = qmr_child_run(argv, PROGRAM_MS, &output, QMR_FLOOR_TEXT, &err);

	ret_text[0] = '\0';
	if (r == 0)
		snprintf(ret_text, QMR_FLOOR_TEXT, "%.*s", (int)strcspn(output, "\n"), output);
	else if (r > 0)
		qmr_warning("'" BOOT_GUARD " floor' ended with exit code %d; going on by what is kept in '" METADATA "' alone", r);
	else
		qmr_warning("%s; going on by what is kept in '" METADATA "' alone", err.text);
}

/* If it fails, the next fetch tells the same again. */
static int save_floor(const char *config_path, const char *before, int out_fd, struct qmr_error *err)
{
	char text[QMR_FLOOR_TEXT];
	char *const argv[] = {BOOT_GUARD, "--config", (char *)config_path, "floor", text, NULL};
	cleanup_close int lock_fd = -1;
	struct qmr_floor floor;
	int r = qmr_floor_read_report(out_fd, &floor, err);

	if (r == -ENODATA || r == -ENOENT) /* it was ended before it said anything */
		return 0;
	if (r < 0)
		return r;
	qmr_floor_format(&floor, text);
	if (!strcmp(text, before))
		return 0;
	r = take_lock(QMR_CTL_LOCK, LOCK_NB, &lock_fd, err); /* who is at work there may be changing the boot state */
	return r < 0 ? r : qmr_child_require(argv, PROGRAM_MS, 0, err);
}

static int fetch(const char *config_path, const struct qmr_config *config, enum qmr_poll_what what, const char *out, struct qmr_error *err)
{
	char facts[PATH_MAX], floor[QMR_FLOOR_TEXT];
	char *const facts_argv[] = {CRASH_COLLECT, "machine", "--root", "/", "--out", facts, NULL};
	char *argv[16] = {FETCH, "--config", (char *)config_path, "--incident", facts, "--metadata", METADATA, "--out", (char *)out};
	cleanup_close int out_fd = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct qmr_error why = {0};
	int n = 9, r;

	if (out_fd < 0)
		return qmr_error_errno(err, -errno, "opening folder '%s'", out);
	if (unlinkat(out_fd, QMR_FLOOR_REPORT, 0) < 0 && errno != ENOENT) /* what an older run saw is not to be taken for this one's */
		return qmr_error_errno(err, -errno, "removing '%s/" QMR_FLOOR_REPORT "'", out);
	if (snprintf(facts, sizeof(facts), "%s/facts.json", out) >= (int)sizeof(facts))
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", out);
	r = qmr_child_require(facts_argv, PROGRAM_MS, 0, err);
	if (r < 0)
		return r;
	ask_floor(config_path, floor);
	if (floor[0]) {
		argv[n++] = "--floor";
		argv[n++] = floor;
	}
	if (what == QMR_POLL_REQUESTS)
		argv[n++] = "--requests";
	r = qmr_child_require(argv, config->transfer_s * 1000 + FETCH_GRACE_MS, QMR_EXIT_NOTHING, err);
	if (save_floor(config_path, floor, out_fd, &why) < 0)
		qmr_warning("%s; the boot state does not remember what the repository proved", why.text);
	return r;
}

int qmr_poll_fetch(const char *config_path, const struct qmr_config *config, enum qmr_poll_what what, const char *out,
		   struct qmr_error *err)
{
	cleanup_close int lock_fd = -1;
	int r = qmr_file_mkdirs(AT_FDCWD, QMR_GUARD_RUN, 0755, err);

	if (r == 0)
		r = qmr_file_mkdirs(AT_FDCWD, out, 0700, err);
	if (r == 0)
		r = take_lock(LOCK, 0, &lock_fd, err);
	return r < 0 ? r : fetch(config_path, config, what, out, err);
}
