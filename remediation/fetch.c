/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "config.h"
#include "fetch-message.h"
#include "fetch-mirrors.h"
#include "fetch-plans.h"
#include "fetch-requests.h"
#include "fetch-time.h"
#include "file.h"
#include "json.h"
#include "log.h"
#include "network.h"
#include "retry.h"

#define INCIDENT_BYTES_MAX (4u << 20)

#define MEDIA "/run/qmr/media"

static const char usage[] =
	"Usage: remediation-fetch --incident FILE --metadata DIR --out DIR [--root DIR]\n"
	"                         [--media DIR] [--config FILE] [--floor FLOOR] [--requests]\n"
	"\n"
	"Fetches and verifies the owner's remediations; writes the plans that match an incident.\n"
	"\n"
	"  --incident FILE  incident.json, what plans are matched against\n"
	"  --metadata DIR   where verified metadata is kept between runs\n"
	"  --out DIR        where matching plans and fetch.json are written\n"
	"  --root DIR       the system whose secrets are used (default /)\n"
	"  --media DIR      where removable file systems are mounted (default " MEDIA ")\n"
	"  --floor FLOOR    what an earlier fetch.json said as \"floor\": older metadata is "
	"refused\n"
	"  --requests       requests for recovery too, for which --root is looked into\n"
	"  --config FILE    configuration (default " QMR_CONFIG_PATH ")\n"
	"  --help           this text\n"
	"  --version        the version\n";

struct arguments {
	const char *incident, *metadata, *out, *root, *media, *config, *floor;
	int requests;
};

/* One run and what is said about it. */
struct run {
	struct qmr_fetch_update update;
	struct qmr_tuf_client client;
	struct qmr_fetch_lists lists; /* owned here */
	struct qmr_fetch_source sources[QMR_FETCH_SOURCES_MAX];
	size_t n_sources;
	const struct qmr_fetch_source *winner; /* that the result is about; NULL: it did not come to that */
	struct qmr_fetch_time time;            /* from: NULL, the same */
	char floor[QMR_FLOOR_TEXT];            /* to be remembered; empty: nothing */
	int out_fd;
};

/* What is read before the first byte from the network; owned. */
struct trust {
	char *root;
	size_t root_size;
	struct qmr_network servers;
};

static int exit_code(int r)
{
	switch (r) {
	case -EBADMSG:
	case -EKEYREJECTED:
		return QMR_EXIT_REFUSED;
	case -ETIMEDOUT:
	case -EBUSY:
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
	run->lists = (struct qmr_fetch_lists){.plans = json_array(), .not_matched = json_array(), .withdrawn = json_array()};
	if (!run->lists.plans || !run->lists.not_matched || !run->lists.withdrawn)
		return qmr_error_set(err, -ENOMEM, "fetching: out of memory");
	r = qmr_fetch_plans_clear(run->out_fd, err);
	return r < 0 ? r : qmr_fetch_requests_clear(run->out_fd, err);
}

static void close_run(struct run *run)
{
	json_decref(run->lists.plans);
	json_decref(run->lists.not_matched);
	json_decref(run->lists.withdrawn);
	json_decref(run->lists.hold);
	qmr_fetch_update_done(&run->update);
	qmr_tuf_client_done(&run->client);
	qmr_fetch_sources_done(run->sources, run->n_sources);
	if (run->out_fd >= 0)
		close(run->out_fd);
}

/* The administrator's own file: unlike the broken system's, it may be a link. */
static int read_root(const char *path, struct trust *trust, struct qmr_error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", path);
	return qmr_file_read_fd(fd, path, qmr_tuf_role_max_bytes(QMR_TUF_ROOT), &trust->root,
				&trust->root_size, err);
}

static int read_all_trust(const struct qmr_config *config, const struct arguments *a,
			  struct trust *trust, struct qmr_error *err)
{
	int r = read_root(config->repository_root, trust, err);

	if (r < 0 || !qmr_config_has_source(config, "https:"))
		return r;
	return qmr_network_load(config, a->root ? a->root : "/", &trust->servers, err);
}

static void release_trust(struct trust *trust)
{
	free(trust->root);
	qmr_network_done(&trust->servers);
}

static int list_sources(const struct qmr_config *config, const struct arguments *a, struct run *run,
			struct qmr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < config->n_repository_urls; i++)
		r = qmr_fetch_source_add(config->repository_url[i], a->media ? a->media : MEDIA,
					 run->sources, &run->n_sources, err);
	return r;
}

static void choose_time(const struct qmr_config *config, const struct trust *trust,
			const struct qmr_fetch_store *store, struct run *run)
{
	run->time = qmr_fetch_time_now(time(NULL), config->built_unix_s, store, trust->root,
				       trust->root_size);
	if (run->time.is_floor)
		qmr_warning("the clock says %lld s since 1970, which cannot be; going by the time of the %s, "
			    "%lld s: what expired since then is not noticed",
			    (long long)run->time.clock_unix_s, run->time.from,
			    (long long)run->time.unix_s);
}

static void read_floor(const char *text, struct qmr_floor *ret_floor)
{
	struct qmr_error why = {0};

	if (text && qmr_floor_parse(text, ret_floor, &why) < 0)
		qmr_warning("--floor: %s; going on without it", why.text);
}

