/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "guard.h"
#include "log.h"
#include "watchdog.h"

#define CHILD_MS 5000
#define TICK_US 10000

static const char usage[] =
	"Usage: boot-guard [OPTION...] COMMAND\n"
	"Counts boot attempts and starts recovery after repeated failure.\n"
	"\n"
	"  prepare           initramfs: drivers of EFI variables and crash records\n"
	"  start             initramfs: judge the last boot, begin a new attempt\n"
	"  feed              initramfs: arm a hardware watchdog and feed it until root\n"
	"  root              initramfs: the root file system is mounted\n"
	"  failed EVIDENCE   this boot failed: initramfs-shell, emergency-target, required-check\n"
	"                    or deadline; restarts unless somebody is there\n"
	"  deadline          wait for boot-complete.target; failed deadline, if it does not come\n"
	"  waiting           somebody is asked for a passphrase\n"
	"  healthy           this boot is healthy\n"
	"  clean-shutdown    it is left on purpose\n"
	"  hibernate, awake  the system goes to disk, or is back\n"
	"  tries             this boot's entry gets its tries back, others their counters\n"
	"  last-tries        initramfs: the same at once, where one or none is left\n"
	"  no-tries          our entries lose their counters, until tries\n"
	"  floor [FLOOR]     print, or remember, the highest versions of the owner's repository\n"
	"                    that were seen\n"
	"\n"
	"  --config FILE   configuration (default " QMR_CONFIG_PATH ")\n"
	"  --run DIR       where this boot's marks lie (default " QMR_GUARD_RUN ")\n"
	"  --esp PATH      EFI system partition, device or folder (default: by the UUID\n"
	"                  in machine.conf)\n"
	"  --device FILE   feed: the watchdog (default " QMR_WATCHDOG_DEVICE ")\n"
	"  --wait          healthy: first let the stability window pass\n"
	"  --dry-run       start: print the decision, write nothing\n"
	"  --help          this text\n"
	"  --version       the version\n"
	"\n"
	"prepare, start, feed, root and those about tries always exit 0: whatever goes wrong, the\n"
	"machine boots. See boot-guard(8).\n";

static const struct command {
	const char *name;
	qmr_guard_command *run;
	int is_bounded; /* in the way of a boot: in a child, with a deadline, and the exit code is 0 */
	int arguments;
	int is_early;   /* before there are disks */
	int is_always;  /* also where qmr is off: the loader goes on counting */
} commands[] = {
	{"tries", qmr_guard_tries, 1, 0, 0, 1},
	{"last-tries", qmr_guard_last_tries, 1, 0, 0, 1},
	{"no-tries", qmr_guard_no_tries, 1, 0, 0, 1},
	{"prepare", qmr_guard_prepare, 1, 0, 1, 0},
	{"start", qmr_guard_start, 1, 0, 1, 0},
	{"feed", qmr_guard_feed, 1, 0, 1, 0},
	{"root", qmr_guard_root, 1, 0, 0, 0},
	{"failed", qmr_guard_failed, 0, 1, 0, 0},
	{"deadline", qmr_guard_deadline, 0, 0, 0, 0},
	{"waiting", qmr_guard_waiting, 0, 0, 0, 0},
	{"healthy", qmr_guard_healthy, 0, 0, 0, 0},
	{"clean-shutdown", qmr_guard_clean_shutdown, 0, 0, 0, 0},
	{"hibernate", qmr_guard_hibernate, 1, 0, 0, 0},
	{"awake", qmr_guard_awake, 1, 0, 0, 0},
	{"floor", qmr_guard_floor, 0, 0, 0, 0},
	{"floor", qmr_guard_floor, 0, 1, 0, 0},
};

/* 0: its time is up. Without a pidfd, or where poll() fails, it looks again and again: whatever happens, the wait has an end. */
static int has_ended(pid_t pid, int *ret_status)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int64_t end = qmr_clock_ms() + CHILD_MS, left;
	pid_t r;

	while ((r = waitpid(pid, ret_status, WNOHANG)) == 0 || (r < 0 && errno == EINTR)) {
		struct pollfd fd = {.fd = pidfd, .events = POLLIN};

		left = end - qmr_clock_ms();
		if (left <= 0)
			return 0;
		if (pidfd < 0 || poll(&fd, 1, (int)left) < 0)
			(void)usleep(TICK_US);
	}
	return 1;
}

/* An ordinary boot has its state in the variable and does not come near the EFI system partition. */
static void set_place(const struct command *command, const struct qmr_guard *guard, const char *esp)
{
	int in_doubt = qmr_guard_is_marked(guard, QMR_MARK_IN_FILE) ||
		       (command->run == qmr_guard_root && qmr_guard_is_marked(guard, QMR_MARK_DEFERRED));

	if (command->is_early && !guard->dry_run)
		return;
	if (esp)
		qmr_state_set_place(esp, in_doubt);
	else
		qmr_state_set_place_uuid(guard->config->esp_uuid, in_doubt);
}

