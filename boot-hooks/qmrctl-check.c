/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "firmware.h"
#include "qmrctl.h"

/* Is everything still as install left it? Each of these finds one thing, in err; 0 is as it should be. */

static int check_initramfs(struct qmrctl *ctl, struct qmr_error *err)
{
	int images;

	return qmrctl_initramfs_examine(&images, err);
}

static int check_image(struct qmrctl *ctl, struct qmr_error *err)
{
	struct qmrctl_image image;
	int r = qmrctl_image_examine_leftover(ctl, err);

	if (r == 0)
		r = qmrctl_image_examine(ctl, &image, err);
	if (r < 0)
		return r;
	r = qmrctl_image_compare(ctl, image.kernel, err);
	if (r == 0)
		return qmr_error_set(err, -ESTALE, "the recovery image is not what would be built now: the configuration, the "
				     "trust, a program or its kernel changed; 'qmrctl install' renews it");
	return r < 0 ? r : 0;
}

static int check_entry(struct qmrctl *ctl, struct qmr_error *err)
{
	struct qmr_firmware_entry entry;
	int r;

	if (ctl->no_variables)
		return access(QMRCTL_PENDING, F_OK) == 0 ? 0 : qmr_error_errno(err, -errno, "looking for '%s'", QMRCTL_PENDING);
	r = qmr_firmware_examine(&entry, err);
	if (r < 0)
		return r;
	if (entry.position == 1)
		return qmr_error_set(err, -EEXIST, "recovery is the first of BootOrder: it is booted every day");
	if (!entry.position)
		return qmr_error_set(err, -ENOENT, "boot entry %04X is not in BootOrder", entry.number);
	r = qmr_firmware_entry_starts(QMR_SLOT_FIRST, entry.number, ctl->machine.esp_disk, ctl->machine.esp_partition,
				      QMRCTL_IMAGE_FIRMWARE, err);
	if (r == 0)
		return qmr_error_set(err, -ESTALE, "boot entry %04X starts something else than the recovery image", entry.number);
	return r < 0 ? r : 0;
}

static int check_units(struct qmrctl *ctl, struct qmr_error *err)
{
	return qmrctl_units_examine(err);
}

static const struct check {
	const char *name;
	qmrctl_step_fn *find;
	int needs_machine;
} checks[] = {
	{"config", qmrctl_step_config, 0},
	{"machine", qmrctl_step_machine, 0},
	{"paths", qmrctl_step_paths, 0},
	{"machine.conf", qmrctl_machine_conf_examine, 1},
	{"initramfs", check_initramfs, 0},
	{"image", check_image, 1},
	{"loader", qmrctl_loader_examine, 1},
	{"tries", qmrctl_tries_examine, 1},
	{"panic", qmrctl_panic_examine, 1},
	{"register", check_entry, 1},
	{"units", check_units, 0},
};

int qmrctl_check(struct qmrctl *ctl, struct qmr_error *err)
{
	int findings = 0, has_machine = 0;

	for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
		struct qmr_error finding = {0};

		if (checks[i].needs_machine && !has_machine)
			continue; /* one cause, one finding */
		if (checks[i].find(ctl, &finding) == 0) {
			has_machine |= checks[i].find == qmrctl_step_machine;
			continue;
		}
		printf("%s: %s\n", checks[i].name, finding.text);
		findings++;
	}
	if (findings)
		return qmr_error_set(err, -EBADMSG, "%d findings", findings);
	printf("check: everything is as install left it\n");
	return 0;
}
