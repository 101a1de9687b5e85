/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "config.h"
#include "fetch-plans.h"
#include "fetch-run.h"
#include "file.h"
#include "json.h"
#include "log.h"

#define INCIDENT_BYTES_MAX (4u << 20)
#define CA_BYTES_MAX (1u << 20)

static const char usage[] =
	"Usage: remediation-fetch --incident FILE --metadata DIR --out DIR [--config FILE]\n"
	"       [--floor FLOOR]\n"
	"\n"
	"Fetches and verifies the owner's remediations; writes the plans that match an incident.\n"
	"\n"
	"  --incident FILE  incident.json, what plans are matched against\n"
	"  --metadata DIR   where verified metadata is kept between runs\n"
	"  --out DIR        where matching plans and fetch.json are written\n"
	"  --floor FLOOR    what an earlier fetch.json said as \"floor\": older metadata is "
	"refused\n"
	"  --config FILE    configuration (default " QMR_CONFIG_PATH ")\n"
	"  --help           this text\n"
	"  --version        the version\n";

struct arguments {
	const char *incident, *metadata, *out, *config, *floor;
};

/* One run and what is said about it. */
struct run {
	struct qmr_fetch_update update;
	struct qmr_tuf_client client;
	struct qmr_fetch_lists lists; /* owned here */
	char floor[QMR_FLOOR_TEXT];   /* to be remembered; empty: nothing */
	int out_fd;
};

static int exit_code(int r)
{
	switch (r) {
	case -EBADMSG:
	case -EKEYREJECTED:
		return QMR_EXIT_REFUSED;
	case -ETIMEDOUT:
		return QMR_EXIT_NETWORK;
	default:
		return QMR_EXIT_FAILURE;
	}
}

/* What a disk may answer as well must not look like the repository's or the network's fault. */
static int local_error(int r)
{
	return exit_code(r) == QMR_EXIT_FAILURE ? r : -EIO;
}

static int open_out(const char *path, struct run *run, struct qmr_error *err)
{
	int r = qmr_file_mkdirs(AT_FDCWD, path, 0700, err);

	if (r < 0)
		return r;
	run->out_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (run->out_fd < 0)
		return qmr_error_errno(err, -errno, "opening folder '%s'", path);
	run->lists = (struct qmr_fetch_lists){.plans = json_array(), .not_matched = json_array()};
	if (!run->lists.plans || !run->lists.not_matched)
		return qmr_error_set(err, -ENOMEM, "fetching: out of memory");
	return qmr_fetch_plans_clear(run->out_fd, err);
}

static void close_run(struct run *run)
{
	json_decref(run->lists.plans);
	json_decref(run->lists.not_matched);
	json_decref(run->lists.hold);
	qmr_fetch_update_done(&run->update);
	qmr_tuf_client_done(&run->client);
	if (run->out_fd >= 0)
		close(run->out_fd);
}

/* The administrator's own files: unlike the broken system's, they may be links. */
static int read_trust(const char *path, size_t max, char **ret_data, size_t *ret_size,
		      struct qmr_error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", path);
	return qmr_file_read_fd(fd, path, max, ret_data, ret_size, err);
}

static void remember(struct run *run, const struct qmr_fetch_job *job)
{
	struct qmr_error why = {0};
	struct qmr_floor floor;

	if (!run->client.trusted.root.json)
		return; /* it did not come to that: what was remembered stays */
	if (qmr_tuf_client_get_floor(&run->client, job->root, job->root_size, &floor, &why) < 0)
		qmr_warning("%s; what was seen is not remembered", why.text);
	else
		qmr_floor_format(&floor, run->floor);
}

static int fetch(const struct qmr_config *config, const struct arguments *a, struct run *run,
		 struct qmr_error *err)
{
	cleanup_free char *root = NULL, *ca = NULL;
	cleanup_json json_t *incident = NULL;
	struct qmr_fetch_store store = {.fd = -1};
	struct qmr_fetch_job job = {.url = config->repository_url,
				    .now_unix_s = time(NULL),
				    .timeout_s = config->transfer_s,
				    .store = &store};
	int r = qmr_json_load(AT_FDCWD, a->incident, INCIDENT_BYTES_MAX, &incident, err);

	if (r == 0)
		r = read_trust(config->repository_root, qmr_tuf_role_max_bytes(QMR_TUF_ROOT), &root,
			       &job.root_size, err);
	if (r == 0)
		r = read_trust(config->ca, CA_BYTES_MAX, &ca, &job.ca_size, err);
	if (r < 0)
		return local_error(r);
	job.root = root;
	job.ca = ca;
	if (a->floor) {
		r = qmr_floor_parse(a->floor, &job.floor, err);
		snprintf(run->floor, sizeof(run->floor), "%s", r < 0 ? "" : a->floor);
		if (r < 0)
			qmr_warning("--floor: %s; going on without it", err->text);
	}
	qmr_fetch_store_open(a->metadata, &store);
	qmr_fetch_store_load(&store);
	r = qmr_fetch_run(&job, &run->client, &run->update, err);
	remember(run, &job);
	if (r == 0) {
		run->lists.refused = run->update.refused;
		r = qmr_fetch_plans_write(&run->update.plans, &(struct qmr_match_subject){incident, config, -1},
					  job.now_unix_s, run->out_fd, &run->lists, err);
		r = r == 0 ? 0 : local_error(r);
	}
	if (r == 0)
		qmr_fetch_hold_keep(store.fd, run->out_fd);
	else
		qmr_fetch_hold_recall(store.fd, run->out_fd, &run->lists);
	qmr_fetch_store_done(&store);
	return r;
}

static json_t *version_of(const struct qmr_tuf_metadata *metadata)
{
	return metadata->json ? json_integer(metadata->version) : json_null();
}

