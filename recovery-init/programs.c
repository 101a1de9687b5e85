/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "file.h"
#include "floor-report.h"
#include "log.h"
#include "media.h"
#include "root.h"

/* Steps that are the work of a program: docs/architecture.md, "How each program is called". */

#define SPOOL_FOLDER "/var/lib/qmr/spool"
#define SPOOL QMR_SYSROOT SPOOL_FOLDER
#define MEDIA_MS 60000 /* to wait for removable disks and look at them, and to let go of them */
#define OWN_LIMIT_MS 30000 /* a transfer ends itself at its configured limit; this much later it is ended */

static const char *const result_names[] = {
	[QMR_RESULT_OK] = "ok", [QMR_RESULT_NOTHING] = "nothing", [QMR_RESULT_FAILED] = "failed",
	[QMR_RESULT_REFUSED] = "refused", [QMR_RESULT_NETWORK] = "network", [QMR_RESULT_LATE] = "late",
	[QMR_RESULT_SKIPPED] = "skipped",
};

const char *qmr_result_name(enum qmr_result result)
{
	return result_names[result];
}

enum qmr_result qmr_result_from(int code)
{
	static const enum qmr_result results[] = {
		[QMR_EXIT_OK] = QMR_RESULT_OK, [QMR_EXIT_FAILURE] = QMR_RESULT_FAILED,
		[QMR_EXIT_USAGE] = QMR_RESULT_FAILED, [QMR_EXIT_NOTHING] = QMR_RESULT_NOTHING,
		[QMR_EXIT_REFUSED] = QMR_RESULT_REFUSED, [QMR_EXIT_NETWORK] = QMR_RESULT_NETWORK,
	};

	if (code == -ETIMEDOUT)
		return QMR_RESULT_LATE;
	return code >= 0 && code < (int)(sizeof(results) / sizeof(*results)) ? results[code] : QMR_RESULT_FAILED;
}

enum qmr_result qmr_recovery_program(char *const argv[], int deadline_ms, struct qmr_error *err)
{
	int code = qmr_child_run(argv, deadline_ms, NULL, 0, err);

	if (code > 128)
		qmr_error_set(err, -EIO, "'%s' died of signal %d", argv[0], code - 128);
	return qmr_result_from(code);
}

static enum qmr_result collect(char *out, int deadline_ms, struct qmr_error *err)
{
	char *const argv[] = {QMR_PROGRAM("crash-collect"), "collect", "--root", QMR_SYSROOT, "--pstore", QMR_PSTORE,
			      "--state", QMR_STATE_JSON, "--out", out, NULL};

	return qmr_recovery_program(argv, deadline_ms, err);
}

/*
 * Until the journal is replayed, the disk does not show what was written last: the records that an earlier run of this incident saved before
 * its power was cut, or the content that came just before the crash. What was collected from the untouched disk is the better only where the
 * disk could not be repaired.
 */
enum qmr_result qmr_step_collect_again(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	enum qmr_result result = collect(QMR_RUN "/incident-new", deadline_ms, err);

	if (result != QMR_RESULT_OK)
		return result;
	if (qmr_file_remove_tree(AT_FDCWD, QMR_INCIDENT, err) < 0)
		return QMR_RESULT_FAILED;
	if (rename(QMR_RUN "/incident-new", QMR_INCIDENT) < 0) {
		qmr_error_errno(err, -errno, "renaming '" QMR_RUN "/incident-new'");
		return QMR_RESULT_FAILED;
	}
	recovery->has_incident = access(QMR_INCIDENT "/incident.json", R_OK) == 0;
	return QMR_RESULT_OK;
}

enum qmr_result qmr_step_collect(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	enum qmr_result result = collect(QMR_INCIDENT, deadline_ms, err);

	recovery->has_incident = access(QMR_INCIDENT "/incident.json", R_OK) == 0;
	return result;
}

enum qmr_result qmr_step_resume(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	char *esp = (char *)qmr_state_esp(recovery);
	char *const argv[] = {QMR_PROGRAM("remediation-apply"), "resume", "--root", QMR_SYSROOT, esp ? "--esp" : NULL, esp, NULL};

	return qmr_recovery_program(argv, deadline_ms, err);
}

