/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "clock.h"
#include "fetch-store.h"
#include "fetch-transfer.h"
#include "file.h"
#include "hash.h"
#include "log.h"
#include "network.h"
#include "tuf-client.h"

/*
 * The client of remediation-fetch behind the command line that public conformance tests of TUF clients use (docs/remediation.md,
 * "Conformance"): the same objects, without the second process, the sandbox and TLS. Not installed.
 */

#define RUN_MS 600000
#define STALL_S 60
#define FILE_NAME_MAX 240 /* with NUL; the suffix of qmr_file_replace() fits as well */
static struct run {
	struct qmr_fetch_store store;
	struct qmr_fetch_transfer *metadata, *targets;
	struct qmr_tuf_client client;
} run;
static int any_key_ids;

/* "metadata/..." and "targets/..." have a base URL each. */
static int get(void *user, const char *path, size_t max_bytes, char **ret_data, size_t *ret_size, struct qmr_error *err)
{
	return qmr_fetch_transfer_get(strncmp(path, "targets/", 8) ? run.metadata : run.targets, strchr(path, '/') + 1, max_bytes,
				      ret_data, ret_size, err);
}

static int keep(void *user, const char *path, const char *kept_as, const char *data, size_t size, struct qmr_error *err)
{
	return kept_as ? qmr_fetch_store_keep(&run.store, kept_as, data, size, err) : 0;
}

static int forget(void *user, struct qmr_error *err)
{
	qmr_fetch_store_forget(&run.store);
	return 0;
}

static int open_folder(const char *path, struct qmr_error *err)
{
	int r = qmr_file_mkdirs(AT_FDCWD, path, 0755, err), fd = r < 0 ? r : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return r < 0 || fd >= 0 ? fd : qmr_error_errno(err, -errno, "opening folder '%s'", path);
}

static int init(const char *folder, const char *path, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	cleanup_close int fd = open_folder(folder, err);
	struct qmr_tuf_trusted trusted = {.any_key_ids = any_key_ids};
	size_t size;
	int r = fd < 0 ? fd : qmr_file_read(AT_FDCWD, path, qmr_tuf_role_max_bytes(QMR_TUF_ROOT), &data, &size, err);

	if (r == 0)
		r = qmr_tuf_trusted_start(&trusted, data, size, 0, err);
	qmr_tuf_trusted_done(&trusted);
	return r < 0 ? r : qmr_file_replace(fd, "root.json", data, size, 0644, err);
}

static int refresh(struct qmr_error *err)
{
	cleanup_free char *root = NULL;
	size_t size;
	int r = qmr_fetch_store_fetch(&run.store, "root.json", qmr_tuf_role_max_bytes(QMR_TUF_ROOT), &root, &size, err);

	run.client = (struct qmr_tuf_client){.repository = {get, NULL}, .cache = {qmr_fetch_store_fetch, &run.store},
					      .accepted = keep, .forget = forget, .trusted.any_key_ids = any_key_ids};
	return r < 0 ? r : qmr_tuf_client_refresh(&run.client, root, size, time(NULL), err);
}

/* A target lies in T under its percent-encoded name, or the hash of it where that is too long. */
static int download(const char *name, const char *folder, struct qmr_error *err)
{
	cleanup_close int fd = open_folder(folder, err);
	cleanup_free char *have = NULL, *data = NULL;
	char file_name[FILE_NAME_MAX];
	struct qmr_tuf_file file;
	size_t size;
	int r = fd < 0 ? fd : 0;

	if (r == 0 && qmr_tuf_percent_encode(name, "", file_name, sizeof(file_name)) < 0)
		r = qmr_sha256(name, strlen(name), file_name, err);
	if (r == 0)
		r = qmr_tuf_client_find_target(&run.client, name, &file, err);
	if (r < 0 || (qmr_file_read(fd, file_name, (size_t)file.length, &have, &size, NULL) == 0 &&
		      qmr_tuf_file_check(name, &file, have, size, NULL) == 0))
		return r; /* 0: it is there */
	r = qmr_tuf_client_fetch_target(&run.client, name, &data, &size, err);
	/* Not synced: it is verified before it is taken for there. */
	return r < 0 ? r : qmr_file_replace_unsynced(fd, file_name, data, size, 0644, err);
}

/* values: metadata URL, metadata folder, targets' folder, targets' URL */
static int run_online(const char *const values[4], const char *const names[], struct qmr_error *err)
{
	int64_t deadline_ms = qmr_clock_ms() + RUN_MS;
	const struct qmr_network servers = {.ca = (char[]){""}};
	const struct qmr_fetch_network network = {.servers = &servers, .stall_s = STALL_S};
	int r = qmr_fetch_transfer_open(values[0], &network, deadline_ms, QMR_FETCH_FOR_TESTS, &run.metadata, err);

	if (r == 0 && *names)
		r = qmr_fetch_transfer_open(values[3], &network, deadline_ms, QMR_FETCH_FOR_TESTS, &run.targets, err);
	qmr_fetch_store_open(values[1], &run.store);
	if (r == 0)
		r = refresh(err);
	for (; r == 0 && *names; names++)
		r = download(*names, values[2], err);
	qmr_tuf_client_done(&run.client);
	qmr_fetch_store_done(&run.store);
	qmr_fetch_transfer_close(run.metadata);
	qmr_fetch_transfer_close(run.targets);
	return r;
}

int main(int argc, char *argv[])
{
	const struct option options[] = {
		{"metadata-url", 1, NULL, 0}, {"metadata-dir", 1, NULL, 1}, {"target-dir", 1, NULL, 2},
		{"target-base-url", 1, NULL, 3}, {"target-name", 1, NULL, 4}, {"any-key-ids", 0, &any_key_ids, 1}, {0}};
	const char **names = calloc((size_t)argc + 1, sizeof(*names)), *values[4] = {0}, *command;
	struct qmr_error err = {0};
	int c, n = 0, r = qmr_error_set(&err, -EINVAL, "see docs/remediation.md, \"Conformance\"");

	while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1)
		if (c == '?' || !names)
			return 1;
		else if (optarg)
			*(c == 4 ? &names[n++] : &values[c]) = optarg;
	command = optind < argc ? argv[optind] : "";
	if (!strcmp(command, "init") && optind + 2 == argc && values[1])
		r = init(values[1], argv[optind + 1], &err);
	else if (!strcmp(command, "refresh") && values[0] && values[1])
		r = run_online(values, &names[n], &err);
	else if (!strcmp(command, "download") && values[0] && values[1] && values[2] && values[3] && n)
		r = run_online(values, names, &err);
	free(names);
	return r < 0 ? qmr_error_log("%s", err.text), 1 : 0;
}