static const char *result_name(int code)
{
	static const char *const names[] = {
		[QMR_EXIT_OK] = "plans",        [QMR_EXIT_FAILURE] = "failed",
		[QMR_EXIT_USAGE] = "failed",    [QMR_EXIT_NOTHING] = "none",
		[QMR_EXIT_REFUSED] = "refused", [QMR_EXIT_NETWORK] = "network",
	};

	return names[code];
}

static int save_report(const struct run *run, const char *url, int code, const char *error,
		       struct qmr_error *err)
{
	const struct qmr_tuf_trusted *trusted = &run->client.trusted;
	cleanup_json json_t *empty = json_array();
	cleanup_json json_t *versions =
		json_pack("{s:o, s:o, s:o, s:o}", "root", version_of(&trusted->root), "timestamp",
			  version_of(&trusted->timestamp), "snapshot",
			  version_of(&trusted->snapshot), "targets", version_of(&trusted->targets));
	cleanup_json json_t *report =
		json_pack("{s:i, s:o, s:s, s:o, s:O, s:s?, s:O, s:O, s:O}", "schema", 1, "url",
			  qmr_fetch_text(url), "result", result_name(code), "error",
			  error ? qmr_fetch_text(error) : json_null(), "versions", versions,
			  "floor", *run->floor ? run->floor : NULL, "plans", run->lists.plans,
			  "not_matched", run->lists.not_matched, "refused_plans",
			  run->update.refused ? run->update.refused : empty);

	if (!report || (run->lists.hold && json_object_set(report, "hold", run->lists.hold) < 0))
		return qmr_error_set(err, -ENOMEM, "writing 'fetch.json': out of memory");
	return qmr_json_save(run->out_fd, "fetch.json", report, 0600, err);
}

static void say_plans(const struct run *run)
{
	const json_t *item;
	size_t i;

	json_array_foreach (run->update.refused, i, item)
		qmr_warning("target '%s': %s", qmr_json_string(item, "target"),
			    qmr_json_string(item, "why"));
	json_array_foreach (run->lists.not_matched, i, item)
		qmr_info("plan '%s': %s", qmr_json_string(item, "id"),
			 qmr_json_string(item, "why"));
	json_array_foreach (run->lists.plans, i, item)
		qmr_notice(json_object_get(item, "undecided")
				   ? "plan '%s' is verified; the system's disk decides whether it matches"
				   : "plan '%s' is verified and matches",
			   qmr_json_string(item, "id"));
	if (run->lists.hold)
		qmr_notice("'%s' holds the fleet: nothing is to be done on any machine", qmr_json_string(run->lists.hold, "id"));
}

static int fetch_and_report(const struct qmr_config *config, const struct arguments *a)
{
	static struct run run = {.out_fd = -1}; /* static: it would be a large part of the stack */
	struct qmr_error err = {0}, why = {0};
	int r = open_out(a->out, &run, &err), code;

	if (r < 0) {
		qmr_error_log("%s; nothing was fetched", err.text);
		close_run(&run);
		return QMR_EXIT_FAILURE;
	}
	if (!config->repository_url[0]) {
		code = QMR_EXIT_NOTHING;
		qmr_notice("no [repository] url is configured; nothing is fetched");
	} else {
		r = fetch(config, a, &run, &err);
		code = r < 0                              ? exit_code(r)
		       : json_array_size(run.lists.plans) ? QMR_EXIT_OK
							  : QMR_EXIT_NOTHING;
		if (r < 0)
			qmr_error_log("%s; no plan is used", err.text);
		else
			say_plans(&run);
	}
	if (save_report(&run, config->repository_url, code, r < 0 ? err.text : NULL, &why) < 0) {
		qmr_error_log("%s; the result is said here only", why.text);
		code = code == QMR_EXIT_NOTHING ? QMR_EXIT_FAILURE : code;
	}
	close_run(&run);
	return code;
}

/* Returns 0, or -1 - exit code. */
static int parse(int argc, char *argv[], struct arguments *a)
{
	static const struct option options[] = {
		{"incident", required_argument, NULL, 'i'},
		{"metadata", required_argument, NULL, 'm'},
		{"out", required_argument, NULL, 'o'},
		{"config", required_argument, NULL, 'c'},
		{"floor", required_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	const char **const values[] = {&a->incident, &a->metadata, &a->out, &a->config, &a->floor};
	static const char letters[] = "imocf";
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		const char *letter = strchr(letters, c);

		if (c == 'h' || c == 'v') {
			fputs(c == 'h' ? usage : "remediation-fetch " QMR_VERSION "\n", stdout);
			return -1 - QMR_EXIT_OK;
		}
		if (!letter)
			return -1 - QMR_EXIT_USAGE;
		*values[letter - letters] = optarg;
	}
	if (argc == optind && a->incident && a->metadata && a->out)
		return 0;
	qmr_error_log("give --incident, --metadata and --out, and nothing else; see --help");
	return -1 - QMR_EXIT_USAGE;
}

int main(int argc, char *argv[])
{
	struct arguments arguments = {.config = QMR_CONFIG_PATH};
	static struct qmr_config config;
	struct qmr_error err = {0};
	int r;

	qmr_log_open("remediation-fetch", 0);
	signal(SIGPIPE, SIG_IGN); /* a peer that closes is an error of that transfer, not our end */
	r = parse(argc, argv, &arguments);
	if (r < 0)
		return -1 - r;
	if (qmr_config_load(arguments.config, &config, &err) < 0) {
		qmr_error_log("%s; nothing was done", err.text);
		return QMR_EXIT_USAGE;
	}
	json_object_seed(0); /* from the kernel, while files can be opened */
	return fetch_and_report(&config, &arguments);
}
