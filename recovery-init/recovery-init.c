/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "console.h"
#include "end.h"
#include "file.h"
#include "log-view.h"
#include "log.h"
#include "media.h"
#include "recovery.h"
#include "timeline.h"

/* PID 1 of the recovery image: a table of steps, each of which may fail or be late without harm to the others. */

static const char usage[] = "Usage: recovery-init\n"
			    "First process of the recovery image; see recovery-init(8). It runs as process 1 only.\n"
			    "\n"
			    "  --help     this text\n"
			    "  --version  the version\n";

/* What a step cannot do without. */
enum need {
	NEED_DEVICE = 1 << 0,
	NEED_ROOT = 1 << 1,
	NEED_WRITABLE = 1 << 2,
	NEED_INCIDENT = 1 << 3,
	NEED_SERVER = 1 << 4,
	NEED_UPLOAD = 1 << 5,
	NEED_REPOSITORY = 1 << 6,
	NEED_SOURCE = 1 << 7, /* of remediations: a network, or a repository that needs none */
	NEED_CHANGES = 1 << 8,
	NEED_GO_ON = 1 << 9,
	NEED_RUNS = 1 << 10,
	NEED_INCIDENT_RUN = 1 << 11, /* left out by a test */
};

static int is_met(const struct qmr_recovery *r, enum need need)
{
	switch (need) {
	case NEED_DEVICE:
		return r->devices.root[0] != '\0';
	case NEED_ROOT:
		return r->root != QMR_MOUNTED_NOT;
	case NEED_WRITABLE:
		return r->root == QMR_MOUNTED_RW;
	case NEED_INCIDENT:
		return r->has_incident;
	case NEED_SERVER:
		return r->config.upload_url[0] || qmr_config_has_source(&r->config, "https:");
	case NEED_UPLOAD:
		return r->config.upload_url[0] != '\0';
	case NEED_REPOSITORY:
		return r->config.n_repository_urls > 0;
	case NEED_SOURCE:
		return r->has_network || qmr_config_has_source(&r->config, "media:") || qmr_config_has_source(&r->config, "file:");
	case NEED_CHANGES:
		return r->mode > QMR_MODE_COLLECT;
	case NEED_GO_ON:
		return !r->is_cancelled && is_met(r, NEED_RUNS);
	case NEED_RUNS:
		return r->is_test || r->state.recovery_runs <= r->config.recovery_runs;
	case NEED_INCIDENT_RUN:
		return !r->is_test;
	}
	return 0;
}

static const struct {
	enum need need;
	const char *otherwise;
} needs[] = {
	{NEED_INCIDENT_RUN, "this run is a test"},
	{NEED_RUNS, "the recovery runs of this incident are used up"},
	{NEED_GO_ON, "cancelled at the console, or the runs are used up"},
	{NEED_DEVICE, "the root was not found"},
	{NEED_ROOT, "the root is not mounted"},
	{NEED_WRITABLE, "the root is not mounted for writing"},
	{NEED_INCIDENT, "there is no incident folder"},
	{NEED_SERVER, "no server is configured"},
	{NEED_UPLOAD, "[upload] url is not configured"},
	{NEED_REPOSITORY, "[repository] url is not configured"},
	{NEED_SOURCE, "there is no network"},
	{NEED_CHANGES, "mode collect changes nothing"},
};

static const struct step {
	const char *name;
	const char *title; /* for the screen */
	int deadline_s;    /* 0: the step's own, from the configuration */
	unsigned int needs;
	qmr_step_run *run;
} steps[] = {
	{"variables", "Opening the firmware's variables", 30, 0, qmr_step_variables},
	{"acknowledge", "Taking notice in the boot state", 15, 0, qmr_step_acknowledge},
	{"watchdog", "Arming the watchdog", 15, 0, qmr_step_watchdog},
	{"devices", "Looking for drivers and disks", 60, NEED_RUNS, qmr_step_devices},
	{"acknowledge-file", "Looking for the boot state on the disk", 30, NEED_RUNS, qmr_step_acknowledge_file},
	{"reason", "Looking at the boot entries", 30, NEED_RUNS, qmr_step_reason},
	{"announce", "Waiting for an objection", 0, NEED_RUNS, qmr_step_announce},
	{"mount-root-ro", "Opening the system's disk, unchanged", 30, NEED_GO_ON | NEED_DEVICE, qmr_step_mount},
	{"collect", "Collecting crash records", 120, NEED_GO_ON | NEED_INCIDENT_RUN, qmr_step_collect},
	{"check-root", "Checking the file system", 600, NEED_GO_ON | NEED_ROOT, qmr_step_check},
	{"resume", "Completing what was interrupted", 120, NEED_GO_ON | NEED_WRITABLE | NEED_INCIDENT_RUN, qmr_step_resume},
	{"collect-again", "Collecting what the journal held", 120, NEED_GO_ON | NEED_WRITABLE | NEED_INCIDENT_RUN,
	 qmr_step_collect_again},
	{"save", "Saving the crash records", 120, NEED_GO_ON | NEED_WRITABLE | NEED_INCIDENT | NEED_INCIDENT_RUN,
	 qmr_step_save},
	{"network", "Getting a network address", 20, NEED_GO_ON | NEED_SERVER, qmr_step_network},
	{"upload", "Sending the evidence to the owner", 60, NEED_GO_ON | NEED_UPLOAD | NEED_INCIDENT | NEED_INCIDENT_RUN,
	 qmr_step_upload},
	{"fetch", "Looking for a signed remediation", 0,
	 NEED_GO_ON | NEED_REPOSITORY | NEED_INCIDENT | NEED_SOURCE | NEED_INCIDENT_RUN, qmr_step_fetch},
	{"apply", "Repairing", 300, NEED_GO_ON | NEED_CHANGES | NEED_WRITABLE | NEED_INCIDENT | NEED_INCIDENT_RUN, qmr_step_apply},
	{"loader", "Renewing the boot entries' tries", 60, NEED_RUNS | NEED_INCIDENT_RUN, qmr_step_loader},
};

