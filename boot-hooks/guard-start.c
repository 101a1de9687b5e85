/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "assess.h"
#include "child.h"
#include "cleanup.h"
#include "crc32.h"
#include "file.h"
#include "guard.h"
#include "hold.h"
#include "log.h"
#include "records.h"

/* What runs in the initramfs before any driver: the last attempt gets its outcome, the assessor is asked, a new attempt begins. */

#define PSTORE "/sys/fs/pstore"
#define EFIVARS "/sys/firmware/efi/efivars"
#define MODPROBE_MS 4000
#define ESP_MS 2000 /* udev names the partitions of a disk one by one; the one with the root was there before */

static void load_driver(const char *name, const char *option)
{
	char *const argv[] = {"/sbin/modprobe", "-q", (char *)name, (char *)option, NULL};

	(void)!qmr_child_run(argv, MODPROBE_MS, NULL, 0, NULL); /* built in, or not there: the mount says so */
}

/* libefivar looks for the variables once, when it is loaded: so this is a program run of its own, before start. */
int qmr_guard_prepare(const struct qmr_guard *guard, struct qmr_error *err)
{
	if (access("/sys/firmware/efi", F_OK) == 0) {
		load_driver("efivarfs", NULL);
		if (mount("efivarfs", EFIVARS, "efivarfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 && errno != EBUSY && errno != ENODEV)
			qmr_warning("mounting '%s': %s; this boot is counted in a file, if at all", EFIVARS, strerror(errno));
		/* Kernels built with EFI_VARS_PSTORE_DEFAULT_DISABLE would keep no crash record. */
		load_driver("efi_pstore", "pstore_disable=0");
	}
	if (mount("pstore", PSTORE, "pstore", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 && errno != EBUSY)
		qmr_warning("mounting '%s': %s; a crash of the last boot is not seen", PSTORE, strerror(errno));
	return 0;
}

/*
 * A panic that halts is never counted by anyone: it reboots where nobody chose otherwise. Where nobody would act on it, it halts, also if
 * qmrctl install put panic= on the command line (for panics that come before this).
 */
static void set_panic(const struct qmr_config *config, int reboots)
{
	cleanup_free char *old = NULL;
	struct qmr_error err = {0};
	char text[16], own[16];
	size_t size;

	if (qmr_file_read(AT_FDCWD, "/proc/sys/kernel/panic", 64, &old, &size, &err) == 0 && (atoi(old) != 0) == reboots)
		return;
	if (!reboots && qmr_guard_has_own_panic(own, sizeof(own)))
		return;
	snprintf(text, sizeof(text), "%d", reboots ? config->panic_timeout_s : 0);
	if (qmr_file_poke("/proc/sys/kernel/panic", text, &err) < 0)
		qmr_warning("%s; a panic will %sreboot this machine", err.text, reboots ? "not " : "");
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

static int will_ask(void)
{
	cleanup_free char *text = NULL;
	size_t size;

	return qmr_file_read(AT_FDCWD, QMR_GUARD_CRYPTTAB, QMR_GUARD_CRYPTTAB_BYTES, &text, &size, NULL) == 0 && qmr_hold_will_ask(text);
}

static void new_attempt(const struct qmr_guard *guard, const struct qmr_state *state, struct qmr_attempt *ret)
{
	struct utsname uts = {0};

	(void)uname(&uts); /* cannot fail with a valid pointer */
	*ret = (struct qmr_attempt){
		.started_unix_s = (uint64_t)time(NULL),
		.number = state->boots,
		/* Written now, so that no further write is needed when it comes to the prompt; root takes it back. */
		.phase = !guard->late && will_ask() ? QMR_PHASE_WAITING : QMR_PHASE_INITRAMFS,
		.flags = state->stage == QMR_STAGE_PROBATION ? QMR_ATTEMPT_PROBATION : 0,
		.kernel_crc32 = qmr_crc32(0, uts.release, strlen(uts.release)),
	};
}

/* kdump's capture kernel runs the same initramfs scripts: the crash is all it has to say. */
static int note_capture_kernel(const struct qmr_config *config, struct qmr_state *state, struct qmr_error *err)
{
	static const struct qmr_evidence crash = {.panic = 1, .crash_uptime_s = -1};

	qmr_state_close_last(state, &crash, config->crash_window_s);
	return state->n_attempts ? qmr_state_save(state, err) : 0; /* variables are often not to be had in there */
}

static struct qmr_evidence find_evidence(struct qmr_state *state)
{
	cleanup_close int dir = open(PSTORE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct qmr_evidence evidence = {.crash_uptime_s = -1};

	if (dir >= 0)
		qmr_records_find_new(dir, state, &evidence);
	return evidence;
}

/*
 * The mark goes first: where it cannot be said whether the state was written (it did not read back, this process was killed), the number in
 * it tells whether this boot was counted, and root does not count it twice.
 */
static int save_and_mark(const struct qmr_guard *guard, struct qmr_state *state, struct qmr_error *err)
{
	struct qmr_error why = {0};
	char number[16];
	int r;

	snprintf(number, sizeof(number), "%u\n", state->boots);
	if (qmr_guard_mark(guard, QMR_MARK_ATTEMPT, number, &why) < 0)
		qmr_warning("%s; how this boot ends will not be recorded", why.text);
	if (state->attempts[0].phase == QMR_PHASE_WAITING && qmr_guard_mark(guard, QMR_MARK_ASKED, "", &why) < 0)
		qmr_warning("%s; if this boot ends without a trace, it will not count", why.text);
	r = qmr_state_save(state, err);
	if (r == 0) {
		qmr_guard_unmark(guard, QMR_MARK_DEFERRED);
		qmr_guard_unmark(guard, QMR_MARK_RESUME);
	}
	return r;
}

int qmr_guard_act(const struct qmr_guard *guard, struct qmr_state *state, const struct qmr_verdict *v, struct qmr_error *err)
{
	int bad = v->run.failures + v->run.crashes + (v->rungs == QMR_RUNGS_SIGNED ? v->run.unknowns : 0);
	uint8_t limit = v->rungs == QMR_RUNGS_SIGNED ? QMR_RUNG_SIGNED_ONLY : 0;

	if (v->recover && guard->config->mode >= QMR_MODE_COLLECT) {
		state->attempts[0].flags |= QMR_ATTEMPT_RECOVER;
		state->attempts[0].outcome = QMR_CLEAN_SHUTDOWN; /* left on purpose: it neither counts nor resets */
		if (qmr_guard_request(guard, state, QMR_REASON_DETECTOR, limit, v->why, err) == 0) {
			qmr_notice("%d bad boots (%s): switching to the recovery image", bad, v->why);
			sync();
			(void)reboot(RB_AUTOBOOT);
			return qmr_error_errno(err, -errno, "rebooting into the recovery image");
		}
		state->attempts[0].outcome = QMR_OPEN;
		state->stage = QMR_STAGE_GIVEN_UP;
		qmr_guard_set_note(state, "recovery could not be started");
		qmr_error_log("%s; the normal boot goes on", err->text);
	} else if (v->recover) {
		state->attempts[0].flags |= QMR_ATTEMPT_OBSERVED;
		state->flags |= QMR_STATE_OBSERVED;
		if (state->stage == QMR_STAGE_SWITCHING)
			state->stage = QMR_STAGE_NONE; /* a request that the firmware did not follow is not kept for ever */
		qmr_guard_set_note(state, "mode observe: would have started recovery");
		qmr_notice("%d bad boots (%s): would start recovery, but the mode is observe", bad, v->why);
	} else if (v->stage != state->stage) {
		state->stage = (uint8_t)v->stage;
		qmr_guard_set_note(state, v->why);
		qmr_warning("%s; the normal boot goes on", v->why);
	}
	return save_and_mark(guard, state, err);
}

/* Its resume runs behind init-top, and is no boot. */
static int is_resume_expected(const struct qmr_state *state)
{
	return state->n_attempts && state->attempts[0].flags & QMR_ATTEMPT_HIBERNATED && !qmr_guard_cmdline_has("noresume");
}

/* The kernel that was to resume the system crashed: a boot of its own, or it would go on crashing and nobody count. */
static void add_crashed_resume(const struct qmr_guard *guard, struct qmr_state *state)
{
	struct qmr_attempt attempt;

	state->boots++;
	new_attempt(guard, state, &attempt);
	attempt.started_unix_s = 0;
	qmr_assess_add_attempt(state, &attempt);
}

/* Not counted now, but in the last moment of the initramfs, if it comes to that: qmr_guard_root(). */
static int defer(const struct qmr_guard *guard, const char *why, struct qmr_error *err)
{
	qmr_notice("%s; counted later, if at all", why);
	return qmr_guard_mark(guard, QMR_MARK_DEFERRED, why, err);
}

static int defer_for_resume(const struct qmr_guard *guard, struct qmr_error *err)
{
	struct qmr_error why = {0};

	if (qmr_guard_mark(guard, QMR_MARK_RESUME, "", &why) < 0)
		qmr_warning("%s; the tries of the boot entry may be renewed under a system that sleeps", why.text);
	set_panic(guard->config, 0); /* a crash without a record is counted by nobody, and must not restart for ever */
	return defer(guard, "the system was hibernated and may resume", err);
}

/* start counts in the variable alone: what it wrote there is this boot, unless the file has more to say. */
static int is_counted(const struct qmr_guard *guard, const struct qmr_state *state)
{
	return guard->late && qmr_state_is_in_file() != 1 && qmr_guard_is_own(guard, state);
}

/*
 * Without a history nobody knows whether the machine has been given up. *ret_is_lost: there is none, and none that was refused; the
 * file may have it. A variable that cannot be read may be a sound one: writing an empty history over it would forget how often recovery was
 * tried.
 */
static int load(const struct qmr_guard *guard, struct qmr_state *ret_state, int *ret_is_lost, struct qmr_error *err)
{
	uint8_t root[16];
	int r;

	qmr_guard_root_id(guard->config, root);
	r = qmr_state_load(root, ret_state, err);
	*ret_is_lost = r < 0 && r != -EBADMSG && r != -ESTALE;
	if (*ret_is_lost && r != -ENOENT && !guard->dry_run && !(guard->late && r == -EOPNOTSUPP))
		return r;
	if (r < 0 && r != -ENOENT)
		qmr_warning("%s; beginning with an empty history", err->text);
	return 0;
}

/* Of a run of recovery that did not come: a later one, which may be needed, must not be a test by it, or do less than it could. */
static void forget_requests(struct qmr_state *state)
{
	state->flags &= ~(state->stage == QMR_STAGE_SWITCHING ? QMR_STATE_REQUESTS & ~(uint32_t)QMR_STATE_COLLECT_ONLY : QMR_STATE_REQUESTS);
}

static int count(const struct qmr_guard *guard, struct qmr_error *err)
{
	struct qmr_evidence evidence;
	struct qmr_attempt attempt;
	struct qmr_verdict verdict;
	struct qmr_state state;
	int is_lost, r = load(guard, &state, &is_lost, err);

	if (r < 0)
		return r;
	if (access("/proc/vmcore", F_OK) == 0)
		return guard->dry_run ? 0 : note_capture_kernel(guard->config, &state, err);
	if (is_counted(guard, &state)) {
		qmr_guard_unmark(guard, QMR_MARK_DEFERRED);
		return 0;
	}
	if (!guard->dry_run)
		write_block_list(&state);
	evidence = find_evidence(&state);
	if (is_resume_expected(&state) && evidence.panic)
		add_crashed_resume(guard, &state);
	else if (is_resume_expected(&state) && !guard->late && !guard->dry_run)
		return defer_for_resume(guard, err);

	forget_requests(&state);
	qmr_state_close_last(&state, &evidence, guard->config->crash_window_s);
	if (guard->late || qmr_guard_cmdline_has("noresume"))
		qmr_state_forget_hibernation(&state); /* it boots afresh: the image is not used any more */
	verdict = qmr_assess(&state, guard->config);
	if (guard->dry_run) {
		printf("%s: %s (%d failed boots)\n", verdict.recover ? "recover" : "boot", verdict.why,
		       verdict.run.failures + verdict.run.crashes);
		return 0;
	}
	state.boots++;
	new_attempt(guard, &state, &attempt);
	qmr_assess_add_attempt(&state, &attempt);
	r = qmr_guard_act(guard, &state, &verdict, err);
	/* What is not counted must not restart for ever. */
	set_panic(guard->config, r == 0 && should_panics_reboot(&verdict, guard->config));
	/* Without its mark root could not tell this boot from another one, and would count it twice. */
	if (r == 0 && is_lost && !guard->late && qmr_guard_is_own(guard, &state))
		r = qmr_guard_mark(guard, QMR_MARK_DEFERRED, "no boot state was in the EFI variable", err);
	return r;
}

int qmr_guard_start(const struct qmr_guard *guard, struct qmr_error *err)
{
	int r = count(guard, err);

	if (r >= 0 || guard->dry_run)
		return r;
	set_panic(guard->config, 0); /* not counted (yet) */
	/* Firmware without variables, or with no room in them: the file that takes over lies on a disk, which is not there yet. */
	return guard->late ? r : defer(guard, err->text, err);
}

static void wait_for_esp(void)
{
	const char *place = qmr_state_get_place();

	for (int waited_ms = 0; place && access(place, F_OK) < 0 && waited_ms < ESP_MS; waited_ms += 50)
		(void)usleep(50000);
}

/*
 * An entry that systemd-boot did not start, or recovery did not live to remove, must not be there when this boot goes on; what is decided below
 * may write it anew.
 */
static void clear_once(const struct qmr_guard *guard)
{
	struct qmr_error err = {0};

	if (guard->config->systemd_boot && qmr_state_get_place())
		qmr_guard_once_log_cleared(qmr_guard_once_clear(&err), &err);
}

static int note_root(const struct qmr_guard *guard, struct qmr_error *err)
{
	struct qmr_guard late = *guard;
	struct qmr_state state;
	int r;

	late.late = 1;
	if (qmr_guard_is_marked(guard, QMR_MARK_DEFERRED)) {
		wait_for_esp();
		clear_once(guard);
		r = qmr_guard_start(&late, err);
		if (r < 0)
			return r;
	}
	if (!qmr_guard_is_marked(guard, QMR_MARK_ASKED))
		return 0; /* the ordinary boot: no variable is looked at */
	r = qmr_guard_load_own(guard, &state, err);
	if (r < 0 || state.attempts[0].phase != QMR_PHASE_WAITING || state.attempts[0].outcome != QMR_OPEN)
		return r;
	state.attempts[0].phase = QMR_PHASE_USERSPACE;
	return qmr_state_save(&state, err);
}

/* The root is mounted, and every question of the initramfs was answered. */
int qmr_guard_root(const struct qmr_guard *guard, struct qmr_error *err)
{
	int r = note_root(guard, err);

	qmr_guard_hand_over(guard);
	return r;
}
