/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <efivar/efivar.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"
#include "json.h"
#include "log.h"
#include "qmrctl.h"

#define TRUST_BYTES_MAX (1U << 20)

/* Superficial: the programs that use the file verify it. A file that cannot work is better refused here than there. */
static int require_pem(const char *path, const char *key, struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	const char *begin, *end;
	size_t size;
	int r = qmr_file_read(AT_FDCWD, path, TRUST_BYTES_MAX, &text, &size, err);

	if (r < 0)
		return qmr_error_set(err, -EINVAL, "%s names '%s', which cannot be read: %s", key, path, strerror(-r));
	begin = strstr(text, "-----BEGIN CERTIFICATE-----\n");
	end = begin ? strstr(begin, "\n-----END CERTIFICATE-----") : NULL;
	if (strlen(text) != size || !end || end <= begin + 28)
		return qmr_error_set(err, -EINVAL, "%s names '%s', which is no certificate in PEM", key, path);
	return 0;
}

static int require_root_metadata(const char *path, struct qmr_error *err)
{
	cleanup_json json_t *json = NULL;
	struct qmr_error why = {0};
	const char *type;

	if (qmr_json_load(AT_FDCWD, path, TRUST_BYTES_MAX, &json, &why) < 0)
		return qmr_error_set(err, -EINVAL, "[repository] root: %s", why.text);
	type = qmr_json_string(json_object_get(json, "signed"), "_type");
	if (!type || strcmp(type, "root") || !json_is_array(json_object_get(json, "signatures")))
		return qmr_error_set(err, -EINVAL, "[repository] root names '%s', which is no TUF root metadata", path);
	return 0;
}

int qmrctl_step_config(struct qmrctl *ctl, struct qmr_error *err)
{
	const struct qmr_config *c = &ctl->config;
	struct qmr_config again;
	/* Loaded before by main(), for commands that go on without; here a malformed one ends the command. */
	int r = qmr_config_load(ctl->config_path, &again, err);

	if (r == 0 && c->upload_url[0])
		r = require_pem(c->upload_certificate, "[upload] certificate", err);
	if (r == 0 && c->n_repository_urls)
		r = require_root_metadata(c->repository_root, err);
	if (r == 0 && (c->upload_url[0] || qmr_config_has_source(c, "https:")))
		r = require_pem(c->ca, "[network] ca", err);
	if (r == 0)
		qmrctl_say(ctl, "valid; mode %s, uploads %s, signed remediations %s", qmr_mode_name(c->mode),
			   c->upload_url[0] ? "on" : "off", c->n_repository_urls ? "on" : "off");
	return r;
}

static int require_firmware(const struct qmrctl *ctl, struct qmr_error *err)
{
	if (!efi_variables_supported()) {
		efi_error_clear();
		return qmr_error_set(err, -EOPNOTSUPP, "this machine offers no EFI variables; starting without UEFI is not "
				     "supported (for a system that is being built: --no-variables)");
	}
	if (qmr_firmware_has_secure_boot() && !ctl->force)
		return qmr_error_set(err, -EOPNOTSUPP, "Secure Boot is on, and the recovery image is not signed: the firmware "
				     "would refuse to start it; --force if you sign it yourself after each build");
	return 0;
}

int qmrctl_step_machine(struct qmrctl *ctl, struct qmr_error *err)
{
	struct qmr_machine *m = &ctl->machine;
	int r = ctl->no_variables ? 0 : require_firmware(ctl, err);

	if (r == 0)
		r = ctl->no_variables ? qmr_machine_find_built(&ctl->known, m, err)
				      : qmr_machine_find_running(&ctl->known, m, err);
	if (r < 0)
		return r;
	if (m->root_obstacle[0] && !ctl->force)
		return qmr_error_set(err, -EOPNOTSUPP, "the root file system lies on %s, which the recovery image cannot reach "
				     "yet; --force goes on without its help for files of the root", m->root_obstacle);
	qmrctl_say(ctl, "root %s (%s)%s%s%s, EFI system partition %s at %s", m->root_uuid, m->root_fstype,
		   m->root_obstacle[0] ? " on " : "", m->root_obstacle,
		   m->root_obstacle[0] ? ", which recovery cannot reach" : "", m->esp_uuid, m->esp_path);
	return 0;
}

