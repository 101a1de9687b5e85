/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "assess.h"
#include "cleanup.h"
#include "crc32.h"
#include "file.h"
#include "firmware.h"
#include "healthy.h"
#include "log.h"
#include "records.h"
#include "uuid.h"

#define PSTORE "/sys/fs/pstore"
#define ARCHIVE "/var/lib/qmr/pstore"
#define INCIDENTS "/var/lib/qmr/incidents"
#define CMDLINE_MAX 8192

static char *read_cmdline(void)
{
	char *text = NULL;
	size_t size;

	return qmr_file_read(AT_FDCWD, "/proc/cmdline", CMDLINE_MAX, &text, &size, NULL) < 0 ? NULL : text;
}

int qmr_guard_cmdline_has(const char *word)
{
	cleanup_free char *text = read_cmdline();
	char *place, *token;

	for (token = text ? strtok_r(text, " \n", &place) : NULL; token; token = strtok_r(NULL, " \n", &place))
		if (!strcmp(token, word))
			return 1;
	return 0;
}

void qmr_guard_root(const struct qmr_config *config, uint8_t ret_root[16])
{
	cleanup_free char *text = read_cmdline();
	const char *name = config->root_uuid;
	char *place, *token;

	for (token = text ? strtok_r(text, " \n", &place) : NULL; token; token = strtok_r(NULL, " \n", &place))
		if (!strncmp(token, "root=", 5))
			name = token + 5;
	if (!strncmp(name, "UUID=", 5) && qmr_uuid_parse(name + 5, ret_root) == 0)
		return;
	/* root=/dev/..., LABEL=, PARTUUID=: recovery knows the root by the UUID that qmrctl install wrote into machine.conf. */
	if (qmr_uuid_parse(config->root_uuid, ret_root) == 0)
		return;
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t part = qmr_crc32(i, name, strlen(name));

		memcpy(ret_root + 4 * i, &part, 4);
	}
}

static void set_note(struct qmr_state *state, const char *text)
{
	snprintf(state->note, sizeof(state->note), "%s", text);
}

int qmr_guard_request(struct qmr_state *state, enum qmr_reason reason, const char *note, struct qmr_error *err)
{
	uint16_t entry;
	int r = qmr_firmware_find_entry(&entry, err);

	if (r < 0)
		return r;
	if (state->stage == QMR_STAGE_NONE || state->stage == QMR_STAGE_HEALED || state->stage == QMR_STAGE_FINAL ||
	    state->stage == QMR_STAGE_GIVEN_UP || qmr_uuid_is_null(state->incident)) {
		qmr_uuid_random(state->incident);
		state->failed_boots = (uint8_t)qmr_state_failures(state);
		state->recovery_runs = 0;
		state->switches = 0;
		state->rungs = 0;
		state->final = QMR_END_NONE;
		state->remediation[0] = '\0';
	}
	if (state->stage != QMR_STAGE_SWITCHING)
		state->reason = (uint8_t)reason;
	state->stage = QMR_STAGE_SWITCHING;
	state->switches++;
	set_note(state, note);
	r = qmr_state_save(state, err);
	return r < 0 ? r : qmr_firmware_set_next(entry, err);
}

/* A panic that halts is never counted by anyone. Only where nobody chose otherwise, and not after giving up. */
static void make_panics_reboot(const struct qmr_config *config)
{
	cleanup_free char *old = NULL;
	struct qmr_error err = {0};
	char text[16];
	size_t size;

	if (qmr_file_read(AT_FDCWD, "/proc/sys/kernel/panic", 64, &old, &size, &err) == 0 && atoi(old) != 0)
		return;
	snprintf(text, sizeof(text), "%d", config->panic_timeout_s);
	if (qmr_file_poke("/proc/sys/kernel/panic", text, &err) < 0)
		qmr_warning("%s; a panic will not reboot this machine", err.text);
}

/*
 * Only where somebody will act on the panic: not in the one last normal boot after recovery has ended, and not where mode observe has seen
 * enough, or a machine that would have stopped with the oops on its screen restarts for ever.
 */
static int should_panics_reboot(const struct qmr_verdict *v, const struct qmr_config *config)
{
	if (v->recover && config->mode < QMR_MODE_COLLECT)
		return 0;
	return v->stage != QMR_STAGE_GIVEN_UP && v->stage != QMR_STAGE_FINAL;
}

