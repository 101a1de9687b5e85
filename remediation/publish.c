/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qmr-publish: options and the table of commands. */
#include "publish.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "log.h"

struct command {
	const char *name;
	const char *needs;   /* letters of the options it needs besides --repository */
	const char *takes;   /* and may take */
	size_t n_min, n_max; /* operands */
	int has_repository;
	int (*run)(const struct qmr_publish_arguments *arguments);
};

static const char usage[] =
	"Usage: qmr-publish COMMAND --repository DIR [--keys KEYDIR] ...\n"
	"Makes and maintains a repository of signed remediation plans and requests for recovery (The Update Framework 1.0), "
	"as static files.\n\n"
	"  init               make keys and an empty repository\n"
	"  add FILE.json ...  check plans and requests for recovery, and publish them\n"
	"  withdraw NAME ...  publish that these plans are not to be applied any more; take requests out\n"
	"  remove NAME ...    take plans and requests out, holds too\n"
	"  list               print plans, requests, versions and what is staged\n"
	"  refresh            renew timestamp, and snapshot when it is old; publish what is staged "
	"and signed (cron job)\n"
	"  check              verify everything as a client does\n"
	"  rotate ROLE        replace, add or drop a key of root, targets, snapshot or timestamp, "
	"or change a threshold\n"
	"  sign               add a signature to a staged change of root or targets\n"
	"  export             write what is to be signed of a staged change, for a desk without this program\n"
	"  import             add a signature that was made there\n"
	"  key ROLE           make a key, or note where one is, for rotate --public\n"
	"  simulate FILE.json ...  check plans and requests, and print what they would do about incidents\n"
	"  diff DIR           print what another state of the repository has that this one has not\n\n"
	"  --repository DIR         folder of the repository\n"
	"  --keys KEYDIR            folder of private keys\n"
	"  --passphrase-file FILE   its first line opens encrypted keys, and encrypts new root and "
	"targets keys\n"
	"  --ask-passphrase         init, rotate: ask for the passphrase of new root and targets "
	"keys\n"
	"  --expires ROLE=DAYS      init: how long metadata is valid (root=365 targets=90 "
	"snapshot=14 timestamp=7)\n"
	"  --root-keys M            init: number of root keys (2)\n"
	"  --root-threshold N       init: signatures that root needs (1)\n"
	"  --targets-keys M         init: number of targets keys (1)\n"
	"  --targets-threshold N    init: signatures that targets needs (1)\n"
	"  --role ROLE              refresh: renew this role now; sign: the role that is signed "
	"for\n"
	"  --replace KEYID          rotate: the key that goes (the beginning of its id)\n"
	"  --add                    rotate: the new key comes in addition\n"
	"  --drop KEYID             rotate: this key goes, and none comes\n"
	"  --threshold N            rotate: signatures that root or targets needs from now on\n"
	"  --public PUBLIC.pem      rotate: the new key is this one, whose private half stays "
	"where it was made; import: the key that signed\n"
	"  --key KEY.pem            sign: the private key, a file or a URI\n"
	"  --uri URI                key: where the private key is (handle:..., pkcs11:..., file:...)\n"
	"  --to FILE                add, withdraw, remove, rotate, refresh, export: write what is to be signed here\n"
	"  --from FILE              import: what was exported, unless it is staged\n"
	"  --signature FILE         import: the signature\n"
	"  --incident PATH          simulate: incident.json, or a folder with such files below it\n"
	"  --tree DIR               simulate: the root of the machine; nothing in it is changed\n"
	"  --root ROOT.json         check: the root that machines trust (default "
	"metadata/1.root.json)\n"
	"  --warn-days N            check: warn about what expires within N days (a quarter of its "
	"time)\n"
	"  --json                   list, check, diff, simulate: print JSON\n"
	"  --config FILE            simulate: the machine's configuration (labels, ages, what is protected)\n"
	"  --help                   print this\n"
	"  --version                print the version\n\n"
	"Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 nothing published (staged, or nothing "
	"to do),\n"
	"4 refused (a plan, a request, a signature, hash, version or expiry).\n";

enum { OPT_ROOT_KEYS = 256, OPT_ROOT_THRESHOLD, OPT_TARGETS_KEYS, OPT_TARGETS_THRESHOLD };