/* Tells the commands that follow in this boot where the state is. */
static int call(const struct command *command, const struct qmr_guard *guard, struct qmr_error *err)
{
	struct qmr_error why = {0};
	int r = command->run(guard, err);
	int is_in_file = qmr_state_is_in_file();

	if (is_in_file == 0)
		qmr_guard_unmark(guard, QMR_MARK_IN_FILE);
	else if (is_in_file == 1 && !guard->dry_run && qmr_guard_mark(guard, QMR_MARK_IN_FILE, "", &why) < 0)
		qmr_warning("%s; how this boot ends may not be recorded", why.text);
	return r;
}

/* A firmware call that hangs makes its caller unkillable: a child makes them, and the boot goes on without it. */
static int run_bounded(const struct command *command, const struct qmr_guard *guard)
{
	struct qmr_error err = {0};
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		if (call(command, guard, &err) < 0)
			qmr_error_log("%s; the boot goes on", err.text);
		(void)fflush(stdout); /* --dry-run's answer; _exit() does not */
		_exit(0);
	}
	if (pid < 0) {
		qmr_error_log("%s: starting a child: %s; the boot goes on, uncounted", command->name, strerror(errno));
	} else if (!has_ended(pid, &status)) {
		/* When the firmware does answer, the child must not go on and reset a system that is running by then. */
		(void)kill(pid, SIGKILL);
		qmr_error_log("%s: no answer within %d s; the boot goes on, uncounted", command->name, CHILD_MS / 1000);
	} else if (WIFSIGNALED(status)) {
		qmr_error_log("%s: the child died of signal %d; the boot goes on, uncounted", command->name, WTERMSIG(status));
	}
	return QMR_EXIT_OK;
}

static int run(const struct command *command, const struct qmr_guard *guard)
{
	struct qmr_error err = {0};
	int r;

	if (command->is_bounded)
		return run_bounded(command, guard);
	r = call(command, guard, &err);
	if (r < 0)
		qmr_error_log("%s; this boot stays as it was recorded", err.text);
	return r == -EINVAL ? QMR_EXIT_USAGE : r < 0 ? QMR_EXIT_FAILURE : QMR_EXIT_OK;
}

static const struct command *find_command(int argc, char **argv, struct qmr_guard *guard)
{
	for (size_t i = 0; argc > 0 && i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(argv[0], commands[i].name) || argc != 1 + commands[i].arguments)
			continue;
		guard->argument = argc > 1 ? argv[1] : NULL;
		return &commands[i];
	}
	return NULL;
}

/* Returns an exit code, or -1 to go on. */
static int parse(int argc, char **argv, struct qmr_guard *guard, const char **path, const char **esp, int *wait_first)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
						{"run", required_argument, NULL, 'r'},
						{"esp", required_argument, NULL, 'e'},
						{"device", required_argument, NULL, 'd'},
						{"dry-run", no_argument, NULL, 'n'},
						{"wait", no_argument, NULL, 'w'},
						{"help", no_argument, NULL, 'h'},
						{"version", no_argument, NULL, 'V'},
						{0}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'c':
			*path = optarg;
			break;
		case 'r':
			guard->run = optarg;
			break;
		case 'e':
			*esp = optarg;
			break;
		case 'd':
			guard->watchdog_device = optarg;
			break;
		case 'n':
			guard->dry_run = 1;
			break;
		case 'w':
			*wait_first = 1;
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
	return -1;
}

/* Not a clean end for systemd, which would start what follows a healthy boot. */
static void stop_waiting(int signal)
{
	_exit(QMR_EXIT_NOTHING);
}

int main(int argc, char **argv)
{
	static struct qmr_config config;
	struct qmr_guard guard = {.config = &config, .run = QMR_GUARD_RUN, .watchdog_device = QMR_WATCHDOG_DEVICE};
	const struct command *command;
	const char *path = QMR_CONFIG_PATH, *esp = NULL;
	struct qmr_error err = {0};
	int wait_first = 0, code = parse(argc, argv, &guard, &path, &esp, &wait_first);

	if (code >= 0)
		return code;
	command = find_command(argc - optind, argv + optind, &guard);
	if (!command) {
		fputs(usage, stderr);
		return QMR_EXIT_USAGE;
	}
	qmr_log_open("boot-guard", command->is_bounded && !guard.dry_run);
	if (qmr_guard_cmdline_has("qmr=off") && !command->is_always)
		return QMR_EXIT_OK;
	if (qmr_config_load(path, &config, &err) < 0)
		qmr_warning("%s; going on with safe defaults (mode observe)", err.text);
	if (config.mode == QMR_MODE_OFF && !command->is_always) {
		if (command->run == qmr_guard_healthy)
			qmr_guard_archive(); /* systemd-pstore is told not to, and firmware memory must not fill up */
		return QMR_EXIT_OK;
	}
	set_place(command, &guard, esp);
	/* A shutdown within the window ends this process, and the boot is not recorded as healthy. */
	if (wait_first) {
		(void)signal(SIGTERM, stop_waiting);
		(void)sleep((unsigned int)config.stability_s);
		(void)signal(SIGTERM, SIG_DFL);
	}
	return run(command, &guard);
}
