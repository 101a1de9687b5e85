/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "grace.h"
#include "guard.h"
#include "log.h"
#include "qmrctl.h"

/* Into recovery, back out of it, and how much of it is allowed. */

#define SYSTEMCTL "/usr/bin/systemctl"
#define REBOOT_S 60

static int load_state(const struct qmrctl *ctl, struct qmr_state *state, struct qmr_error *err)
{
	uint8_t root[16];

	qmr_guard_root_id(&ctl->config, root);
	return qmr_state_load(root, state, err);
}

static struct qmr_guard make_guard(const struct qmrctl *ctl)
{
	return (struct qmr_guard){.config = &ctl->config, .run = QMR_GUARD_RUN};
}

/* Everything that the switch needs, looked at before anything is written. */
static int require_recovery(struct qmrctl *ctl, enum qmr_slot slot, struct qmr_error *err)
{
	const struct qmr_guard guard = make_guard(ctl);
	struct qmrctl_image image;
	uint16_t number = 0;
	int r;

	if (ctl->config.mode == QMR_MODE_OFF || qmr_guard_cmdline_has("qmr=off"))
		return qmr_error_set(err, -EPERM, "the mode is off");
	r = qmr_machine_find_running(&ctl->known, &ctl->machine, err);
	if (r == 0)
		r = qmrctl_image_examine(ctl, slot, &image, err);
	if (r == 0 && !qmr_firmware_has_variables())
		return qmr_guard_once_examine(&guard, err);
	if (r == 0)
		r = qmr_firmware_find_entry(slot, &number, err);
	if (r < 0)
		return r;
	r = qmrctl_entry_starts(ctl, slot, number, err);
	if (r == 0)
		r = qmr_error_set(err, -ESTALE, "boot entry %04X starts something else than the %s; 'qmrctl register' repairs it", number,
				  qmrctl_slots[slot].name);
	return r < 0 ? r : 0;
}

static int check_options(const struct qmrctl *ctl, const char *reason, enum qmr_slot *ret_slot, struct qmr_error *err)
{
	const char *slot = ctl->slot ? ctl->slot : "1";

	if (ctl->now && ctl->next)
		return qmr_error_set(err, -EINVAL, "--now and --next exclude each other; nothing was changed");
	if (ctl->test && (ctl->collect_only || ctl->reason))
		return qmr_error_set(err, -EINVAL, "--test goes with neither --collect-only nor --reason: it is no recovery; "
				     "nothing was changed");
	if (ctl->slot && (!ctl->test || (strcmp(slot, "1") && strcmp(slot, "2"))))
		return qmr_error_set(err, -EINVAL, "--slot goes with --test, and is 1 or 2; nothing was changed");
	if (strlen(reason) >= sizeof(((struct qmr_state *)0)->note))
		return qmr_error_set(err, -EINVAL, "--reason is longer than %zu bytes", sizeof(((struct qmr_state *)0)->note) - 1);
	*ret_slot = strcmp(slot, "2") ? QMR_SLOT_FIRST : QMR_SLOT_SECOND;
	return 0;
}

/* Writes down what is wanted of the next start. */
static int request(const struct qmrctl *ctl, enum qmr_slot slot, struct qmr_state *state, const char *reason, struct qmr_error *err)
{
	const struct qmr_guard guard = make_guard(ctl);
	int r;

	qmrctl_test_forget(state);
	state->flags &= ~QMR_STATE_REQUESTS;
	if (ctl->test) {
		r = qmrctl_test_begin(slot, err);
		if (r == 0)
			r = qmr_guard_request_test(&guard, state, slot, err);
		if (r < 0)
			(void)unlink(qmrctl_slots[slot].last_test); /* else it would be taken for a test that did not answer */
		return r;
	}
	if (ctl->collect_only)
		state->flags |= QMR_STATE_COLLECT_ONLY;
	return qmr_guard_request(&guard, state, QMR_REASON_REQUESTED, 0, reason, err);
}