static const struct option options[] = {
	{"repository", required_argument, NULL, 'd'},
	{"keys", required_argument, NULL, 'k'},
	{"passphrase-file", required_argument, NULL, 'p'},
	{"ask-passphrase", no_argument, NULL, 'a'},
	{"expires", required_argument, NULL, 'e'},
	{"root-keys", required_argument, NULL, OPT_ROOT_KEYS},
	{"root-threshold", required_argument, NULL, OPT_ROOT_THRESHOLD},
	{"targets-keys", required_argument, NULL, OPT_TARGETS_KEYS},
	{"targets-threshold", required_argument, NULL, OPT_TARGETS_THRESHOLD},
	{"role", required_argument, NULL, 'r'},
	{"replace", required_argument, NULL, 'o'},
	{"add", no_argument, NULL, 'A'},
	{"drop", required_argument, NULL, 'D'},
	{"threshold", required_argument, NULL, 'T'},
	{"public", required_argument, NULL, 'P'},
	{"key", required_argument, NULL, 'f'},
	{"root", required_argument, NULL, 't'},
	{"warn-days", required_argument, NULL, 'w'},
	{"to", required_argument, NULL, 'x'},
	{"from", required_argument, NULL, 'F'},
	{"signature", required_argument, NULL, 'S'},
	{"uri", required_argument, NULL, 'u'},
	{"incident", required_argument, NULL, 'i'},
	{"tree", required_argument, NULL, 'R'},
	{"json", no_argument, NULL, 'j'},
	{"config", required_argument, NULL, 'c'},
	{NULL, 0, NULL, 0},
};

/* 'n' stands for the four options about numbers of keys. */
static const struct command commands[] = {
	{"init", "k", "paen", 0, 0, 1, qmr_publish_init},
	{"key", "k", "pau", 1, 1, 0, qmr_publish_key},
	{"add", "k", "px", 1, 4096, 1, qmr_publish_add},
	{"withdraw", "k", "px", 1, 4096, 1, qmr_publish_withdraw},
	{"remove", "k", "px", 1, 4096, 1, qmr_publish_remove},
	{"list", "", "j", 0, 0, 1, qmr_publish_list},
	{"refresh", "k", "prx", 0, 0, 1, qmr_publish_refresh},
	{"check", "", "jtw", 0, 0, 1, qmr_publish_check},
	{"diff", "", "j", 1, 1, 1, qmr_publish_diff},
	{"rotate", "k", "paoADTPx", 1, 1, 1, qmr_publish_rotate},
	{"sign", "rf", "kp", 0, 0, 1, qmr_publish_sign},
	{"export", "rx", "", 0, 0, 1, qmr_publish_export},
	{"import", "rSP", "kpF", 0, 0, 1, qmr_publish_import},
	{"simulate", "", "jiR", 1, 4096, 0, qmr_publish_simulate},
};

static int parse_number(const char *text, int min, int max, int *ret)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end || end == text || n < min || n > max) {
		qmr_error_log("'%s' is not a number from %d to %d", text, min, max);
		return -1;
	}
	*ret = (int)n;
	return 0;
}

static int parse_role(const char *text)
{
	int role = qmr_role_from_name(text);

	if (role < 0)
		qmr_error_log("'%s' is no role; root, targets, snapshot, timestamp are", text);
	return role;
}

static int parse_expires(const char *text, struct qmr_publish_arguments *arguments)
{
	const char *equals = strchr(text, '=');
	char name[16];
	int role;

	if (!equals) {
		qmr_error_log("--expires '%s': not of the form ROLE=DAYS", text);
		return -1;
	}
	snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
	role = parse_role(name);
	return role < 0 ? -1 : parse_number(equals + 1, 1, 36500, &arguments->days[role]);
}

/* Options that are a string or a flag, and where they go. */
static const struct {
	int letter;
	int is_flag;
	size_t offset;
} places[] = {
	{'d', 0, offsetof(struct qmr_publish_arguments, repository)},
	{'k', 0, offsetof(struct qmr_publish_arguments, keys)},
	{'p', 0, offsetof(struct qmr_publish_arguments, passphrase_file)},
	{'o', 0, offsetof(struct qmr_publish_arguments, replace)},
	{'D', 0, offsetof(struct qmr_publish_arguments, drop)},
	{'P', 0, offsetof(struct qmr_publish_arguments, public_key)},
	{'f', 0, offsetof(struct qmr_publish_arguments, key)},
	{'t', 0, offsetof(struct qmr_publish_arguments, root)},
	{'x', 0, offsetof(struct qmr_publish_arguments, to)},
	{'F', 0, offsetof(struct qmr_publish_arguments, from)},
	{'S', 0, offsetof(struct qmr_publish_arguments, signature)},
	{'u', 0, offsetof(struct qmr_publish_arguments, uri)},
	{'i', 0, offsetof(struct qmr_publish_arguments, incident)},
	{'R', 0, offsetof(struct qmr_publish_arguments, tree)},
	{'c', 0, offsetof(struct qmr_publish_arguments, config)},
	{'a', 1, offsetof(struct qmr_publish_arguments, ask_passphrase)},
	{'A', 1, offsetof(struct qmr_publish_arguments, add)},
	{'j', 1, offsetof(struct qmr_publish_arguments, json)},
};

/* -1: it is none of them, or its argument is empty, which has been said. */
static int place_option(int c, struct qmr_publish_arguments *arguments)
{
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		char *place = (char *)arguments + places[i].offset;

		if (places[i].letter != c)
			continue;
		if (places[i].is_flag) {
			*(int *)place = 1;
		} else if (*optarg) {
			*(const char **)place = optarg;
		} else {
			qmr_error_log("an option has an empty argument");
			return -1;
		}
		return 0;
	}
	return -1; /* getopt has said why */
}

