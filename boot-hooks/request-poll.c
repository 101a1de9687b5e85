/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "config.h"
#include "file.h"
#include "grace.h"
#include "json.h"
#include "log.h"
#include "poll-fetch.h"
#include "poll-program.h"
#include "power.h"
#include "request-record.h"
#include "request.h"

/* Recovery that the owner asks for through the repository: docs/requests.md. */

#define FOLDER "/run/qmr/poll"
#define REQUESTS FOLDER "/requests"
#define QMRCTL "/usr/sbin/qmrctl"
#define SYSTEMCTL "/usr/bin/systemctl"
#define WALL "/usr/bin/wall"
#define POWER "/sys/class/power_supply"
#define PROGRAM_MS 60000
#define FILES_MAX 99
#define MINUTE_MS 60000

static const char usage[] =
	"Usage: request-poll [--config FILE]\n"
	"\n"
	"Follows a request for recovery that this machine's owner signed: tells people, waits, restarts into recovery.\n"
	"\n"
	"  --config FILE  configuration (default " QMR_CONFIG_PATH ")\n"
	"  --help         this text\n"
	"  --version      the version\n";

struct poll {
	const char *config_path;
	struct qmr_config config;
	json_t *record;             /* owned */
	json_t *status;             /* owned; qmrctl's, which now borrows from */
	struct qmr_request_now now;
	struct qmr_request request; /* the one that is followed; owned */
};

/* The requests that the repository holds for this machine now, verified, as files. */
static int fetch(const struct poll *p, struct qmr_error *err)
{
	return qmr_poll_fetch(p->config_path, &p->config, QMR_POLL_REQUESTS, FOLDER, err);
}

/* What the boot state says now. */
static int ask_status(struct poll *p, struct qmr_error *err)
{
	const json_t *state, *test, *second;
	json_t *status;
	int r = qmr_poll_status(p->config_path, &status, err);

	if (r < 0)
		return r;
	json_decref(p->status);
	p->status = status;
	state = json_object_get(p->status, "state");
	test = json_object_get(p->status, "test");
	second = json_object_get(p->status, "second_test");
	p->now = (struct qmr_request_now){
		.boots = (uint32_t)json_integer_value(json_object_get(state, "boots")),
		.incident = qmr_json_string(state, "incident"),
		.tested_unix_s = json_integer_value(json_object_get(test, "unix_s")),
	};
	if (!p->now.incident || !qmr_json_string(p->status, "stage"))
		return qmr_error_set(err, -EBADMSG, "'qmrctl status' does not say what the boot state is");
	p->now.is_asked_for = !strcmp(qmr_json_string(p->status, "stage"), "switching");
	for (int i = 0; i < 2; i++) {
		const char *result = qmr_json_string(i ? second : test, "result");

		if (result && !strcmp(result, "waiting"))
			p->now.is_asked_for = 1;
	}
	if (p->now.is_asked_for)
		p->now.tested_unix_s = 0; /* when it was asked for */
	return 0;
}

static int has_to_wait(const struct poll *p)
{
	const char *stage = qmr_json_string(p->status, "stage");

	if (p->now.is_asked_for)
		qmr_notice("recovery is asked for already; no request is followed");
	else if (!strcmp(stage, "recovering") || !strcmp(stage, "probation"))
		qmr_notice("this boot has to prove healthy first; no request is followed");
	else
		return 0;
	return 1;
}

static int is_request_file(const struct dirent *entry)
{
	const char *end = strrchr(entry->d_name, '.');

	return entry->d_name[0] != '.' && end && !strcmp(end, ".json");
}

