/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "boot-state.h"
#include "cleanup.h"
#include "engine.h"
#include "file.h"
#include "json.h"
#include "log.h"
#include "plan-match.h"
#include "protect.h"
#include "transaction.h"

#define INCIDENT_BYTES_MAX (16u << 20)

struct arguments {
	const char *root, *plan, *incident, *id, *esp, *config;
	const struct qmr_config *policy; /* of a command that asks for it */
};

struct command {
	const char *name;
	const char *needs; /* letters of the options it needs besides --root */
	const char *takes; /* and may take */
	int needs_policy;
	int (*run)(int root_fd, const struct arguments *arguments, struct qmr_error *err);
};

static const char usage[] =
	"Usage: remediation-apply apply --root DIR --plan FILE [--incident FILE]\n"
	"       remediation-apply revert --root DIR --incident FILE\n"
	"       remediation-apply resume --root DIR\n"
	"       remediation-apply undo --root DIR --id ID\n"
	"Changes the system below DIR, as a transaction that a power cut cannot tear.\n\n"
	"  --root DIR       root of the system to change\n"
	"  --plan FILE      the plan to apply\n"
	"  --incident FILE  incident.json: the plan must match it; what revert reverts\n"
	"  --id ID          number of the transaction to undo\n"
	"  --esp PATH       EFI system partition, device or folder: the boot state may be in the file\n"
	"                   there\n"
	"  --config FILE    labels, minimum age and what is protected (default\n"
	"                   " QMR_CONFIG_PATH "); of apply and revert\n"
	"  --help           print this\n"
	"  --version        print the version\n\n"
	"Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 nothing to do, 4 refused.\n";

static int load_incident(const char *path, json_t **ret_incident, struct qmr_error *err)
{
	int r = qmr_json_load(AT_FDCWD, path, INCIDENT_BYTES_MAX, ret_incident, err);
	const json_t *schema;

	if (r < 0)
		return r;
	schema = json_object_get(*ret_incident, "schema");
	if (json_integer_value(schema) == 1)
		return 0;
	json_decref(*ret_incident);
	*ret_incident = NULL;
	return qmr_error_set(err, -EBADMSG, "'%s': schema: not 1", path);
}

/* then: what follows, NULL where it is the usual. */
static int print_result(const struct qmr_journal *journal, const char *then, struct qmr_error *err)
{
	cleanup_json json_t *line = NULL;
	cleanup_free char *text = NULL;
	json_t *changed = json_array();

	for (size_t i = 0; changed && i < journal->n_files; i++)
		if (json_array_append_new(changed, json_string(journal->files[i].path)) < 0)
			break;
	line = json_pack("{s:I, s:s, s:o, s:s*}", "transaction", (json_int_t)journal->id, "plan",
			 journal->plan, "changed", changed, "then", then);
	text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	if (!text || puts(text) < 0 || fflush(stdout) < 0)
		return qmr_error_set(
			err, -EIO, "transaction %llu is done, but its result could not be printed",
			(unsigned long long)journal->id);
	return 0;
}

/* Opens the folder and clears up what a cut left, so that a new transaction starts from a known
 * state. */
static int open_clean(int root_fd, struct qmr_transactions *ret_transactions, struct qmr_error *err)
{
	unsigned int completed, undone;
	int r = qmr_transactions_open(root_fd, 1, ret_transactions, err);

	if (r < 0)
		return r;
	r = qmr_transactions_resume(ret_transactions, &completed, &undone, err);
	if (r < 0)
		qmr_transactions_close(ret_transactions);
	return r < 0 ? -EIO : 0;
}

/* 0 with the result printed if the plan was applied in this incident already, -ENOENT if not. */
static int print_repeated(const struct qmr_transactions *transactions, const char *plan, const char *incident,
			  const char *then, struct qmr_error *err)
{
	struct qmr_journal journal = {0};
	int r = incident ? qmr_transaction_find(transactions, plan, incident, &journal, err) : -ENOENT;

	if (r < 0)
		return r;
	qmr_notice("'%s' was applied in this incident before, by transaction %llu; nothing is left to do", plan,
		   (unsigned long long)journal.id);
	r = print_result(&journal, then, err);
	qmr_journal_done(&journal);
	return r;
}

static int run_and_print(const struct qmr_transactions *transactions,
			 const struct qmr_changes *changes, const char *plan, const char *incident,
			 const json_t *plan_json, const char *then, struct qmr_error *err)
{
	struct qmr_journal journal = {0};
	int r = qmr_transaction_run(transactions, changes, plan, incident, plan_json, &journal,
				    err);

	if (r == 0)
		r = print_result(&journal, then, err);
	qmr_journal_done(&journal);
	return r;
}

