/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_RECOVERY_H
#define QMR_RECOVERY_H

#include <stdint.h>

#include "boot-state.h"
#include "config.h"
#include "error.h"
#include "uuid.h"

/* One run of recovery: what the steps tell each other. PID 1 owns the only one. docs/architecture.md, "Steps of recovery". */

#define QMR_RUN "/run/qmr"
#define QMR_INCIDENT QMR_RUN "/incident"
#define QMR_PLANS QMR_INCIDENT "/plans"
#define QMR_STATE_FILE QMR_RUN "/state" /* the bytes of docs/boot-state.md */
#define QMR_STATE_JSON QMR_RUN "/state.json"
#define QMR_STATE_IN_FILE QMR_RUN "/state-in-file" /* the EFI variable held no boot state or could not be written: the ESP may have it */
#define QMR_RECOVERY_LOG QMR_RUN "/recovery.log"
#define QMR_LINKS QMR_RUN "/links" /* dhcp-hook: one file for each interface that has an address */
#define QMR_SYSROOT "/sysroot"
#define QMR_KEPT_METADATA "/var/lib/qmr/tuf" /* of remediation-fetch, on the broken system's disk */
#define QMR_PSTORE "/sys/fs/pstore"
#define QMR_PROGRAM(name) "/usr/lib/qmr/" name

/* What became of a step, in the words of docs/incident.md. */
enum qmr_result {
	QMR_RESULT_OK,
	QMR_RESULT_NOTHING,
	QMR_RESULT_FAILED,
	QMR_RESULT_REFUSED,
	QMR_RESULT_NETWORK,
	QMR_RESULT_LATE,
	QMR_RESULT_SKIPPED
};

/* The word of docs/incident.md. */
const char *qmr_result_name(enum qmr_result result);

/* That of an exit code of ours, or of a negative errno from lib/child.h. */
enum qmr_result qmr_result_from(int code);

#define QMR_DEVICE_BYTES 64

/* Devices by what is on them; names like "/dev/vda2", empty while not found. */
struct qmr_devices {
	char root[QMR_DEVICE_BYTES], root_type[32], esp[QMR_DEVICE_BYTES];
	char locked[QMR_DEVICE_BYTES]; /* a LUKS container, where no root was found */
	int suspended; /* some swap device holds a hibernated system: the root must not be written */
};

enum qmr_mounted { QMR_MOUNTED_NOT, QMR_MOUNTED_RO, QMR_MOUNTED_RW };

/* What follows once something was applied, docs/remediation.md ("then"). */
enum qmr_then_what { QMR_DO_REBOOT, QMR_DO_SHUTDOWN, QMR_DO_NEXT_RUNG };

struct qmr_recovery {
	struct qmr_config config;
	struct qmr_devices devices;
	struct qmr_state state;
	int state_known;           /* the boot state could be read and written */
	int mode;                  /* enum qmr_mode that holds in this run */
	enum qmr_mounted root;
	int has_incident;          /* QMR_INCIDENT holds an incident.json */
	int has_network;
	int has_plans;             /* remediation-fetch was successful: QMR_PLANS holds at least one */
	int has_asked;             /* it reached the repository, which said all that it has to say */
	int is_shutdown_wanted;    /* by the plan that was applied last */
	int is_test;               /* of the image alone: QMR_STATE_TEST */
	int is_cancelled;          /* by somebody at the console */
	char incident[QMR_UUID_TEXT];
	char tried[64];            /* plan that did not help in an earlier run of this incident */
	char floor[QMR_FLOOR_TEXT]; /* highest versions of the repository that the fetch step saw, empty: none */
	char applied[64];          /* plan applied in this run, empty: none */
	char note[sizeof(((struct qmr_state *)0)->note)]; /* why it ends as it does, for people */
};

/* A step's own part; fills err with one line for the timeline where there is something to say, success included. */
typedef enum qmr_result qmr_step_run(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err);

qmr_step_run qmr_step_variables, qmr_step_acknowledge, qmr_step_acknowledge_file, qmr_step_watchdog, qmr_step_devices, qmr_step_reason, qmr_step_announce, qmr_step_mount, qmr_step_collect, qmr_step_collect_again, qmr_step_check,
	qmr_step_resume, qmr_step_save, qmr_step_network, qmr_step_upload, qmr_step_fetch, qmr_step_apply, qmr_step_loader;

/* The ESP's device if programs that read or write the boot state have to look there too, else NULL. Never under a hibernated system. */
const char *qmr_state_esp(const struct qmr_recovery *recovery);

/* Runs a program of ours; its result. Messages of it are in the recovery log. */
enum qmr_result qmr_recovery_program(char *const argv[], int deadline_ms, struct qmr_error *err);

#endif