/* id: only that one; NULL: the first that may be begun. Returns 1 and the request, 0 if there is none. */
static int choose(const struct poll *p, const char *id, struct qmr_request *ret_request, struct qmr_error *err)
{
	cleanup_close int dir_fd = open(REQUESTS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent **names = NULL;
	int n = dir_fd < 0 ? 0 : scandir(REQUESTS, &names, is_request_file, alphasort), found = 0;

	if (n < 0)
		return qmr_error_errno(err, -errno, "reading '" REQUESTS "'");
	for (int i = 0; i < n && i < FILES_MAX && !found; i++) {
		struct qmr_request request = {0};
		cleanup_free char *data = NULL;
		struct qmr_error why = {0};
		size_t size;

		if (qmr_file_read(dir_fd, names[i]->d_name, QMR_REQUEST_BYTES_MAX, &data, &size, &why) < 0 ||
		    qmr_request_parse(names[i]->d_name, data, size, &request, &why) < 0) {
			qmr_warning("%s", why.text);
			continue;
		}
		if (id)
			found = !strcmp(request.id, id);
		else
			found = qmr_request_record_allows(p->record, &request, p->config.requests_per_day, time(NULL), &why);
		if (found)
			*ret_request = request;
		else if (!id)
			qmr_info("%s", why.text);
		if (!found)
			qmr_request_done(&request);
	}
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return found;
}

static void tell(void *context, const char *text)
{
	const struct poll *p = context;
	char line[640];
	char *const argv[] = {WALL, line, NULL};
	struct qmr_error err = {0};

	snprintf(line, sizeof(line), "Quick machine recovery: this machine's owner asks for a restart into recovery (%s, request %s), %s",
		 p->request.title, p->request.id, text);
	qmr_notice("request '%s', %s: a restart into recovery %s", p->request.id, qmr_request_mode_name(p->request.mode), text);
	if (qmr_child_require(argv, PROGRAM_MS, 0, &err) < 0)
		qmr_warning("%s; people were not told", err.text);
}

static int has_power(const struct poll *p)
{
	cleanup_close int class_fd = open(POWER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct qmr_error why = {0};

	if (qmr_power_is_enough(class_fd, p->request.battery_percent, &why))
		return 1;
	qmr_notice("request '%s' has to wait: %s", p->request.id, why.text);
	return 0;
}

/* 1 if the repository still holds the very same request, 0 if not. */
static int is_still_wanted(const struct poll *p, struct qmr_error *err)
{
	struct qmr_request now = {0};
	int r = fetch(p, err);

	if (r == 0)
		r = choose(p, p->request.id, &now, err);
	if (r > 0 && !json_equal(now.json, p->request.json))
		r = 0;
	if (r == 0)
		qmr_notice("request '%s' was withdrawn or changed; it is not followed", p->request.id);
	qmr_request_done(&now);
	return r;
}

static int reboot(struct qmr_error *err)
{
	char *const argv[] = {SYSTEMCTL, "reboot", NULL};

	return qmr_child_require(argv, PROGRAM_MS, 0, err);
}

static int save(const struct poll *p, struct qmr_error *err)
{
	return qmr_request_record_save(AT_FDCWD, QMR_REQUEST_RECORD, p->record, err);
}

static int ask_for_recovery(const struct poll *p, struct qmr_error *err)
{
	static const char *const options[] = {
		[QMR_REQUEST_RECOVER] = NULL, [QMR_REQUEST_COLLECT_ONLY] = "--collect-only", [QMR_REQUEST_TEST] = "--test"};
	char reason[96];
	char *argv[10] = {QMRCTL, "--config", (char *)p->config_path, "--next"};
	int n = 4;

	if (options[p->request.mode])
		argv[n++] = (char *)options[p->request.mode];
	if (p->request.mode != QMR_REQUEST_TEST) {
		snprintf(reason, sizeof(reason), "request %s", p->request.id);
		argv[n++] = "--reason";
		argv[n++] = reason;
	}
	argv[n] = "recover";
	return qmr_child_require(argv, PROGRAM_MS, 0, err);
}

static int begin(struct poll *p, struct qmr_error *err)
{
	struct qmr_error why = {0};
	int r = qmr_request_record_begin(p->record, &p->request, &p->now, time(NULL), err);

	if (r == 0)
		r = save(p, err);
	if (r < 0)
		return r; /* what is not on disk could be done again and again */
	r = ask_for_recovery(p, &why);
	if (r < 0) {
		(void)!qmr_request_record_fail(p->record, p->request.id, why.text, NULL);
		(void)!save(p, NULL); /* the try is on disk; the reason goes to the log */
		return qmr_error_set(err, r, "request '%s': %s; at most %d tries", p->request.id, why.text, QMR_REQUEST_TRIES);
	}
	r = qmr_request_record_ask(p->record, p->request.id, err);
	if (r == 0)
		r = save(p, err);
	if (r < 0)
		qmr_warning("%s; going on", err->text);
	return reboot(err);
}

/* Minutes, or days, have passed. 1: the request may still be begun. */
static int look_again(struct poll *p, struct qmr_error *err)
{
	int r = qmr_config_load(p->config_path, &p->config, err);

	if (r == 0)
		r = ask_status(p, err);
	if (r < 0)
		return r;
	if (!p->config.requests_poll || p->config.mode < QMR_MODE_COLLECT) {
		qmr_notice("request '%s' is not followed: the configuration has changed since people were told", p->request.id);
		return 0;
	}
	return !has_to_wait(p);
}

static int follow(struct poll *p, struct qmr_error *err)
{
	const struct qmr_grace grace = {.fifo = QMR_GRACE_FIFO,
					.grace_ms = (int64_t)p->request.grace_minutes * MINUTE_MS,
					.defer_ms = (int64_t)p->request.defer_minutes * MINUTE_MS,
					.tell = tell,
					.context = p};
	int r;

	if (p->config.mode < QMR_MODE_COLLECT) {
		qmr_notice("request '%s', %s, would restart this machine into recovery; mode %s does nothing", p->request.id,
			   qmr_request_mode_name(p->request.mode), qmr_mode_name(p->config.mode));
		return 0;
	}
	if (!has_power(p))
		return 0;
	r = qmr_grace_wait(&grace, err);
	if (r == 0)
		r = is_still_wanted(p, err);
	if (r <= 0)
		return r;
	r = look_again(p, err);
	return r > 0 && has_power(p) ? begin(p, err) : r < 0 ? r : 0;
}

static int poll_once(struct poll *p, struct qmr_error *err)
{
	const char *due;
	int changed, r = qmr_request_record_load(AT_FDCWD, QMR_REQUEST_RECORD, &p->record, err);

	if (r == 0)
		r = ask_status(p, err);
	if (r < 0)
		return r;
	due = qmr_request_record_settle(p->record, &p->now, &changed);
	if (changed)
		r = save(p, err);
	if (r == 0 && due) {
		qmr_notice("request '%s' waits for the restart that was asked for", due);
		return reboot(err);
	}
	if (r == 0 && has_to_wait(p))
		return 0;
	if (r == 0)
		r = fetch(p, err);
	if (r == 0)
		r = choose(p, NULL, &p->request, err);
	return r > 0 ? follow(p, err) : r;
}

static int do_poll(const char *config_path)
{
	static struct poll poll; /* static: it would be a large part of the stack */
	struct poll *p = &poll;
	struct qmr_error err = {0};
	int r = qmr_config_load(config_path, &p->config, &err);

	p->config_path = config_path;
	if (r < 0) {
		qmr_error_log("%s; no request is followed", err.text);
		return QMR_EXIT_FAILURE;
	}
	if (!p->config.requests_poll || p->config.n_repository_urls == 0 || p->config.mode == QMR_MODE_OFF) {
		qmr_info("no requests are followed: %s", p->config.mode == QMR_MODE_OFF ? "the mode is off" :
			 p->config.requests_poll ? "no [repository] url is configured" : "[requests] poll is not yes");
		return QMR_EXIT_OK;
	}
	r = poll_once(p, &err);
	qmr_request_done(&p->request);
	json_decref(p->record);
	json_decref(p->status);
	if (r == -EINTR) {
		qmr_notice("%s; the next run begins anew", err.text);
		return QMR_EXIT_OK;
	}
	if (r < 0)
		qmr_error_log("%s", err.text);
	return r < 0 ? QMR_EXIT_FAILURE : QMR_EXIT_OK;
}

int main(int argc, char **argv)
{
	return qmr_poll_main(argc, argv, "request-poll", usage, do_poll);
}