static int load_plan(const char *path, struct qmr_plan *ret_plan, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	size_t size;
	int r = qmr_file_read(AT_FDCWD, path, QMR_PLAN_BYTES_MAX, &data, &size, err);

	if (r == -EFBIG)
		return -EBADMSG;
	if (r == 0)
		r = qmr_plan_parse(path, data, size, ret_plan, err);
	return r == -EINVAL ? -EBADMSG : r;
}

/* Plans that must have been applied here before, in whichever incident, and not undone. */
static int check_required(const struct qmr_transactions *transactions, const struct qmr_plan *plan, struct qmr_error *err)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (plan->requires, i, entry) {
		struct qmr_journal journal = {0};
		int r = qmr_transaction_find(transactions, json_string_value(entry), NULL, &journal, err);

		qmr_journal_done(&journal);
		if (r == -ENOENT)
			return qmr_error_set(err, -ENOENT, "plan '%s' requires '%s', which is not applied", plan->id,
					     json_string_value(entry));
		if (r < 0)
			return r;
	}
	return 0;
}

static int apply_plan(int root_fd, const struct arguments *arguments, const struct qmr_plan *plan, const json_t *incident,
		      struct qmr_error *err)
{
	const char *then = plan->then == QMR_THEN_REBOOT ? NULL : qmr_then_name(plan->then);
	struct qmr_engine_context context = {root_fd, plan->id};
	struct qmr_transactions transactions;
	struct qmr_changes changes = {0};
	int r = open_clean(root_fd, &transactions, err);

	if (r < 0)
		return r;
	r = print_repeated(&transactions, plan->id, qmr_json_string(incident, "id"), then, err);
	if (r == -ENOENT) {
		r = check_required(&transactions, plan, err);
		if (r == 0)
			r = qmr_engines_plan(&context, plan, &changes, err);
		if (r == 0)
			r = qmr_protect_check(root_fd, arguments->policy, plan, &changes, err);
		if (r == 0)
			r = run_and_print(&transactions, &changes, plan->id,
					  qmr_json_string(incident, "id"), plan->json, then, err);
	}
	qmr_changes_done(&changes);
	qmr_transactions_close(&transactions);
	return r;
}

/* -ENOENT: it is not for this machine now. Nothing is looked at that the plan does not ask for. */
static int check_applicable(int root_fd, const struct arguments *arguments, const struct qmr_plan *plan,
			    const json_t *incident, struct qmr_error *err)
{
	const struct qmr_match_subject subject = {incident, arguments->policy, root_fd};
	enum qmr_match match;

	if (plan->is_hold)
		return qmr_error_set(err, -ENOENT, "plan '%s' is a hold, which does nothing", plan->id);
	if (plan->is_withdrawn)
		return qmr_error_set(err, -ENOENT, "plan '%s' was withdrawn", plan->id);
	if (!qmr_plan_is_old_enough(plan, arguments->policy, time(NULL)))
		return qmr_error_set(err, -ENOENT, "plan '%s' was not published so long ago as [fleet] minimum_age asks for",
				     plan->id);
	if (!incident)
		return 0;
	match = qmr_plan_match(plan, &subject);
	if (match == QMR_MATCH_UNKNOWN)
		return qmr_error_set(err, -ENOENT, "plan '%s': what its selectors ask for cannot be determined", plan->id);
	return match == QMR_MATCH_YES ? 0 : qmr_error_set(err, -ENOENT, "plan '%s' does not match the incident", plan->id);
}

static int run_apply(int root_fd, const struct arguments *arguments, struct qmr_error *err)
{
	cleanup_json json_t *incident = NULL;
	struct qmr_plan plan = {0};
	int r = load_plan(arguments->plan, &plan, err);

	if (r == 0 && arguments->incident)
		r = load_incident(arguments->incident, &incident, err);
	if (r == -ENOENT)
		r = -EIO; /* a missing input is a failure, not "nothing to do" */
	if (r == 0)
		r = check_applicable(root_fd, arguments, &plan, incident, err);
	if (r == 0)
		r = apply_plan(root_fd, arguments, &plan, incident, err);
	qmr_plan_done(&plan);
	return r;
}

