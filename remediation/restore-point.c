/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "change-log.h"
#include "cleanup.h"
#include "config.h"
#include "log.h"
#include "restore-point-take.h"
#include "restore-point.h"

struct arguments {
	const char *root, *config, *boot;
	int json;
};

struct command {
	const char *name;
	int (*run)(int root_fd, const struct arguments *arguments);
};

static const char usage[] =
	"Usage: restore-point take|list|verify [--boot ID] [--root DIR] [--config FILE] [--json]\n"
	"Copies of the files that matter for booting.\n\n"
	"  take           copy the watched files, if one changed since the newest restore point,\n"
	"                 and note in the change log what changed\n"
	"  list           list the restore points\n"
	"  verify         hash every copy and say which is damaged\n"
	"  --boot ID      take: the boot with this id was found healthy; the change log counts it\n"
	"  --root DIR     root of the system (default /)\n"
	"  --config FILE  configuration (default /etc/qmr/qmr.conf)\n"
	"  --json         print JSON\n"
	"  --help         print this\n"
	"  --version      print the version\n\n"
	"Exit codes: 0 done, 1 failed, 2 wrong arguments or configuration, 4 a copy is damaged.\n";

static int run_take(int root_fd, const struct arguments *arguments)
{
	struct qmr_config config;
	struct qmr_error err = {0};
	uint64_t id = 0;
	int r = qmr_config_load(arguments->config, &config, &err);

	if (r < 0) {
		qmr_error_log("reading the configuration: %s; no restore point is taken", err.text);
		return r == -EINVAL ? QMR_EXIT_USAGE : QMR_EXIT_FAILURE;
	}
	r = qmr_restore_point_take(root_fd, &config, arguments->boot, &id, &err);
	if (r < 0) {
		qmr_error_log("taking a restore point: %s; there is no new one, the old ones are "
			      "as they were",
			      err.text);
		return QMR_EXIT_FAILURE;
	}
	if (arguments->json)
		r = id ? printf("{\"restore_point\":%llu}\n", (unsigned long long)id)
		       : printf("{\"restore_point\":null}\n");
	else if (id)
		r = printf("restore point %llu is taken\n", (unsigned long long)id);
	else
		r = printf("nothing changed since the newest restore point\n");
	return r < 0 || fflush(stdout) < 0 ? QMR_EXIT_FAILURE : QMR_EXIT_OK;
}

static int run_list(int root_fd, const struct arguments *arguments)
{
	struct qmr_error err = {0};

	if (qmr_restore_point_list(root_fd, arguments->json, stdout, &err) >= 0)
		return QMR_EXIT_OK;
	qmr_error_log("listing the restore points: %s", err.text);
	return QMR_EXIT_FAILURE;
}

static int run_verify(int root_fd, const struct arguments *arguments)
{
	struct qmr_error err = {0};
	int r = qmr_restore_point_verify(root_fd, arguments->json, stdout, &err);

	if (r < 0)
		qmr_error_log("verifying the restore points: %s", err.text);
	return r < 0 ? QMR_EXIT_FAILURE : r ? QMR_EXIT_REFUSED : QMR_EXIT_OK;
}

static const struct command commands[] = {
	{"take", run_take},
	{"list", run_list},
	{"verify", run_verify},
};

static int is_boot_id(const char *text)
{
	size_t length = strlen(text);

	return length && length < QMR_BOOT_ID_BYTES &&
	       strspn(text, "0123456789abcdefABCDEF-") == length;
}

static const struct command *parse(int argc, char **argv, struct arguments *arguments)
{
	static const struct option options[] = {
		{"root", required_argument, NULL, 'r'},
		{"config", required_argument, NULL, 'c'},
		{"json", no_argument, NULL, 'j'},
		{"boot", required_argument, NULL, 'b'},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'r')
			arguments->root = optarg;
		else if (c == 'c')
			arguments->config = optarg;
		else if (c == 'b')
			arguments->boot = optarg;
		else if (c == 'j')
			arguments->json = 1;
		else
			return NULL; /* getopt has said why */
	}
	if (arguments->boot && !is_boot_id(arguments->boot)) {
		qmr_error_log("--boot: '%s' is not the id of a boot", arguments->boot);
		return NULL;
	}
	for (size_t i = 0; optind + 1 == argc && i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[optind], commands[i].name))
			return &commands[i];
	qmr_error_log("one of take, list and verify is needed; see --help");
	return NULL;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {.root = "/", .config = QMR_CONFIG_PATH};
	const struct command *command;
	cleanup_close int root_fd = -1;

	qmr_log_open("restore-point", 0);
	umask(022);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help"))
			return fputs(usage, stdout) < 0 ? QMR_EXIT_FAILURE : QMR_EXIT_OK;
		if (!strcmp(argv[i], "--version"))
			return puts("restore-point " QMR_VERSION) < 0 ? QMR_EXIT_FAILURE
								      : QMR_EXIT_OK;
	}
	command = parse(argc, argv, &arguments);
	if (!command)
		return QMR_EXIT_USAGE;
	root_fd = open(arguments.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0) {
		qmr_error_log("opening the root '%s': %s; nothing was done", arguments.root,
			      strerror(errno));
		return QMR_EXIT_FAILURE;
	}
	return command->run(root_fd, &arguments);
}