static int leave_pending(struct qmrctl *ctl, struct qmr_error *err)
{
	struct stat st;
	int r;

	qmrctl_say(ctl, "left to the first boot");
	if (lstat(QMRCTL_PENDING, &st) == 0)
		return 0;
	r = qmr_file_mkdirs(AT_FDCWD, QMRCTL_STATE_FOLDER, 0700, err);
	return r < 0 ? r : qmr_file_replace(AT_FDCWD, QMRCTL_PENDING, "", 0, 0600, err);
}

static int remove_pending(struct qmr_error *err)
{
	if (unlink(QMRCTL_PENDING) < 0 && errno != ENOENT)
		return qmr_error_errno(err, -errno, "removing '%s'", QMRCTL_PENDING);
	return 0;
}

int qmrctl_entry_starts(const struct qmrctl *ctl, enum qmr_slot slot, uint16_t number, struct qmr_error *err)
{
	return qmr_firmware_entry_starts(slot, number, ctl->machine.esp_disk, ctl->machine.esp_partition, qmrctl_slots[slot].firmware, err);
}

static int register_slot(const struct qmrctl *ctl, enum qmr_slot slot, struct qmr_error *err)
{
	struct qmrctl_image image;
	int r = qmrctl_image_examine(ctl, slot, &image, err); /* an entry for a file that is not there helps nobody */

	if (r == 0)
		return qmr_firmware_register(slot, ctl->machine.esp_disk, ctl->machine.esp_partition, qmrctl_slots[slot].firmware, err);
	return r;
}

/* Whether there is one or not: the first one is what recovery depends on. */
static void register_second(const struct qmrctl *ctl, char *said, size_t size)
{
	struct qmr_error err = {0};
	uint16_t number;
	int r = register_slot(ctl, QMR_SLOT_SECOND, &err);

	if (r < 0)
		(void)!qmr_firmware_unregister(QMR_SLOT_SECOND, NULL); /* boot-guard goes by the entry alone */
	if (r == 0 && qmr_firmware_find_entry(QMR_SLOT_SECOND, &number, &err) == 0)
		snprintf(said, size, "; second image %04X", number);
	else if (r == -ENOENT)
		snprintf(said, size, "; no second image");
	else
		qmr_warning("%s; the second recovery image will not be used", err.text);
}

int qmrctl_step_register(struct qmrctl *ctl, struct qmr_error *err)
{
	struct qmr_firmware_entry before = {0}, now;
	char second[64] = "";
	int r, had;

	if (ctl->no_variables)
		return leave_pending(ctl, err);
	had = qmr_firmware_examine(&before, NULL) == 0 && qmrctl_entry_starts(ctl, QMR_SLOT_FIRST, before.number, NULL) == 1;
	r = register_slot(ctl, QMR_SLOT_FIRST, err);
	if (r == 0)
		r = qmr_firmware_examine(&now, err);
	if (r < 0)
		return r;
	if (now.position == 1)
		return qmr_error_set(err, -EEXIST, "boot entry %04X is the first of BootOrder: recovery would be booted every day. "
				     "Put the system's own entry before it (efibootmgr -o), then run this again", now.number);
	if (now.position == 0)
		qmr_warning("BootOrder does not hold the entry that this system was booted by, and recovery is not put there: when the system "
			    "cannot be started at all, the firmware will not come to recovery by itself");
	else if (!now.after_current)
		qmr_warning("the entry this system was booted by is not in BootOrder: recovery stands at place %d of %d there",
			    now.position, now.n_order);
	register_second(ctl, second, sizeof(second));
	qmrctl_say(ctl, "boot entry %04X%s, place %d of %d in BootOrder%s", now.number,
		   had && before.position == now.position ? " is already there" : "", now.position, now.n_order, second);
	return remove_pending(err);
}