static int run_revert(int root_fd, const struct arguments *arguments, struct qmr_error *err)
{
	cleanup_json json_t *incident = NULL;
	cleanup_json json_t *record = NULL;
	struct qmr_transactions transactions;
	struct qmr_changes changes = {0};
	int r = load_incident(arguments->incident, &incident, err);

	if (r == -ENOENT)
		r = -EIO;
	if (r < 0)
		return r;
	record = json_pack("{s:i, s:s, s:O?, s:O?}", "schema", 1, "id", "local-revert", "incident",
			   json_object_get(incident, "id"), "changes",
			   json_object_get(incident, "changes"));
	if (!record)
		return qmr_error_set(err, -ENOMEM, "out of memory");
	r = open_clean(root_fd, &transactions, err);
	if (r < 0)
		return r;
	r = print_repeated(&transactions, "local-revert", qmr_json_string(incident, "id"), NULL, err);
	if (r == -ENOENT) {
		r = qmr_revert_plan(root_fd, incident, &changes, err);
		if (r == 0)
			r = qmr_protect_check(root_fd, arguments->policy, NULL, &changes, err);
		if (r == 0)
			r = run_and_print(&transactions, &changes, "local-revert",
					  qmr_json_string(incident, "id"), record, NULL, err);
	}
	qmr_changes_done(&changes);
	qmr_transactions_close(&transactions);
	return r;
}

static int run_resume(int root_fd, const struct arguments *arguments, struct qmr_error *err)
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

static int run_undo(int root_fd, const struct arguments *arguments, struct qmr_error *err)
{
	cleanup_json json_t *record = NULL;
	struct qmr_transactions transactions;
	struct qmr_changes changes = {0};
	char incident[64] = "", plan[64];
	char *end;
	uint64_t id = strtoull(arguments->id, &end, 10);
	int r;

	if (!id || *end || strspn(arguments->id, "0123456789") != strlen(arguments->id) ||
	    id > INT64_MAX)
		return qmr_error_set(err, -EINVAL, "'%s' is not the number of a transaction",
				     arguments->id);
	snprintf(plan, sizeof(plan), "undo-%llu", (unsigned long long)id);
	record = json_pack("{s:i, s:s, s:I}", "schema", 1, "id", plan, "undo", (json_int_t)id);
	if (!record)
		return qmr_error_set(err, -ENOMEM, "out of memory");
	r = open_clean(root_fd, &transactions, err);
	if (r < 0)
		return r;
	r = qmr_transaction_inverse(&transactions, id, &changes, incident, err);
	if (r == 0)
		r = run_and_print(&transactions, &changes, plan, incident, record, NULL, err);
	qmr_changes_done(&changes);
	qmr_transactions_close(&transactions);
	return r;
}

static const struct command commands[] = {
	{"apply", "p", "i", 1, run_apply},
	{"revert", "i", "", 1, run_revert},
	{"resume", "", "", 0, run_resume},
	{"undo", "d", "", 0, run_undo},
};

static int check_option(const struct command *command, char letter, const char *value,
			const char *name)
{
	if (!value && strchr(command->needs, letter))
		qmr_error_log("%s needs %s", command->name, name);
	else if (value && !strchr(command->needs, letter) && !strchr(command->takes, letter))
		qmr_error_log("%s does not take %s", command->name, name);
	else
		return 0;
	return -EINVAL;
}

static const struct command *parse(int argc, char **argv, struct arguments *arguments)
{
	static const struct option options[] = {
		{"root", required_argument, NULL, 'r'},     {"plan", required_argument, NULL, 'p'},
		{"incident", required_argument, NULL, 'i'}, {"id", required_argument, NULL, 'd'},
		{"config", required_argument, NULL, 'c'},   {"esp", required_argument, NULL, 'e'},
		{NULL, 0, NULL, 0},
	};
	const struct command *command = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?')
			return NULL; /* getopt has said why */
		*(c == 'r'   ? &arguments->root
		  : c == 'p' ? &arguments->plan
		  : c == 'i' ? &arguments->incident
		  : c == 'e' ? &arguments->esp
		  : c == 'c' ? &arguments->config
			     : &arguments->id) = optarg;
	}
	for (size_t i = 0; optind + 1 == argc && i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[optind], commands[i].name))
			command = &commands[i];
	if (!command) {
		qmr_error_log("one of apply, revert, resume and undo is needed; see --help");
		return NULL;
	}
	if (!arguments->root) {
		qmr_error_log("%s needs --root", command->name);
		return NULL;
	}
	if (check_option(command, 'p', arguments->plan, "--plan") < 0 ||
	    check_option(command, 'i', arguments->incident, "--incident") < 0 ||
	    check_option(command, 'd', arguments->id, "--id") < 0)
		return NULL;
	return command;
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
	struct arguments arguments = {.config = QMR_CONFIG_PATH};
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