/* The block list takes effect for initramfs and root alike: /run survives, and both loading ways are stopped. */
static void write_block_list(const struct qmr_state *state)
{
	char text[QMR_STATE_MODULES * (2 * QMR_MODULE_NAME + 48)] = "";
	struct qmr_error err = {0};
	size_t used = 0;

	for (int i = 0; i < QMR_STATE_MODULES; i++)
		if (state->modules[i][0])
			used += (size_t)snprintf(text + used, sizeof(text) - used, "blacklist %s\ninstall %s /bin/false\n",
						 state->modules[i], state->modules[i]);
	if (!used)
		return;
	if (qmr_file_mkdirs(AT_FDCWD, "/run/modprobe.d", 0755, &err) < 0 ||
	    qmr_file_replace(AT_FDCWD, "/run/modprobe.d/qmr.conf", text, used, 0644, &err) < 0)
		qmr_warning("%s; the modules blocked by a remediation may load", err.text);
}

static void new_attempt(const struct qmr_state *state, struct qmr_attempt *ret)
{
	struct utsname uts = {0};

	(void)uname(&uts); /* cannot fail with a valid pointer */
	*ret = (struct qmr_attempt){
		.started_unix_s = (uint64_t)time(NULL),
		.number = state->boots,
		.flags = state->stage == QMR_STAGE_PROBATION ? QMR_ATTEMPT_PROBATION : 0,
		.kernel_crc32 = qmr_crc32(0, uts.release, strlen(uts.release)),
	};
}

