/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "apply.h"
#include "boot-state.h"
#include "cleanup.h"
#include "log.h"

struct command {
	const char *name;
	const char *needs; /* letters of the options it needs besides --root */
	const char *takes; /* and may take */
	int needs_policy;
	qmr_apply_command *run;
};

static const char usage[] =
	"Usage: remediation-apply apply --root DIR --plan FILE [--incident FILE]\n"
	"       remediation-apply revert --root DIR --incident FILE\n"
	"       remediation-apply resume --root DIR\n"
	"       remediation-apply undo --root DIR --id ID\n"
	"       remediation-apply list --root DIR\n"
	"       remediation-apply vaccinate --root DIR --plans DIR --incident FILE --boot N\n"
	"       remediation-apply unvaccinate --root DIR --incident FILE --boot N\n"
	"Changes the system below DIR, as a transaction that a power cut cannot tear.\n\n"
	"  --root DIR       root of the system to change\n"
	"  --plan FILE      the plan to apply\n"
	"  --plans DIR      folder of plans to apply to a healthy machine, in order of name\n"
	"  --incident FILE  incident.json: the plan must match it; what revert reverts; of vaccinate,\n"
	"                   what crash-collect machine wrote\n"
	"  --report FILE    fetch.json: plans are judged by its time, and what was withdrawn is undone by\n"
	"                   vaccinate\n"
	"  --id ID          number of the transaction to undo\n"
	"  --boot N         of vaccinate, the number of this boot; of unvaccinate, the first boot\n"
	"                   whose vaccinations are undone\n"
	"  --esp PATH       EFI system partition, device or folder: the boot state may be in the file\n"
	"                   there\n"
	"  --config FILE    labels, minimum age and what is protected (default\n"
	"                   " QMR_CONFIG_PATH "); of apply, revert and vaccinate\n"
	"  --help           print this\n"
	"  --version        print the version\n\n"
	"Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 nothing to do, 4 refused.\n";

static int run_resume(int root_fd, const struct qmr_apply_arguments *arguments, struct qmr_error *err)
{
	struct qmr_transactions transactions;
	unsigned int completed, undone;
	int r = qmr_transactions_open(root_fd, 0, &transactions, err);

	if (r == -ENOENT)
		return 0; /* nothing was ever applied */
	if (r < 0)
		return r;
	r = qmr_transactions_resume(&transactions, &completed, &undone, err);
	qmr_transactions_close(&transactions);
	return r < 0 ? -EIO : 0;
}

static const struct command commands[] = {
	{"apply", "p", "it", 1, qmr_apply_plan},
	{"revert", "i", "", 1, qmr_apply_revert},
	{"resume", "", "", 0, run_resume},
	{"undo", "d", "", 0, qmr_apply_undo},
	{"list", "", "", 0, qmr_apply_list},
	{"vaccinate", "Pib", "t", 1, qmr_apply_vaccinate},
	{"unvaccinate", "ib", "", 0, qmr_apply_unvaccinate},
};

/* By letter; config and esp are taken by every command, and root is needed by it. */
static const char **option_value(struct qmr_apply_arguments *arguments, int letter)
{
	return letter == 'r'   ? &arguments->root
	       : letter == 'p' ? &arguments->plan
	       : letter == 'P' ? &arguments->plans
	       : letter == 'i' ? &arguments->incident
	       : letter == 'e' ? &arguments->esp
	       : letter == 'c' ? &arguments->config
	       : letter == 'b' ? &arguments->boot
	       : letter == 't' ? &arguments->report
			       : &arguments->id;
}

static const struct option options[] = {
	{"root", required_argument, NULL, 'r'},     {"plan", required_argument, NULL, 'p'},   {"plans", required_argument, NULL, 'P'},
	{"incident", required_argument, NULL, 'i'}, {"id", required_argument, NULL, 'd'},     {"boot", required_argument, NULL, 'b'},
	{"report", required_argument, NULL, 't'},   {"config", required_argument, NULL, 'c'},   {"esp", required_argument, NULL, 'e'},    {NULL, 0, NULL, 0},
};

static int check_options(const struct command *command, struct qmr_apply_arguments *arguments)
{
	for (const struct option *o = options; o->name; o++) {
		const char *value = *option_value(arguments, o->val);

		if (strchr("rce", o->val))
			continue;
		if (!value && strchr(command->needs, o->val)) {
			qmr_error_log("%s needs --%s", command->name, o->name);
			return -EINVAL;
		}
		if (value && !strchr(command->needs, o->val) && !strchr(command->takes, o->val)) {
			qmr_error_log("%s does not take --%s", command->name, o->name);
			return -EINVAL;
		}
	}
	return 0;
}

static const struct command *parse(int argc, char **argv, struct qmr_apply_arguments *arguments)
{
	const struct command *command = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?')
			return NULL; /* getopt has said why */
		*option_value(arguments, c) = optarg;
	}
	for (size_t i = 0; optind + 1 == argc && i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[optind], commands[i].name))
			command = &commands[i];
	if (!command) {
		qmr_error_log("one command is needed; see --help");
		return NULL;
	}
	if (!arguments->root) {
		qmr_error_log("%s needs --root", command->name);
		return NULL;
	}
	return check_options(command, arguments) < 0 ? NULL : command;
}

static int exit_code(int r)
{
	switch (r) {
	case 0:
		return QMR_EXIT_OK;
	case -ENOENT:
		return QMR_EXIT_NOTHING;
	case -EBADMSG:
		return QMR_EXIT_REFUSED;
	case -EINVAL:
		return QMR_EXIT_USAGE;
	default:
		return QMR_EXIT_FAILURE;
	}
}

int main(int argc, char **argv)
{
	struct qmr_apply_arguments arguments = {.config = QMR_CONFIG_PATH};
	static struct qmr_config policy;
	const struct command *command;
	cleanup_close int root_fd = -1;
	struct qmr_error err = {0};
	int code;

	qmr_log_open("remediation-apply", 0);
	umask(022);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help"))
			return fputs(usage, stdout) < 0 ? QMR_EXIT_FAILURE : QMR_EXIT_OK;
		if (!strcmp(argv[i], "--version"))
			return puts("remediation-apply " QMR_VERSION) < 0 ? QMR_EXIT_FAILURE
									  : QMR_EXIT_OK;
	}
	command = parse(argc, argv, &arguments);
	if (!command)
		return QMR_EXIT_USAGE;
	/* What the policy protects must be known before anything is touched. */
	if (command->needs_policy && qmr_config_load(arguments.config, &policy, &err) < 0) {
		qmr_error_log("%s; nothing was changed", err.text);
		return err.code == -EINVAL ? QMR_EXIT_USAGE : QMR_EXIT_FAILURE;
	}
	arguments.policy = &policy;
	qmr_state_set_place(arguments.esp, 1);
	root_fd = open(arguments.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0) {
		qmr_error_log("opening the root '%s': %s; nothing was changed", arguments.root,
			      strerror(errno));
		return QMR_EXIT_FAILURE;
	}
	code = exit_code(command->run(root_fd, &arguments, &err));
	if (code == QMR_EXIT_NOTHING)
		qmr_notice("%s: %s; nothing was changed", command->name, err.text);
	else if (code == QMR_EXIT_REFUSED)
		qmr_error_log("%s: refused: %s; nothing was changed", command->name, err.text);
	else if (code != QMR_EXIT_OK)
		qmr_error_log("%s: %s", command->name, err.text);
	return code;
}