int qmrctl_recover(struct qmrctl *ctl, struct qmr_error *err)
{
	const char *reason = ctl->reason ? ctl->reason : "asked for with qmrctl recover";
	char *argv[] = {SYSTEMCTL, "reboot", NULL};
	struct qmr_error why = {0};
	struct qmr_state state;
	enum qmr_slot slot = QMR_SLOT_FIRST;
	int r = check_options(ctl, reason, &slot, err);

	if (r < 0)
		return r;
	r = require_recovery(ctl, slot, &why);
	if (r < 0)
		return qmr_error_set(err, r == -EINVAL ? -EIO : r, "recovery cannot be started: %s; nothing was changed", why.text);
	r = load_state(ctl, &state, &why);
	if (r < 0 && r != -ENOENT && ctl->test)
		return qmr_error_set(err, r, "%s; a test leaves it as it is: nothing was changed", why.text);
	if (r < 0 && r != -ENOENT)
		qmr_warning("%s; beginning with an empty history", why.text);
	r = request(ctl, slot, &state, reason, &why);
	if (r < 0)
		return qmr_error_set(err, r, "asking for recovery: %s; if the request was recorded, 'qmrctl cancel' takes it back",
				     why.text);
	printf("recovery: the next boot goes into the %s%s; 'qmrctl cancel' takes it back\n", qmrctl_slots[slot].name,
	       ctl->test ? " to test it" : ctl->collect_only ? ", which changes nothing" : "");
	(void)fflush(stdout);
	if (ctl->next)
		return 0;
	r = qmrctl_run_program(argv, REBOOT_S, &why);
	return r < 0 ? qmr_error_set(err, r, "rebooting: %s; the request stands: the next reboot goes into recovery", why.text) : 0;
}

/* 1 if BootNext named one of our entries and does not any more, 0 if not. */
static int clear_boot_next(struct qmr_error *err)
{
	int cleared = 0, r = 0;

	for (int slot = 0; slot < QMR_SLOTS && !cleared && (r >= 0 || r == -ENOENT); slot++) {
		uint16_t number = 0;

		r = qmr_firmware_find_entry((enum qmr_slot)slot, &number, err);
		if (r == 0)
			r = cleared = qmr_firmware_clear_next(number, err);
	}
	return r == -ENOENT ? 0 : r < 0 ? r : cleared;
}

/* What would start recovery next is taken back: 1 if there was something, 0 if not. */
static int clear_next(const struct qmrctl *ctl, struct qmr_error *err)
{
	int r = qmr_firmware_has_variables() ? clear_boot_next(err) : 0, once;

	if (r < 0 || !ctl->config.systemd_boot || !qmr_state_get_place())
		return r;
	once = qmr_guard_once_clear(err);
	return once < 0 ? once : r > 0 || once > 0;
}

int qmrctl_cancel(struct qmrctl *ctl, struct qmr_error *err)
{
	struct qmr_state state;
	uint32_t asked;
	int cleared = clear_next(ctl, err), r;

	if (cleared < 0)
		return cleared;
	r = load_state(ctl, &state, err);
	if (r < 0 && r != -ENOENT && !cleared)
		return r;
	asked = r == 0 ? state.flags & QMR_STATE_REQUESTS : 0;
	if (r < 0 || (state.stage != QMR_STAGE_SWITCHING && !asked)) {
		if (!cleared)
			return qmr_error_set(err, -ENODATA, "no switch to recovery is pending; nothing was changed");
		printf("cancel: the next boot no longer goes into recovery; no switch was recorded\n");
		return 0;
	}
	qmrctl_test_forget(&state);
	state.flags &= ~asked;
	if (state.stage != QMR_STAGE_SWITCHING) {
		r = qmr_state_save(&state, err);
		if (r == 0)
			printf("cancel: the next boot is a normal one; the recovery image is not tested\n");
		return r;
	}
	/* A boot on probation is still on probation; whatever else came before, failures are counted again. */
	state.stage = state.n_attempts && state.attempts[0].flags & QMR_ATTEMPT_PROBATION ? QMR_STAGE_PROBATION : QMR_STAGE_NONE;
	state.switches = 0;
	snprintf(state.note, sizeof(state.note), "switch to recovery cancelled with qmrctl cancel");
	r = qmr_state_save(&state, err);
	if (r == 0)
		printf("cancel: the next boot is a normal one; stage is now %s\n", qmr_stage_name(state.stage));
	return r;
}