static int parse_option(int c, struct qmr_publish_arguments *arguments)
{
	int role;

	switch (c) {
	case 'e':
		return parse_expires(optarg, arguments);
	case OPT_ROOT_KEYS:
	case OPT_TARGETS_KEYS:
		role = c == OPT_ROOT_KEYS ? QMR_ROLE_ROOT : QMR_ROLE_TARGETS;
		return parse_number(optarg, 1, QMR_METADATA_KEYS_MAX, &arguments->n_keys[role]);
	case OPT_ROOT_THRESHOLD:
	case OPT_TARGETS_THRESHOLD:
		role = c == OPT_ROOT_THRESHOLD ? QMR_ROLE_ROOT : QMR_ROLE_TARGETS;
		return parse_number(optarg, 1, QMR_METADATA_KEYS_MAX, &arguments->threshold[role]);
	case 'T':
		return parse_number(optarg, 1, QMR_METADATA_KEYS_MAX, &arguments->new_threshold);
	case 'w':
		return parse_number(optarg, 0, 36500, &arguments->warn_days);
	case 'r':
		role = parse_role(optarg);
		arguments->roles |= role < 0 ? 0 : 1u << role;
		return role < 0 ? -1 : 0;
	default:
		return place_option(c, arguments);
	}
}

static const char *option_name(char letter)
{
	for (size_t i = 0; options[i].name; i++)
		if (options[i].val == letter)
			return options[i].name;
	return "another option";
}

static int check_options(const struct command *command, const char *given,
			 const struct qmr_publish_arguments *arguments)
{
	for (const char *c = given; *c; c++)
		if (!strchr("dc", *c) && !strchr(command->needs, *c) &&
		    !strchr(command->takes, *c)) {
			qmr_error_log("an option was given that %s does not take; see --help",
				      command->name);
			return -1;
		}
	for (const char *c = command->needs; *c; c++)
		if (!strchr(given, *c) && !(*c == 'k' && arguments->to)) { /* what is signed elsewhere needs no keys here */
			qmr_error_log("%s needs --%s; see --help", command->name, option_name(*c));
			return -1;
		}
	if (command->has_repository != (arguments->repository != NULL)) {
		qmr_error_log(command->has_repository ? "--repository is needed" : "%s takes no --repository", command->name);
		return -1;
	}
	if (arguments->n_names < command->n_min || arguments->n_names > command->n_max) {
		qmr_error_log("%s takes %zu to %zu operands, %zu were given; see --help",
			      command->name, command->n_min, command->n_max, arguments->n_names);
		return -1;
	}
	for (int role = 0; role < QMR_ROLE_COUNT; role++)
		if (arguments->threshold[role] > arguments->n_keys[role]) {
			qmr_error_log("a threshold of %d for %s cannot be reached with %d keys",
				      arguments->threshold[role], qmr_role_name(role),
				      arguments->n_keys[role]);
			return -1;
		}
	return 0;
}

static const struct command *parse(int argc, char **argv, struct qmr_publish_arguments *arguments)
{
	const struct command *command = NULL;
	char given[64] = "";
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		char letter = (char)(c >= 256 ? 'n' : c);

		if (parse_option(c, arguments) < 0)
			return NULL;
		if (!strchr(given, letter))
			given[strlen(given)] = letter; /* each letter once: it cannot run full */
	}
	for (size_t i = 0; optind < argc && i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[optind], commands[i].name))
			command = &commands[i];
	if (!command) {
		qmr_error_log("a command is needed; see --help");
		return NULL;
	}
	arguments->names = argv + optind + 1;
	arguments->n_names = (size_t)(argc - optind - 1);
	return check_options(command, given, arguments) < 0 ? NULL : command;
}

int main(int argc, char **argv)
{
	struct qmr_publish_arguments arguments = {
		.warn_days = -1,
		/*
		 * Two root keys, either of which will do: a lost one is replaced with the other
		 * instead of on every machine.
		 */
		.n_keys = {2, 1, 1, 1},
		.threshold = {1, 1, 1, 1},
	};
	const struct command *command;

	qmr_log_open("qmr-publish", 0);
	umask(022);
	(void)prctl(PR_SET_DUMPABLE,
		    0); /* private keys do not go into a core file; works without as well */
	memcpy(arguments.days, qmr_publish_days, sizeof(arguments.days));
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help"))
			return fputs(usage, stdout) < 0 ? QMR_EXIT_FAILURE : QMR_EXIT_OK;
		if (!strcmp(argv[i], "--version"))
			return puts("qmr-publish " QMR_VERSION) < 0 ? QMR_EXIT_FAILURE
								    : QMR_EXIT_OK;
	}
	command = parse(argc, argv, &arguments);
	return command ? command->run(&arguments) : QMR_EXIT_USAGE;
}