enum qmr_result qmr_step_save(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	char *const argv[] = {QMR_PROGRAM("crash-collect"), "save", "--from", QMR_INCIDENT, "--root", QMR_SYSROOT,
			      "--pstore", QMR_PSTORE, NULL};

	return qmr_recovery_program(argv, deadline_ms, err);
}

/* Without a network the bundle is kept, encrypted, for the healed system to send. */
static enum qmr_result spool(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	char out[sizeof(SPOOL) + QMR_UUID_TEXT + 32];
	char *const argv[] = {QMR_PROGRAM("diag-upload"), "pack", "--incident", QMR_INCIDENT, "--out", out, NULL};
	enum qmr_result result;

	if (recovery->root != QMR_MOUNTED_RW) {
		qmr_error_set(err, -ENETUNREACH, "no network, and no disk to keep the bundle on");
		return QMR_RESULT_NETWORK;
	}
	snprintf(out, sizeof(out), SPOOL "/%s.tar.zst.cms", recovery->incident);
	if (qmr_root_mkdirs(SPOOL_FOLDER, err) < 0)
		return QMR_RESULT_FAILED;
	result = qmr_recovery_program(argv, deadline_ms, err);
	if (result == QMR_RESULT_OK) {
		qmr_error_set(err, 0, "no network: kept for the healed system to send");
		result = QMR_RESULT_NETWORK;
	}
	return result;
}

enum qmr_result qmr_step_upload(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	int can_spool = recovery->root == QMR_MOUNTED_RW;
	char *const argv[] = {QMR_PROGRAM("diag-upload"), "send", "--incident", QMR_INCIDENT, "--root", QMR_SYSROOT,
			      can_spool ? "--spool" : NULL, SPOOL, NULL};

	if (!recovery->has_network)
		return spool(recovery, deadline_ms, err);
	if (can_spool && qmr_root_mkdirs(SPOOL_FOLDER, err) < 0)
		return QMR_RESULT_FAILED;
	return qmr_recovery_program(argv, recovery->config.transfer_s * 1000 + OWN_LIMIT_MS, err);
}

/* What remediation-fetch saw, for the boot state; a failed run may have seen something too. */
static void read_floor(struct qmr_recovery *recovery)
{
	cleanup_close int plans_fd = open(QMR_PLANS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct qmr_floor floor;

	if (plans_fd >= 0 && qmr_floor_read_report(plans_fd, &floor, NULL) == 0)
		qmr_floor_format(&floor, recovery->floor);
}

enum qmr_result qmr_step_fetch(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	char *metadata = QMR_SYSROOT QMR_KEPT_METADATA;
	char *argv[] = {QMR_PROGRAM("remediation-fetch"), "--incident", QMR_INCIDENT "/incident.json", "--metadata", NULL,
			"--out", QMR_PLANS, "--root", QMR_SYSROOT, "--media", QMR_MEDIA, NULL, NULL, NULL};
	int has_media = qmr_config_has_source(&recovery->config, "media:");
	char floor[QMR_FLOOR_TEXT];
	enum qmr_result result;

	/* On a full or unwritable disk it works in memory, and only what it saw is forgotten. */
	if (recovery->root != QMR_MOUNTED_RW || qmr_root_mkdirs(QMR_KEPT_METADATA, err) < 0)
		metadata = QMR_RUN "/tuf";
	argv[4] = metadata;
	if (qmr_floor_is_set(&recovery->state.floor)) {
		qmr_floor_format(&recovery->state.floor, floor);
		argv[11] = "--floor";
		argv[12] = floor;
	}
	if (qmr_file_mkdirs(AT_FDCWD, QMR_RUN "/tuf", 0700, err) < 0 || qmr_file_mkdirs(AT_FDCWD, QMR_PLANS, 0700, err) < 0)
		return QMR_RESULT_FAILED;
	/* A stick that cannot be read costs that source alone. */
	if (has_media && qmr_media_mount(recovery, MEDIA_MS, err) < 0)
		qmr_warning("removable disks: %s; going on without them", err->text);
	result = qmr_recovery_program(argv, recovery->config.transfer_s * 1000 + OWN_LIMIT_MS, err);
	if (has_media)
		qmr_media_unmount(MEDIA_MS);
	recovery->has_plans = result == QMR_RESULT_OK;
	recovery->has_asked = result == QMR_RESULT_OK || result == QMR_RESULT_NOTHING;
	read_floor(recovery);
	return result;
}