static int fetch_with(const struct qmr_config *config, const struct arguments *a,
		      const struct trust *trust, struct qmr_fetch_store *store, struct run *run,
		      struct qmr_error *err)
{
	struct qmr_fetch_job job = {
		.root = trust->root,
		.root_size = trust->root_size,
		.network = {.servers = &trust->servers,
			    .stall_s = config->stall_s,
			    .seed = qmr_retry_seed(config->root_uuid)},
		.timeout_s = config->transfer_s,
		.store = store,
		.wants_requests = a->requests,
	};
	int r;

	read_floor(a->floor, &job.floor);
	qmr_fetch_store_load(store);
	choose_time(config, trust, store, run);
	job.now_unix_s = job.network.now_unix_s = run->time.unix_s;
	job.network.is_floor = run->time.is_floor;
	r = qmr_fetch_mirrors_run(&job, run->sources, run->n_sources, &run->client, &run->update,
				  &run->winner, err);
	if (qmr_floor_is_set(&job.floor))
		qmr_floor_format(&job.floor, run->floor);
	if (r == 0)
		qmr_fetch_time_keep(&run->time, store);
	return r;
}

/* A hold stops requests as well. */
static int write_requests(const struct qmr_config *config, const struct arguments *a, const json_t *incident,
			  struct run *run, struct qmr_error *err)
{
	cleanup_close int root_fd = open(a->root ? a->root : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct qmr_match_subject subject = {incident, config, root_fd};

	return run->lists.hold ? 0 : qmr_fetch_requests_write(&run->update.requests, &subject, run->out_fd, &run->lists, err);
}

static int write_plans(const struct qmr_config *config, const struct arguments *a, const json_t *incident,
		       struct run *run, struct qmr_error *err)
{
	struct qmr_match_subject subject = {incident, config, -1};
	int r;

	run->lists.refused = run->update.refused;
	r = qmr_fetch_plans_write(&run->update.plans, &subject, run->time.unix_s, run->out_fd,
				  &run->lists, err);
	if (r == 0 && a->requests)
		r = write_requests(config, a, incident, run, err);
	return r == 0 ? 0 : local_error(r);
}

static int fetch(const struct qmr_config *config, const struct arguments *a, struct run *run,
		 struct qmr_error *err)
{
	cleanup_json json_t *incident = NULL;
	struct qmr_fetch_store store;
	struct trust trust = {0};
	int r = qmr_json_load(AT_FDCWD, a->incident, INCIDENT_BYTES_MAX, &incident, err);

	if (r == 0)
		r = list_sources(config, a, run, err);
	if (r == 0)
		r = read_all_trust(config, a, &trust, err);
	qmr_fetch_store_open(a->metadata, &store);
	r = r < 0 ? local_error(r) : fetch_with(config, a, &trust, &store, run, err);
	release_trust(&trust);
	if (r == 0)
		r = write_plans(config, a, incident, run, err);
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

/* Those that were tried; NULL when out of memory. */
static json_t *list_tried(const struct run *run)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < run->n_sources; i++) {
		const struct qmr_fetch_source *source = run->sources + i;
		const char *result = qmr_fetch_result_name(source->result.code);

		if (source->is_tried &&
		    json_array_append_new(
			    list, json_pack("{s:o, s:s, s:o}", "url", qmr_fetch_text(source->url),
					    "result", result, "error",
					    source->result.code ? qmr_fetch_text(source->result.text)
								: json_null())) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return list;
}

static json_t *report_time(const struct qmr_fetch_time *time)
{
	return time->from ? json_pack("{s:I, s:s, s:I}", "unix_s", (json_int_t)time->unix_s, "from",
				      time->from, "clock_unix_s", (json_int_t)time->clock_unix_s)
			  : json_null();
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
	cleanup_json json_t *report = json_pack(
		"{s:i, s:o, s:s, s:o, s:o, s:o, s:O, s:s?, s:O, s:O, s:O, s:O}", "schema", 1, "url",
		qmr_fetch_text(run->winner ? run->winner->url : url), "result", result_name(code),
		"error", error ? qmr_fetch_text(error) : json_null(), "sources", list_tried(run),
		"time", report_time(&run->time), "versions", versions, "floor",
		*run->floor ? run->floor : NULL, "plans", run->lists.plans, "not_matched",
		run->lists.not_matched, "withdrawn", run->lists.withdrawn, "refused_plans",
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
	if (config->n_repository_urls == 0) {
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
	if (save_report(&run, config->repository_url[0], code, r < 0 ? err.text : NULL, &why) < 0) {
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
		{"root", required_argument, NULL, 'r'},
		{"media", required_argument, NULL, 'M'},
		{"config", required_argument, NULL, 'c'},
		{"floor", required_argument, NULL, 'f'},
		{"requests", no_argument, NULL, 'R'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	const char **const values[] = {&a->incident, &a->metadata, &a->out,  &a->root,
				       &a->media,    &a->config,   &a->floor};
	static const char letters[] = "imorMcf";
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		const char *letter = strchr(letters, c);

		if (c == 'h' || c == 'v') {
			fputs(c == 'h' ? usage : "remediation-fetch " QMR_VERSION "\n", stdout);
			return -1 - QMR_EXIT_OK;
		}
		if (c == 'R') {
			a->requests = 1;
			continue;
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
