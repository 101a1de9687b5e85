/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <efivar/efivar.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "file.h"
#include "qmrctl.h"

static int remove_units(struct qmrctl *ctl, struct qmr_error *err)
{
	qmrctl_say(ctl, "disabled");
	return qmrctl_units_disable(err);
}

/* The hook stays installed as long as the package: the mark tells it to leave boot-guard out. */
static int remove_from_initramfs(struct qmrctl *ctl, struct qmr_error *err)
{
	static const char text[] = "# qmrctl uninstall: boot-guard stays out of the initramfs until qmrctl install\n";
	int r = qmr_file_replace(AT_FDCWD, QMRCTL_UNINSTALLED, text, sizeof(text) - 1, 0644, err);

	if (r == 0)
		r = qmrctl_machine_conf_remove(err);
	qmrctl_say(ctl, "made anew without boot-guard");
	return r < 0 ? r : qmrctl_initramfs_update(err);
}

static int has_variables(struct qmrctl *ctl)
{
	int supported = !ctl->no_variables && efi_variables_supported();

	efi_error_clear();
	return supported;
}

static int remove_entry(struct qmrctl *ctl, struct qmr_error *err)
{
	if (unlink(QMRCTL_PENDING) < 0 && errno != ENOENT)
		return qmr_error_errno(err, -errno, "removing '%s'", QMRCTL_PENDING);
	qmrctl_say(ctl, has_variables(ctl) ? "boot entries removed" : "no EFI variable was touched");
	for (int slot = 0; has_variables(ctl) && slot < QMR_SLOTS; slot++) {
		int r = qmr_firmware_unregister((enum qmr_slot)slot, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int find_machine(struct qmrctl *ctl, struct qmr_error *err)
{
	return ctl->no_variables ? qmr_machine_find_built(&ctl->known, &ctl->machine, err)
				 : qmr_machine_find_running(&ctl->known, &ctl->machine, err);
}

static int take_back(struct qmrctl *ctl, struct qmr_error *err)
{
	int tries, panics, r = find_machine(ctl, err);

	tries = r < 0 ? r : qmrctl_tries_take_back(ctl, err);
	panics = tries < 0 ? tries : qmrctl_panic_take_back(ctl, err);
	if (panics >= 0)
		qmrctl_say(ctl, "boot counters taken off %d entries, panic= out of %d files", tries, panics);
	return panics < 0 ? panics : 0;
}

static int remove_images(struct qmrctl *ctl, struct qmr_error *err)
{
	int removed = 0, r = find_machine(ctl, err);

	for (int slot = 0; r >= 0 && slot < QMR_SLOTS; slot++) {
		r = qmrctl_image_remove(ctl, (enum qmr_slot)slot, err);
		removed += r == 1;
	}
	qmrctl_say(ctl, "%d removed from '%s'", removed, ctl->machine.esp_path);
	return r < 0 ? r : 0;
}

static int remove_state(struct qmrctl *ctl, struct qmr_error *err)
{
	int r = qmr_state_files_remove(ctl->machine.esp_path, err);

	qmrctl_say(ctl, has_variables(ctl) ? "deleted" : "no EFI variable was touched");
	return r < 0 || !has_variables(ctl) ? r : qmr_state_delete(err);
}

static int remove_files(struct qmrctl *ctl, struct qmr_error *err)
{
	qmrctl_say(ctl, ctl->purge ? "'" QMRCTL_STATE_FOLDER "' removed"
				   : "incidents and restore points stay in '" QMRCTL_STATE_FOLDER "' (--purge removes them)");
	return ctl->purge ? qmr_file_remove_tree(AT_FDCWD, QMRCTL_STATE_FOLDER, err) : 0;
}

int qmrctl_uninstall(struct qmrctl *ctl, struct qmr_error *err)
{
	/*
	 * What the firmware acts on goes first: a generator that fails then keeps boot-guard, which finds nothing to switch to.
	 * The state goes after boot-guard, which would write it again.
	 */
	static const struct qmrctl_step steps[] = {
		{"keys", qmrctl_step_keys}, {"units", remove_units},	{"register", remove_entry},
		{"images", remove_images},  {"counters", take_back},	{"initramfs", remove_from_initramfs},
		{"state", remove_state},    {"files", remove_files},
	};

	ctl->config.mode = QMR_MODE_OFF; /* what only the others want is taken back */
	ctl->force = 1; /* nothing keeps anybody from taking qmr away; what follows is said */
	return qmrctl_run_steps(ctl, "uninstalling", steps, sizeof(steps) / sizeof(*steps), err);
}
