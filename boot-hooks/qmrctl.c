/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmrctl.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "child.h"
#include "cleanup.h"
#include "file.h"
#include "guard.h"
#include "log.h"

#define COMPARE_BYTES_MAX (512U << 20)
#define OUTPUT_BYTES_MAX 4096

static const char usage[] =
	"Usage: qmrctl [OPTION...] COMMAND\n"
	"Sets up, asks and steers quick machine recovery.\n"
	"\n"
	"  install       prepare this machine\n"
	"  register      create or repair the boot entries alone\n"
	"  uninstall     take away what install made\n"
	"  recover       start recovery\n"
	"  cancel        take back a switch to recovery that has not begun\n"
	"  defer MINUTES put a restart off that the owner asked for\n"
	"  healthy       this boot is healthy, whatever the checks say\n"
	"  status        what is going on\n"
	"  history       boot attempts, newest first\n"
	"  remediations  what was changed on this system, newest first\n"
	"  undo ID       take one of them back\n"
	"  mode MODE     off, observe, collect, ask or automatic\n"
	"  check         would recovery work? everything as install left it, and what it needs\n"
	"\n"
	"  --config FILE         configuration (default " QMR_CONFIG_PATH ")\n"
	"  --no-variables        for a system that is being built: touch no EFI variable\n"
	"  --esp-path DIR        where the EFI system partition is mounted\n"
	"  --root-uuid UUID      of the root file system\n"
	"  --root-fstype TYPE    its type\n"
	"  --esp-uuid UUID       of the EFI system partition\n"
	"  --force               install, register, check: go on where it would be refused\n"
	"  --purge               uninstall: delete " QMRCTL_STATE_FOLDER " too\n"
	"  --reason TEXT         recover: a line for the record\n"
	"  --collect-only        recover: collect and send, change nothing, whatever the mode\n"
	"  --test                recover: only see whether the recovery image works\n"
	"  --slot N              recover --test: which image, 1 (default) or 2\n"
	"  --now                 recover: reboot at once (default)\n"
	"  --next                recover: wait for the next reboot\n"
	"  --json                status, history, remediations, check: as JSON\n"
	"  --help                this text\n"
	"  --version             the version\n"
	"\n"
	"See qmrctl(8).\n";

static const struct command {
	const char *name;
	int (*run)(struct qmrctl *ctl, struct qmr_error *err);
	int changes;      /* one at a time */
	int needs_config; /* a malformed one is refused; the others go on with what they need of it */
	int arguments;
	int may_find_nothing; /* -ENODATA is an exit code of its own */
} commands[] = {
	{"install", qmrctl_install, 1, 1, 0, 0},	{"register", qmrctl_register, 1, 0, 0, 0},
	{"uninstall", qmrctl_uninstall, 1, 0, 0, 0},	{"recover", qmrctl_recover, 1, 1, 0, 0},
	{"cancel", qmrctl_cancel, 1, 0, 0, 1},		{"defer", qmrctl_defer, 0, 0, 1, 1},
	{"healthy", qmrctl_healthy, 1, 0, 0, 0},	{"status", qmrctl_status, 0, 0, 0, 0},
	{"history", qmrctl_history, 0, 0, 0, 0},	{"mode", qmrctl_mode, 1, 1, 1, 0},
	{"remediations", qmrctl_remediations, 0, 0, 0, 0}, {"undo", qmrctl_undo, 1, 0, 1, 1},
	{"check", qmrctl_check, 1, 0, 0, 0},
};

void qmrctl_say(struct qmrctl *ctl, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(ctl->said, sizeof(ctl->said), format, ap); /* cut at the end if it does not fit */
	va_end(ap);
}

int qmrctl_run_steps(struct qmrctl *ctl, const char *what, const struct qmrctl_step *steps, size_t n_steps,
		     struct qmr_error *err)
{
	for (size_t i = 0; i < n_steps; i++) {
		struct qmr_error why = {0};
		char done[256] = "";
		size_t used = 0;
		int r;

		ctl->said[0] = '\0';
		r = steps[i].run(ctl, &why);
		if (r == 0) {
			printf("%s: %s\n", steps[i].name, ctl->said);
			(void)fflush(stdout); /* a step may take minutes: the line before it must be seen */
			continue;
		}
		for (size_t k = 0; k < i && used < sizeof(done) - 32; k++)
			used += (size_t)snprintf(done + used, sizeof(done) - used, "%s%s", k ? ", " : "", steps[k].name);
		return qmr_error_set(err, r, "%s, step '%s': %s; done before it: %s; not begun: the %zu after it", what,
				     steps[i].name, why.text, used ? done : "nothing", n_steps - i - 1);
	}
	return 0;
}

int qmrctl_run_program(char *const argv[], int deadline_s, struct qmr_error *err)
{
	cleanup_free char *output = NULL;
	int r = qmr_child_run(argv, deadline_s * 1000, &output, OUTPUT_BYTES_MAX, err);

	if (r > 0)
		return qmr_error_set(err, -EIO, "'%s' ended with exit code %d", argv[0], r);
	return r;
}