static int has_new_panic(struct qmr_state *state)
{
	cleanup_close int dir = open(PSTORE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return dir >= 0 && qmr_records_find_new(dir, state);
}

/* kdump's capture kernel runs the same initramfs scripts: the crash is all it has to say. */
static int note_capture_kernel(struct qmr_state *state, struct qmr_error *err)
{
	qmr_state_close_last(state, 1);
	return qmr_state_save(state, err);
}

static int act(struct qmr_state *state, const struct qmr_config *config, const struct qmr_verdict *v,
	       struct qmr_error *err)
{
	int r;

	if (v->recover && config->mode >= QMR_MODE_COLLECT) {
		state->attempts[0].flags |= QMR_ATTEMPT_RECOVER;
		state->attempts[0].outcome = QMR_CLEAN_SHUTDOWN; /* left on purpose: it neither counts nor resets */
		r = qmr_guard_request(state, QMR_REASON_DETECTOR, v->why, err);
		if (r == 0) {
			qmr_notice("%d failed boots (%s): switching to the recovery image", v->failed_boots, v->why);
			sync();
			(void)reboot(RB_AUTOBOOT);
			return qmr_error_errno(err, -errno, "rebooting into the recovery image");
		}
		state->attempts[0].outcome = QMR_OPEN;
		state->stage = QMR_STAGE_GIVEN_UP;
		set_note(state, "recovery could not be started");
		qmr_error_log("%s; the normal boot goes on", err->text);
		return qmr_state_save(state, err);
	}
	if (v->recover) {
		state->attempts[0].flags |= QMR_ATTEMPT_OBSERVED;
		state->flags |= 1;
		if (state->stage == QMR_STAGE_SWITCHING)
			state->stage = QMR_STAGE_NONE; /* a request that the firmware did not follow is not kept for ever */
		set_note(state, "mode observe: would have started recovery");
		qmr_notice("%d failed boots (%s): would start recovery, but the mode is observe", v->failed_boots, v->why);
	} else if (v->stage != state->stage) {
		state->stage = (uint8_t)v->stage;
		set_note(state, v->why);
		qmr_warning("%s; the normal boot goes on", v->why);
	}
	return qmr_state_save(state, err);
}

int qmr_guard_start(const struct qmr_config *config, int dry_run, struct qmr_error *err)
{
	struct qmr_attempt attempt;
	struct qmr_verdict verdict;
	struct qmr_state state;
	uint8_t root[16];
	int r;

	qmr_guard_root(config, root);
	r = qmr_state_load(root, &state, err);
	if (r < 0 && r != -ENOENT)
		qmr_warning("%s; beginning with an empty history", err->text);
	if (access("/proc/vmcore", F_OK) == 0)
		return dry_run ? 0 : note_capture_kernel(&state, err);

	qmr_state_close_last(&state, has_new_panic(&state));
	verdict = qmr_assess(&state, config);
	if (dry_run) {
		printf("%s: %s (%d failed boots)\n", verdict.recover ? "recover" : "boot", verdict.why, verdict.failed_boots);
		return 0;
	}
	write_block_list(&state);
	if (should_panics_reboot(&verdict, config))
		make_panics_reboot(config);
	state.boots++;
	new_attempt(&state, &attempt);
	qmr_assess_add_attempt(&state, &attempt);
	return act(&state, config, &verdict, err);
}

static uint32_t uptime_s(void)
{
	struct timespec up = {0};

	(void)clock_gettime(CLOCK_BOOTTIME, &up);
	return (uint32_t)up.tv_sec;
}

void qmr_guard_archive(void)
{
	struct qmr_error err = {0};
	int n = qmr_archive_records(PSTORE, ARCHIVE, time(NULL), &err);

	if (n > 0)
		qmr_notice("%d crash records moved from the firmware's memory to '%s'", n, ARCHIVE);
	if (n < 0)
		qmr_warning("%s; crash records that were not moved stay in the firmware's memory", err.text);
}

/* Both are for people: the boot is healthy whatever becomes of them. */
static void keep_evidence(const struct qmr_state *state, const char *final)
{
	struct qmr_error err = {0};

	qmr_guard_archive();
	if (final && qmr_report_write(INCIDENTS, state, final, time(NULL), &err) < 0)
		qmr_warning("%s; the incident has no report", err.text);
}

/* How the open incident ended, NULL if there is none. */
static const char *incident_end(const struct qmr_state *state)
{
	static const char *const ends[] = {[QMR_STAGE_RECOVERING] = "healthy", [QMR_STAGE_PROBATION] = "healed",
					   [QMR_STAGE_GIVEN_UP] = "healthy", [QMR_STAGE_FINAL] = "healthy"};

	return state->stage < sizeof(ends) / sizeof(*ends) && !qmr_uuid_is_null(state->incident) ? ends[state->stage] : NULL;
}

int qmr_guard_healthy(const struct qmr_config *config, struct qmr_error *err)
{
	struct utsname uts = {0};
	struct qmr_state state;
	const char *final;
	uint8_t root[16];
	int r;

	qmr_guard_root(config, root);
	r = qmr_state_load(root, &state, err);
	if (r < 0)
		return r;
	if (state.n_attempts == 0 || state.attempts[0].outcome != QMR_OPEN)
		return 0;
	final = incident_end(&state);
	keep_evidence(&state, final);
	state.attempts[0].outcome = QMR_HEALTHY;
	state.attempts[0].phase = QMR_PHASE_HEALTHY;
	state.attempts[0].uptime_s = uptime_s();
	/*
	 * A switch that the owner asked for and that waits for the reboot stands: BootNext is set, and recovery must learn why. The
	 * detector's own reboots at once: if this boot goes on, it failed, and it must not come back at a planned reboot.
	 */
	if (state.stage != QMR_STAGE_SWITCHING || state.reason == QMR_REASON_DETECTOR) {
		state.stage = state.stage == QMR_STAGE_PROBATION ? QMR_STAGE_HEALED : QMR_STAGE_NONE;
		state.switches = 0;
		state.recovery_runs = 0;
	}
	(void)uname(&uts);
	snprintf(state.kernel, sizeof(state.kernel), "%.63s", uts.release);
	return qmr_state_save(&state, err);
}

int qmr_guard_clean_shutdown(struct qmr_error *err)
{
	struct qmr_state state;
	int r = qmr_state_load(NULL, &state, err);

	if (r < 0)
		return r;
	if (state.n_attempts == 0 || state.attempts[0].outcome != QMR_OPEN)
		return 0;
	state.attempts[0].outcome = QMR_CLEAN_SHUTDOWN;
	state.attempts[0].phase = QMR_PHASE_SHUTDOWN;
	state.attempts[0].uptime_s = uptime_s();
	return qmr_state_save(&state, err);
}