/* For whoever is logged in; the bound is request-poll's to keep. */
int qmrctl_defer(struct qmrctl *ctl, struct qmr_error *err)
{
	char *end;
	const long minutes = strtol(ctl->argument, &end, 10);
	int r;

	if (end == ctl->argument || *end || minutes < 1 || minutes > QMR_GRACE_MINUTES_MAX)
		return qmr_error_set(err, -EINVAL, "'%s' is no number of minutes from 1 to %d", ctl->argument, QMR_GRACE_MINUTES_MAX);
	r = qmr_grace_defer(QMR_GRACE_FIFO, (int)minutes, err);
	if (r == 0)
		printf("defer: %ld min are asked for; everybody who is logged in is told what came of it\n", minutes);
	return r == -ENOENT ? qmr_error_set(err, -ENODATA, "no restart is waited for") : r;
}

static int write_mode(struct qmrctl *ctl, struct qmr_error *err)
{
	char path[PATH_MAX], text[64];
	const char *slash = strrchr(ctl->config_path, '/');
	int r, n = snprintf(path, sizeof(path), "%.*s/conf.d", slash ? (int)(slash - ctl->config_path) : 1,
			    slash ? ctl->config_path : ".");

	if (n >= (int)sizeof(path) - 32)
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", ctl->config_path);
	r = qmr_file_mkdirs(AT_FDCWD, path, 0755, err);
	if (r < 0)
		return r;
	strcpy(path + n, "/90-mode.conf");
	snprintf(text, sizeof(text), "# written by qmrctl mode\n[policy]\nmode = %s\n", ctl->argument);
	r = qmr_file_replace(AT_FDCWD, path, text, strlen(text), 0644, err);
	if (r == 0)
		r = qmr_config_load(ctl->config_path, &ctl->config, err);
	if (r < 0)
		return r;
	if (strcmp(qmr_mode_name(ctl->config.mode), ctl->argument))
		return qmr_error_set(err, -EEXIST, "'%s' says %s, but a file behind it in conf.d says %s, which counts", path,
				     ctl->argument, qmr_mode_name(ctl->config.mode));
	qmrctl_say(ctl, "%s, in %s", ctl->argument, path);
	return 0;
}

int qmrctl_mode(struct qmrctl *ctl, struct qmr_error *err)
{
	static const struct qmrctl_step steps[] = {
		{"machine", qmrctl_step_machine},
		{"keys", qmrctl_step_keys_initramfs},
		{"mode", write_mode},
		{"machine.conf", qmrctl_step_machine_conf}, /* takes back what the mode does not want */
		{"watchdog", qmrctl_step_watchdog},
		{"panic", qmrctl_step_panic},
		{"initramfs", qmrctl_step_initramfs},
		{"image", qmrctl_step_image},
		{"second image", qmrctl_step_second_image},
		{"tries", qmrctl_step_tries},
	};
	static const struct qmrctl_step alone[] = {{"mode", write_mode}};
	struct qmrctl_image image;
	int known = 0;

	for (int mode = QMR_MODE_OFF; mode <= QMR_MODE_AUTOMATIC; mode++)
		known |= !strcmp(ctl->argument, qmr_mode_name(mode));
	if (!known)
		return qmr_error_set(err, -EINVAL, "mode '%s' is none of off, observe, collect, ask, automatic; nothing was changed",
				     ctl->argument);
	ctl->force = 1; /* the mode does not depend on what recovery can reach, and is not to be held up; what follows is said */
	if (qmrctl_step_machine(ctl, NULL) == 0 && qmrctl_image_examine(ctl, QMR_SLOT_FIRST, &image, NULL) == 0)
		return qmrctl_run_steps(ctl, "changing the mode", steps, sizeof(steps) / sizeof(*steps), err);
	qmr_notice("no recovery image is installed: the mode is written down and will count after 'qmrctl install'");
	return qmrctl_run_steps(ctl, "changing the mode", alone, 1, err);
}