/* Where the boot state goes when there is no room for it in the firmware's memory: made now, while nothing is in a hurry. */
static int make_state_files(struct qmrctl *ctl, struct qmr_error *err)
{
	int r = qmr_state_files_create(ctl->machine.esp_path, err);

	qmrctl_say(ctl, "EFI/qmr on the EFI system partition %s", r ? "made, to keep it where the variable cannot" : "is already there");
	return r < 0 ? r : 0;
}

/* uninstall leaves a mark that keeps boot-guard out of the initramfs. */
static int remove_mark(struct qmrctl *ctl, struct qmr_error *err)
{
	if (unlink(QMRCTL_UNINSTALLED) < 0 && errno != ENOENT)
		return qmr_error_errno(err, -errno, "removing '%s'", QMRCTL_UNINSTALLED);
	return qmrctl_step_initramfs(ctl, err);
}

int qmrctl_install(struct qmrctl *ctl, struct qmr_error *err)
{
	/* The image before the entry that starts it; the units, which begin to count, at the end. */
	static const struct qmrctl_step steps[] = {
		{"config", qmrctl_step_config},
		{"paths", qmrctl_step_paths},
		{"keys", qmrctl_step_keys},
		{"machine", qmrctl_step_machine}, /* up to here nothing is changed */
		{"machine.conf", qmrctl_step_machine_conf}, /* the initramfs carries it */
		{"watchdog", qmrctl_step_watchdog}, /* may write a drop-in that the initramfs carries */
		{"panic", qmrctl_step_panic}, /* what makes the initramfs may write boot entries anew */
		{"initramfs", remove_mark},
		{"image", qmrctl_step_image},
		{"second image", qmrctl_step_second_image}, /* never both at once */
		{"state", make_state_files},
		{"loader", qmrctl_step_loader},
		{"register", qmrctl_step_register},
		{"units", qmrctl_step_units},
		{"tries", qmrctl_step_tries}, /* last: nothing is counted that nobody renews */
	};

	return qmrctl_run_steps(ctl, "installing", steps, sizeof(steps) / sizeof(*steps), err);
}

static int is_registered(const struct qmrctl *ctl)
{
	struct qmr_firmware_entry entry;
	struct qmrctl_image image;
	uint16_t second;
	int has_second = qmr_firmware_find_entry(QMR_SLOT_SECOND, &second, NULL) == 0;

	if (access(QMRCTL_PENDING, F_OK) == 0 || qmr_firmware_examine(&entry, NULL) < 0 || !entry.after_current ||
	    qmrctl_entry_starts(ctl, QMR_SLOT_FIRST, entry.number, NULL) != 1)
		return 0;
	if (qmrctl_image_examine(ctl, QMR_SLOT_SECOND, &image, NULL) < 0)
		return !has_second;
	return has_second && qmrctl_entry_starts(ctl, QMR_SLOT_SECOND, second, NULL) == 1;
}

/* After every healthy boot: where nothing is to be written, no key is in danger and no disk needs to be read for one. */
static int is_settled(struct qmrctl *ctl)
{
	int force = ctl->force, settled;

	ctl->force = 1; /* what lies on the root does not matter to the entry; install has refused it or was told to go on */
	settled = qmrctl_step_machine(ctl, NULL) == 0 && is_registered(ctl);
	ctl->force = force;
	return settled;
}

int qmrctl_register(struct qmrctl *ctl, struct qmr_error *err)
{
	static const struct qmrctl_step first[] = {{"keys", qmrctl_step_keys_entries}};
	static const struct qmrctl_step steps[] = {{"machine", qmrctl_step_machine}, {"register", qmrctl_step_register}};
	int r;

	if (ctl->no_variables)
		return qmr_error_set(err, -EINVAL, "register is about EFI variables: --no-variables leaves nothing to do");
	if (is_settled(ctl)) {
		qmrctl_say(ctl, "the boot entries are already as they should be");
		return 0;
	}
	r = qmrctl_run_steps(ctl, "registering", first, 1, err);
	if (r < 0)
		return r;
	ctl->force = 1;
	return qmrctl_run_steps(ctl, "registering", steps, sizeof(steps) / sizeof(*steps), err);
}