static const char *unmet(const struct qmr_recovery *recovery, unsigned int wanted)
{
	for (size_t i = 0; i < sizeof(needs) / sizeof(*needs); i++)
		if (wanted & needs[i].need && !is_met(recovery, needs[i].need))
			return needs[i].otherwise;
	return NULL;
}

static void run_step(const struct step *step, struct qmr_recovery *recovery, struct qmr_timeline *timeline)
{
	struct qmr_timeline_step *entry = qmr_timeline_begin(timeline, step->name);
	const char *missing = unmet(recovery, step->needs);
	struct qmr_error err = {0};
	char last[sizeof(entry->text)] = "";

	if (missing) {
		entry->result = QMR_RESULT_SKIPPED;
		snprintf(entry->text, sizeof(entry->text), "%s", missing);
	} else {
		qmr_console_print("[%6.1f] %s ...\n", (double)entry->start_ms / 1000.0, step->title);
		entry->result = step->run(recovery, step->deadline_s * 1000, &err);
		entry->duration_ms = qmr_timeline_now_ms() - entry->start_ms;
		qmr_console_print_log(last, sizeof(last));
		snprintf(entry->text, sizeof(entry->text), "%.*s", (int)sizeof(entry->text) - 1,
			 err.text[0] ? err.text : entry->result == QMR_RESULT_OK ? "" : last);
	}
	qmr_console_print("[%6.1f] %s: %s%s%s\n", (double)qmr_timeline_now_ms() / 1000.0, step->name,
			  qmr_result_name(entry->result), entry->text[0] ? ": " : "", entry->text);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		; /* orphans are ours */
}

/*
 * Why nothing was repaired: the first step of the system's disk that failed, or left it alone since a hibernated system is on it, else what the
 * apply step says. What servers and networks do decides nothing.
 */
static const char *find_why(const struct qmr_timeline *timeline)
{
	static const char *const decide[] = {"announce", "devices", "mount-root-ro", "collect", "check-root", "resume", "save", "apply"};

	for (size_t i = 0; i < sizeof(decide) / sizeof(*decide); i++)
		for (unsigned int k = 0; k < timeline->n_steps; k++) {
			const struct qmr_timeline_step *step = &timeline->steps[k];

			if (!strcmp(step->name, decide[i]) &&
			    (step->result == QMR_RESULT_FAILED || step->result == QMR_RESULT_LATE ||
			     (step->result == QMR_RESULT_SKIPPED && (!strcmp(step->name, "announce") || !strcmp(step->name, "check-root"))) ||
			     !strcmp(step->name, "apply")))
				return step->text;
		}
	return "";
}

static void mount_or_warn(const char *type, const char *path, const char *options, unsigned long flags)
{
	(void)mkdir(path, 0755); /* the image has it */
	if (mount(type, path, type, flags, options) < 0 && errno != EBUSY)
		qmr_warning("mounting '%s': %s; going on without it", path, strerror(errno));
}

static void set_up(void)
{
	struct qmr_error err = {0};
	int fd;

	/* Nobody sends PID 1 a signal that should end it, and Ctrl-Alt-Del must not cut a transaction. */
	(void)reboot(RB_DISABLE_CAD);
	umask(022);
	mount_or_warn("proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC);
	mount_or_warn("sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC);
	mount_or_warn("devtmpfs", "/dev", "mode=0755", MS_NOSUID | MS_NOEXEC);
	mount_or_warn("tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV | MS_NOEXEC);
	qmr_console_open();
	if (qmr_file_mkdirs(AT_FDCWD, QMR_RUN, 0700, &err) < 0)
		qmr_warning("%s; going on without", err.text);
	fd = open(QMR_RECOVERY_LOG, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd >= 0) {
		/* Children inherit it: all messages are shown after their step, and kept. */
		(void)dup2(fd, STDERR_FILENO);
		(void)dup2(fd, STDOUT_FILENO);
		close(fd);
	}
	(void)setenv("PATH", "/usr/sbin:/usr/bin", 1);
	qmr_log_open("recovery-init", 1);
}

static int run(void)
{
	static struct qmr_recovery recovery;
	static struct qmr_timeline timeline;
	struct qmr_error err = {0};

	set_up();
	timeline.started_unix_s = (uint64_t)time(NULL);
	qmr_console_print("\nQuick machine recovery " QMR_VERSION "\n");
	if (qmr_config_load(QMR_CONFIG_PATH, &recovery.config, &err) < 0) {
		/* The defaults name no root and allow no change. */
		qmr_error_log("%s; going on with safe defaults", err.text);
	}
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
		run_step(&steps[i], &recovery, &timeline);
	qmr_end(&recovery, &timeline, find_why(&timeline));
}

int main(int argc, char **argv)
{
	if (getpid() == 1)
		return run();
	if (argc == 2 && !strcmp(argv[1], "--version"))
		return puts("recovery-init " QMR_VERSION) < 0;
	if (argc == 2 && !strcmp(argv[1], "--help"))
		return fputs(usage, stdout) < 0;
	fputs(usage, stderr);
	return QMR_EXIT_USAGE;
}
