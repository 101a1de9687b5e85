/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "collect.h"
#include "config.h"
#include "incident.h"
#include "json.h"
#include "log.h"

static const char usage[] =
	"Usage: crash-collect collect --root DIR --pstore DIR --state FILE --out DIR [--config FILE]\n"
	"       crash-collect save --from DIR --root DIR --pstore DIR\n"
	"       crash-collect machine --root DIR --out FILE\n"
	"\n"
	"collect  makes an incident folder from crash records and from the system below --root, which it does not change\n"
	"save     copies an incident folder to ROOT/var/lib/qmr/incidents, then removes the saved records from --pstore\n"
	"machine  writes what an incident would say of this machine, which has none\n"
	"\n"
	"  --root DIR     root of the broken system\n"
	"  --pstore DIR   folder of crash records, /sys/fs/pstore\n"
	"  --state FILE   boot state as JSON\n"
	"  --out DIR      incident folder, or file, to make\n"
	"  --from DIR     incident folder to save\n"
	"  --config FILE  configuration (default " QMR_CONFIG_PATH ")\n"
	"  --help         this text\n"
	"  --version      the version\n";

struct arguments {
	const char *root, *pstore, *state, *out, *from, *config;
};

static int run_collect(const struct arguments *a)
{
	struct qmr_collect_options options = {
		.root = a->root, .pstore = a->pstore, .state = a->state, .out = a->out, .config = a->config};
	struct qmr_error err = {0};

	if (!a->root || !a->pstore || !a->state || !a->out || a->from) {
		qmr_error_log("collect needs --root, --pstore, --state and --out; nothing was done");
		return QMR_EXIT_USAGE;
	}
	if (qmr_collect(&options, &err) < 0) {
		qmr_error_log("%s; the incident folder is not complete", err.text);
		return QMR_EXIT_FAILURE;
	}
	return QMR_EXIT_OK;
}

static int run_save(const struct arguments *a)
{
	struct qmr_save_options options = {.from = a->from, .root = a->root, .pstore = a->pstore};
	struct qmr_error err = {0};

	if (!a->from || !a->root || !a->pstore || a->state || a->out) {
		qmr_error_log("save needs --from, --root and --pstore; nothing was done");
		return QMR_EXIT_USAGE;
	}
	if (qmr_save(&options, &err) < 0) {
		qmr_error_log("%s; records that are not saved stay in '%s'", err.text, a->pstore);
		return QMR_EXIT_FAILURE;
	}
	return QMR_EXIT_OK;
}

static int run_machine(const struct arguments *a)
{
	cleanup_close int root_fd = a->root ? open(a->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	cleanup_json json_t *facts = NULL;
	struct qmr_error err = {0};

	if (!a->root || !a->out || a->from || a->pstore || a->state) {
		qmr_error_log("machine needs --root and --out; nothing was done");
		return QMR_EXIT_USAGE;
	}
	facts = qmr_machine_facts(root_fd);
	if (!facts)
		(void)qmr_error_set(&err, -ENOMEM, "'%s': out of memory", a->out);
	else if (qmr_json_save(AT_FDCWD, a->out, facts, 0600, &err) == 0)
		return QMR_EXIT_OK;
	qmr_error_log("%s; nothing was written", err.text);
	return QMR_EXIT_FAILURE;
}

static const struct command {
	const char *name;
	int (*run)(const struct arguments *arguments);
} commands[] = {
	{"collect", run_collect},
	{"save", run_save},
	{"machine", run_machine},
};

/* Returns the command's index, or -1 - exit code. */
static int parse(int argc, char *argv[], struct arguments *a)
{
	static const struct option options[] = {
		{"root", required_argument, NULL, 'r'},  {"pstore", required_argument, NULL, 'p'},
		{"state", required_argument, NULL, 's'}, {"out", required_argument, NULL, 'o'},
		{"from", required_argument, NULL, 'f'},  {"config", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},        {"version", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	const char **const values[] = {&a->root, &a->pstore, &a->state, &a->out, &a->from, &a->config};
	static const char letters[] = "rpsofc";
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		const char *letter = strchr(letters, c);

		if (c == 'h' || c == 'v') {
			fputs(c == 'h' ? usage : "crash-collect " QMR_VERSION "\n", stdout);
			return -1 - QMR_EXIT_OK;
		}
		if (!letter)
			return -1 - QMR_EXIT_USAGE;
		*values[letter - letters] = optarg;
	}
	if (argc - optind == 1)
		for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
			if (!strcmp(argv[optind], commands[i].name))
				return (int)i;
	qmr_error_log("give one command, 'collect', 'save' or 'machine'; see --help");
	return -1 - QMR_EXIT_USAGE;
}

int main(int argc, char *argv[])
{
	struct arguments arguments = {.config = QMR_CONFIG_PATH};
	int command;

	qmr_log_open("crash-collect", 0);
	command = parse(argc, argv, &arguments);
	return command < 0 ? -1 - command : commands[command].run(&arguments);
}