int qmrctl_same_file(const char *a, const char *b)
{
	cleanup_free char *a_data = NULL, *b_data = NULL;
	size_t a_size, b_size;

	return qmr_file_read(AT_FDCWD, a, COMPARE_BYTES_MAX, &a_data, &a_size, NULL) == 0 &&
	       qmr_file_read(AT_FDCWD, b, COMPARE_BYTES_MAX, &b_data, &b_size, NULL) == 0 && a_size == b_size &&
	       !memcmp(a_data, b_data, a_size);
}

uint64_t qmrctl_file_bytes(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

/* Held until this process ends. */
static int lock(struct qmr_error *err)
{
	int fd = open(QMR_CTL_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", QMR_CTL_LOCK);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		return qmr_error_set(err, -EBUSY, "another qmrctl is at work ('%s')", QMR_CTL_LOCK);
	}
	return 0;
}

static int exit_code(const struct command *command, int r, const struct qmr_error *err)
{
	if (r >= 0)
		return QMR_EXIT_OK;
	if (r == -EBADMSG && command->run == qmrctl_check)
		return QMR_EXIT_FAILURE; /* the findings are printed */
	qmr_error_log("%s", err->text);
	if (r == -ENODATA && command->may_find_nothing)
		return QMR_EXIT_NOTHING;
	return r == -EINVAL ? QMR_EXIT_USAGE : QMR_EXIT_FAILURE;
}

static int run(const struct command *command, struct qmrctl *ctl)
{
	struct qmr_error err = {0}, why = {0};
	int r = qmr_config_load(ctl->config_path, &ctl->config, &why);

	if (r < 0 && command->needs_config)
		r = qmr_error_set(&err, -EINVAL, "%s; nothing was changed", why.text);
	else
		r = 0;
	qmr_state_set_place_uuid(ctl->no_variables ? "" : ctl->config.esp_uuid, access(QMR_GUARD_RUN "/" QMR_MARK_IN_FILE, F_OK) == 0);
	if (r == 0 && command->changes)
		r = lock(&err);
	if (r == 0)
		r = command->run(ctl, &err);
	return exit_code(command, r, &err);
}

static const struct command *find_command(int argc, char **argv, struct qmrctl *ctl)
{
	for (size_t i = 0; argc > 0 && i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(argv[0], commands[i].name) || argc != 1 + commands[i].arguments)
			continue;
		ctl->argument = argc > 1 ? argv[1] : NULL;
		return &commands[i];
	}
	return NULL;
}

/* Returns an exit code, or -1 to go on. */
static int parse(int argc, char **argv, struct qmrctl *ctl)
{
	const struct {
		const char *name;
		const char **text;
		int *flag;
	} all[] = {
		{"config", &ctl->config_path, NULL},
		{"esp-path", &ctl->known.esp_path, NULL},
		{"root-uuid", &ctl->known.root_uuid, NULL},
		{"root-fstype", &ctl->known.root_fstype, NULL},
		{"esp-uuid", &ctl->known.esp_uuid, NULL},
		{"reason", &ctl->reason, NULL},
		{"slot", &ctl->slot, NULL},
		{"no-variables", NULL, &ctl->no_variables},
		{"force", NULL, &ctl->force},
		{"purge", NULL, &ctl->purge},
		{"now", NULL, &ctl->now},
		{"next", NULL, &ctl->next},
		{"collect-only", NULL, &ctl->collect_only},
		{"test", NULL, &ctl->test},
		{"json", NULL, &ctl->json},
	};
	enum { N = sizeof(all) / sizeof(*all) };
	struct option options[N + 3] = {[N] = {"help", no_argument, NULL, 'h'}, [N + 1] = {"version", no_argument, NULL, 'V'}};
	int option, index;

	for (int i = 0; i < N; i++)
		options[i] = (struct option){all[i].name, all[i].text ? required_argument : no_argument, NULL, 'o'};
	while ((option = getopt_long(argc, argv, "", options, &index)) != -1)
		switch (option) {
		case 'o':
			if (all[index].text)
				*all[index].text = optarg;
			else
				*all[index].flag = 1;
			break;
		case 'h':
			fputs(usage, stdout);
			return QMR_EXIT_OK;
		case 'V':
			puts("qmrctl " QMR_VERSION);
			return QMR_EXIT_OK;
		default:
			fputs(usage, stderr);
			return QMR_EXIT_USAGE;
		}
	return -1;
}

int main(int argc, char **argv)
{
	struct qmrctl ctl = {.config_path = QMR_CONFIG_PATH};
	const struct command *command;
	int code = parse(argc, argv, &ctl);

	if (code >= 0)
		return code;
	ctl.config_given = strcmp(ctl.config_path, QMR_CONFIG_PATH) != 0;
	qmr_log_open("qmrctl", 0);
	command = find_command(argc - optind, argv + optind, &ctl);
	if (!command) {
		fputs(usage, stderr);
		return QMR_EXIT_USAGE;
	}
	return run(command, &ctl);
}
