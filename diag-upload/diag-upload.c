/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "log.h"
#include "send.h"
#include "trust.h"

static const char usage[] =
	"Usage: diag-upload pack --incident DIR --out FILE [--config FILE]\n"
	"       diag-upload send --incident DIR [--spool DIR] [--root DIR] [--config FILE]\n"
	"       diag-upload send --spool DIR [--root DIR] [--config FILE]\n"
	"       diag-upload check [--config FILE]\n"
	"\n"
	"pack  writes the encrypted bundle of an incident to a file\n"
	"send  sends the bundle of an incident, or what is spooled, to the configured server\n"
	"check prints when the configured certificates end, as JSON\n"
	"\n"
	"  --incident DIR  incident folder\n"
	"  --out FILE      bundle to write (.tar.zst.cms)\n"
	"  --spool DIR     where bundles wait that cannot be sent\n"
	"  --root DIR      the system whose secrets are used (default /)\n"
	"  --config FILE   configuration (default " QMR_CONFIG_PATH ")\n"
	"  --help          this text\n"
	"  --version       the version\n";

struct arguments {
	const char *incident, *out, *spool, *root, *config;
};

static int exit_code(int r)
{
	switch (r) {
	case -ETIMEDOUT:
		return QMR_EXIT_NETWORK;
	case -EKEYREJECTED:
		return QMR_EXIT_REFUSED;
	case -EINVAL:
		return QMR_EXIT_USAGE; /* the url of the configuration */
	default:
		return QMR_EXIT_FAILURE;
	}
}

static int run_pack(const struct arguments *a, const struct qmr_config *config)
{
	struct qmr_error err = {0};
	int r;

	if (!a->incident || !a->out || a->spool) {
		qmr_error_log("pack needs --incident and --out; nothing was done");
		return QMR_EXIT_USAGE;
	}
	r = qmr_send_pack(config, a->incident, a->out, &err);
	if (r == 0)
		return QMR_EXIT_OK;
	qmr_error_log("%s; no bundle was written", err.text);
	return exit_code(r);
}

static int run_send(const struct arguments *a, const struct qmr_config *config)
{
	struct qmr_error err = {0};
	int r;

	if ((!a->incident && !a->spool) || a->out) {
		qmr_error_log("send needs --incident or --spool; nothing was done");
		return QMR_EXIT_USAGE;
	}
	if (!config->upload_url[0]) {
		qmr_notice("no [upload] url is configured; nothing is sent");
		return QMR_EXIT_NOTHING;
	}
	if (a->incident)
		r = qmr_send_incident(config, a->root, a->incident, a->spool, &err);
	else
		r = qmr_send_spool(config, a->root, a->spool, &err);
	if (r < 0) {
		qmr_error_log("%s; %s", err.text,
			      a->spool ? "what was not sent waits in the spool, if it could be written" :
					 "nothing was sent");
		return exit_code(r);
	}
	return a->incident || r > 0 ? QMR_EXIT_OK : QMR_EXIT_NOTHING;
}

static int run_check(const struct arguments *a, const struct qmr_config *config)
{
	struct qmr_error err = {0};
	int r;

	if (a->incident || a->out || a->spool) {
		qmr_error_log("check takes no folder and no file; nothing was done");
		return QMR_EXIT_USAGE;
	}
	r = qmr_trust_print(config, &err);
	if (r < 0) {
		qmr_error_log("%s; bundles cannot be sent with it", err.text);
		return r == -EKEYREJECTED ? QMR_EXIT_REFUSED : QMR_EXIT_FAILURE;
	}
	return r > 0 ? QMR_EXIT_OK : QMR_EXIT_NOTHING;
}

static const struct command {
	const char *name;
	int (*run)(const struct arguments *arguments, const struct qmr_config *config);
} commands[] = {
	{"pack", run_pack},
	{"send", run_send},
	{"check", run_check},
};

/* Returns the command's index, or -1 - exit code. */
static int parse(int argc, char *argv[], struct arguments *a)
{
	static const struct option options[] = {
		{"incident", required_argument, NULL, 'i'}, {"out", required_argument, NULL, 'o'},
		{"spool", required_argument, NULL, 's'},    {"root", required_argument, NULL, 'r'}, {"config", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},           {"version", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	const char **const values[] = {&a->incident, &a->out, &a->spool, &a->root, &a->config};
	static const char letters[] = "iosrc";
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		const char *letter = strchr(letters, c);

		if (c == 'h' || c == 'v') {
			fputs(c == 'h' ? usage : "diag-upload " QMR_VERSION "\n", stdout);
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
	qmr_error_log("give one command, 'pack', 'send' or 'check'; see --help");
	return -1 - QMR_EXIT_USAGE;
}

int main(int argc, char *argv[])
{
	struct arguments arguments = {.root = "/", .config = QMR_CONFIG_PATH};
	static struct qmr_config config;
	struct qmr_error err = {0};
	int command;

	qmr_log_open("diag-upload", 0);
	signal(SIGPIPE, SIG_IGN); /* a server that closes is an error of that transfer, not our end */
	command = parse(argc, argv, &arguments);
	if (command < 0)
		return -1 - command;
	if (qmr_config_load(arguments.config, &config, &err) < 0) {
		qmr_error_log("%s; nothing was done", err.text);
		return QMR_EXIT_USAGE;
	}
	return commands[command].run(&arguments, &config);
}
