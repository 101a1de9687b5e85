/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "poll-program.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "child.h"
#include "cleanup.h"
#include "config.h"
#include "json.h"
#include "log.h"

#define QMRCTL "/usr/sbin/qmrctl"
#define STATUS_MS 60000
#define STATUS_BYTES_MAX 262144

int qmr_poll_main(int argc, char **argv, const char *name, const char *usage, int (*run)(const char *config_path))
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
	const char *config_path = QMR_CONFIG_PATH;
	int c;

	qmr_log_open(name, 0);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			config_path = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return QMR_EXIT_OK;
		case 'V':
			printf("%s " QMR_VERSION "\n", name);
			return QMR_EXIT_OK;
		default:
			fputs(usage, stderr);
			return QMR_EXIT_USAGE;
		}
	}
	if (optind != argc) {
		fputs(usage, stderr);
		return QMR_EXIT_USAGE;
	}
	return run(config_path);
}

int qmr_poll_status(const char *config_path, json_t **ret_status, struct qmr_error *err)
{
	char *const argv[] = {QMRCTL, "--config", (char *)config_path, "--json", "status", NULL};
	cleanup_free char *output = NULL;
	int r = qmr_child_run(argv, STATUS_MS, &output, STATUS_BYTES_MAX, err);

	if (r != 0)
		return r < 0 ? r : qmr_error_set(err, -EIO, "'qmrctl status' ended with exit code %d", r);
	return qmr_json_parse("qmrctl status", output, strlen(output), ret_status, err);
}
