/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "guard.h"
#include "log.h"

#define CHILD_MS 5000

static const char usage[] =
	"Usage: boot-guard [OPTION...] start|healthy|clean-shutdown\n"
	"Counts boot attempts and starts recovery after repeated failure.\n"
	"\n"
	"  --config FILE   configuration (default " QMR_CONFIG_PATH ")\n"
	"  --wait          healthy: first let the stability window pass\n"
	"  --dry-run       start: print the decision, write nothing\n"
	"  --help          this text\n"
	"  --version       the version\n"
	"\n"
	"start always exits 0: whatever goes wrong, the machine boots. See boot-guard(8).\n";

/* A firmware call that hangs makes its caller unkillable: a child makes them, and the boot goes on without it. */
static int start_bounded(const struct qmr_config *config, int dry_run)
{
	cleanup_close int pidfd = -1;
	struct qmr_error err = {0};
	struct pollfd fd;
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		if (qmr_guard_start(config, dry_run, &err) < 0)
			qmr_error_log("%s; the boot goes on", err.text);
		(void)fflush(stdout); /* --dry-run's answer; _exit() does not */
		_exit(0);
	}
	if (pid < 0) {
		qmr_error_log("starting a child failed; the boot goes on, uncounted");
		return QMR_EXIT_OK;
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	fd = (struct pollfd){.fd = pidfd, .events = POLLIN};
	if (pidfd >= 0 && poll(&fd, 1, CHILD_MS) == 0) {
		/* When the firmware does answer, the child must not go on and reset a system that is running by then. */
		(void)kill(pid, SIGKILL);
		qmr_error_log("the firmware did not answer within %d s; the boot goes on, uncounted", CHILD_MS / 1000);
	}
	else if (waitpid(pid, &status, pidfd >= 0 ? 0 : WNOHANG) == pid && WIFSIGNALED(status))
		qmr_error_log("the counting child died of signal %d; the boot goes on, uncounted", WTERMSIG(status));
	return QMR_EXIT_OK;
}

static int run(const char *command, const struct qmr_config *config, int dry_run)
{
	struct qmr_error err = {0};
	int r;

	if (!strcmp(command, "start"))
		return start_bounded(config, dry_run);
	if (!strcmp(command, "healthy"))
		r = qmr_guard_healthy(config, &err);
	else if (!strcmp(command, "clean-shutdown"))
		r = qmr_guard_clean_shutdown(&err);
	else {
		fprintf(stderr, "boot-guard: unknown command '%s'\n%s", command, usage);
		return QMR_EXIT_USAGE;
	}
	if (r < 0)
		qmr_error_log("%s; this boot stays as it was recorded", err.text);
	return r < 0 ? QMR_EXIT_FAILURE : QMR_EXIT_OK;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
						{"dry-run", no_argument, NULL, 'n'},
						{"wait", no_argument, NULL, 'w'},
						{"help", no_argument, NULL, 'h'},
						{"version", no_argument, NULL, 'V'},
						{0}};
	const char *path = QMR_CONFIG_PATH;
	struct qmr_error err = {0};
	struct qmr_config config;
	int option, dry_run = 0, wait_first = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'c':
			path = optarg;
			break;
		case 'n':
			dry_run = 1;
			break;
		case 'w':
			wait_first = 1;
			break;
		case 'h':
			fputs(usage, stdout);
			return QMR_EXIT_OK;
		case 'V':
			puts("boot-guard " QMR_VERSION);
			return QMR_EXIT_OK;
		default:
			fputs(usage, stderr);
			return QMR_EXIT_USAGE;
		}
	if (optind + 1 != argc) {
		fputs(usage, stderr);
		return QMR_EXIT_USAGE;
	}
	qmr_log_open("boot-guard", !strcmp(argv[optind], "start") && !dry_run);
	if (qmr_guard_cmdline_has("qmr=off"))
		return QMR_EXIT_OK;
	if (qmr_config_load(path, &config, &err) < 0)
		qmr_warning("%s; going on with safe defaults (mode observe)", err.text);
	if (config.mode == QMR_MODE_OFF) {
		if (!strcmp(argv[optind], "healthy"))
			qmr_guard_archive(); /* systemd-pstore is told not to, and firmware memory must not fill up */
		return QMR_EXIT_OK;
	}
	/* A shutdown within the window ends this process, and the boot is not recorded as healthy. */
	if (wait_first)
		(void)sleep((unsigned int)config.stability_s);
	return run(argv[optind], &config, dry_run);
}
