/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmrctl-check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "firmware.h"
#include "guard.h"
#include "json.h"

/* Would recovery start, now, and could it do what it is for? The first half is whether everything is as install left it. */

static const char *const result_names[] = {
	[QMRCTL_OK] = "ok", [QMRCTL_WARNING] = "warning", [QMRCTL_FAILED] = "failed", [QMRCTL_UNKNOWN] = "unknown"};

void qmrctl_find(struct qmrctl_finding *f, enum qmrctl_result result, const char *advice, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(f->text, sizeof(f->text), format, ap); /* cut at the end if it does not fit */
	va_end(ap);
	snprintf(f->advice, sizeof(f->advice), "%s", advice ? advice : "");
	f->result = result;
	qmrctl_clean(f->text);
}

static int check_initramfs(struct qmrctl *ctl, struct qmr_error *err)
{
	int images, r = qmrctl_initramfs_examine(&images, err);

	if (r == 0)
		qmrctl_say(ctl, "boot-guard is first in all (%d)", images);
	return r;
}

static int is_copy(const struct qmrctl *ctl)
{
	char first[PATH_MAX], second[PATH_MAX];

	return qmrctl_image_path(ctl, QMR_SLOT_FIRST, first, NULL) == 0 && qmrctl_image_path(ctl, QMR_SLOT_SECOND, second, NULL) == 0 &&
	       qmrctl_same_file(first, second);
}

static void look_at_image(struct qmrctl *ctl, enum qmr_slot slot, struct qmrctl_finding *f)
{
	static const char advice[] = "'qmrctl install' renews it";
	struct qmr_error err = {0};
	struct qmrctl_image image;
	char modules[64 + QMRCTL_RELEASE];
	int r = qmrctl_image_examine_leftover(ctl, slot, &err);

	if (r < 0)
		return qmrctl_find(f, QMRCTL_FAILED, NULL, "%s", err.text);
	r = qmrctl_image_examine(ctl, slot, &image, &err);
	if (r < 0)
		return qmrctl_find(f, QMRCTL_FAILED, advice, "%s", err.text);
	if (slot == QMR_SLOT_SECOND && is_copy(ctl)) /* what is to be said of that was said */
		return qmrctl_find(f, QMRCTL_OK, NULL, "a copy of the first, kernel %s, %.1f MB", image.kernel,
				   (double)image.bytes / 1e6);
	snprintf(modules, sizeof(modules), "/usr/lib/modules/%s", image.kernel);
	if (access(modules, F_OK) < 0)
		return qmrctl_find(f, QMRCTL_WARNING, "'qmrctl install' builds it with a kernel that is installed",
				   "its kernel %s is not installed any more: the %s still starts, but whether it is as it would "
				   "be built now cannot be told", image.kernel, qmrctl_slots[slot].name);
	r = qmrctl_image_compare(ctl, slot, image.kernel, &err);
	if (r < 0)
		return qmrctl_find(f, QMRCTL_FAILED, NULL, "%s", err.text);
	if (r == 0)
		return qmrctl_find(f, QMRCTL_FAILED, advice, "the %s is not what would be built now: the configuration, the "
				   "trust, a program or its kernel changed, or the file was damaged", qmrctl_slots[slot].name);
	qmrctl_find(f, QMRCTL_OK, NULL, "as it would be built now, kernel %s, %.1f MB", image.kernel, (double)image.bytes / 1e6);
}

static void check_image(struct qmrctl *ctl, struct qmrctl_finding *f)
{
	look_at_image(ctl, QMR_SLOT_FIRST, f);
}

/* Recovery works without it: all that is wrong with it is a warning. */
static void check_second_image(struct qmrctl *ctl, struct qmrctl_finding *f)
{
	uint64_t bytes = qmrctl_image_bytes(ctl, QMR_SLOT_FIRST);
	struct qmr_error why = {0};

	if (bytes && !qmrctl_image_bytes(ctl, QMR_SLOT_SECOND) && qmrctl_second_require_room(ctl, bytes, &why) == -ENOSPC)
		return qmrctl_find(f, QMRCTL_WARNING, "make room on the EFI system partition, then 'qmrctl install'",
				   "there is no second recovery image: %s", why.text);
	look_at_image(ctl, QMR_SLOT_SECOND, f);
	if (f->result == QMRCTL_FAILED)
		f->result = QMRCTL_WARNING;
}

static const char repairs[] = "'qmrctl register' repairs it";

/* The entry must be there exactly where the image is. *ret_number: 0 if neither is. Returns 0, or -1 with a finding. */
static int check_second_entry(const struct qmrctl *ctl, struct qmrctl_finding *f, int *ret_number)
{
	int has_image = qmrctl_image_bytes(ctl, QMR_SLOT_SECOND) > 0;
	uint16_t number = 0;
	int has_entry = qmr_firmware_find_entry(QMR_SLOT_SECOND, &number, NULL) == 0;

	*ret_number = has_image && has_entry ? number : 0;
	if (has_image == has_entry && (!has_entry || qmrctl_entry_starts(ctl, QMR_SLOT_SECOND, number, NULL) == 1))
		return 0;
	if (has_image && !has_entry)
		qmrctl_find(f, QMRCTL_WARNING, repairs, "the second recovery image has no boot entry");
	else if (has_entry && !has_image)
		qmrctl_find(f, QMRCTL_WARNING, repairs, "boot entry %04X starts a second recovery image that is not there", number);
	else
		qmrctl_find(f, QMRCTL_WARNING, repairs, "boot entry %04X starts something else than the second recovery image", number);
	return -1;
}

static void check_entry(struct qmrctl *ctl, struct qmrctl_finding *f)
{
	struct qmr_firmware_entry entry;
	struct qmr_error err = {0};
	char second[48] = "";
	int r, number;

	if (ctl->no_variables && access(QMRCTL_PENDING, F_OK) < 0)
		return qmrctl_find(f, QMRCTL_FAILED, "run 'qmrctl --no-variables install' again", "'%s' is missing: the first boot would make no "
				   "boot entry", QMRCTL_PENDING);
	if (ctl->no_variables)
		return qmrctl_find(f, QMRCTL_OK, NULL, "left to the first boot");
	r = qmr_firmware_examine(&entry, &err);
	if (r < 0)
		return qmrctl_find(f, QMRCTL_FAILED, repairs, "%s", err.text);
	if (entry.position == 1)
		return qmrctl_find(f, QMRCTL_FAILED, "put the system's own entry before it (efibootmgr -o)", "recovery is the first of "
				   "BootOrder: it is booted every day");
	if (!entry.position)
		return qmrctl_find(f, QMRCTL_FAILED, repairs, "boot entry %04X is not in BootOrder", entry.number);
	r = qmrctl_entry_starts(ctl, QMR_SLOT_FIRST, entry.number, &err);
	if (r < 0)
		return qmrctl_find(f, QMRCTL_FAILED, repairs, "%s", err.text);
	if (r == 0)
		return qmrctl_find(f, QMRCTL_FAILED, repairs, "boot entry %04X starts something else than the recovery image", entry.number);
	if (!entry.after_current)
		return qmrctl_find(f, QMRCTL_WARNING, repairs, "boot entry %04X is place %d of %d in BootOrder, not directly after the one "
				   "that this system was booted by: the firmware tries others first", entry.number, entry.position,
				   entry.n_order);
	if (check_second_entry(ctl, f, &number) < 0)
		return;
	if (number)
		snprintf(second, sizeof(second), "; that of the second image is %04X", (unsigned int)number);
	qmrctl_find(f, QMRCTL_OK, NULL, "boot entry %04X, place %d of %d in BootOrder, directly after the running system's%s",
		    entry.number, entry.position, entry.n_order, second);
}

/* By which way a failed boot, or qmrctl recover, comes to recovery. */
static void check_start(struct qmrctl *ctl, struct qmrctl_finding *f)
{
	const struct qmr_guard guard = {.config = &ctl->config, .run = QMR_GUARD_RUN};
	struct qmr_firmware_entry entry;
	struct qmr_error err = {0}, why = {0};
	int once = qmr_guard_once_examine(&guard, &why);

	if (!qmr_firmware_has_variables() && once < 0)
		return qmrctl_find(f, QMRCTL_FAILED, NULL, "there are no EFI variables, so no BootNext, and systemd-boot cannot start recovery either: %s",
				   why.text);
	if (!qmr_firmware_has_variables())
		return qmrctl_find(f, QMRCTL_OK, NULL, "there are no EFI variables: systemd-boot starts recovery, by a boot entry with one try");
	if (qmr_firmware_examine(&entry, &err) < 0)
		return qmrctl_find(f, QMRCTL_FAILED, "'qmrctl register' repairs it", "%s", err.text);
	qmrctl_find(f, QMRCTL_OK, NULL, "by BootNext; if the firmware refuses that once there are disks, %s%s",
		    once < 0 ? "not at all: " : "by systemd-boot", why.text);
}

static int check_units(struct qmrctl *ctl, struct qmr_error *err)
{
	return qmrctl_units_examine(err);
}

#define NEEDS_MACHINE 1 /* the machine check must have found it: one cause, one finding */
#define NEEDS_RUNNING 2 /* not for a system that is being built */

static const struct check {
	const char *name;
	qmrctl_check_fn *look; /* either this, or one that finds one thing: step, with what to do and what is said where it finds none */
	qmrctl_step_fn *step;
	const char *advice, *good;
	int needs;
} checks[] = {
	{"config", NULL, qmrctl_step_config, "", "", 0},
	{"machine", NULL, qmrctl_step_machine, "", "", 0},
	{"paths", NULL, qmrctl_step_paths, "", "", 0},
	{"machine.conf", NULL, qmrctl_machine_conf_examine, "", "names this machine's root", NEEDS_MACHINE},
	{"initramfs", NULL, check_initramfs, "'qmrctl install' repairs it", "", 0},
	{"image", check_image, NULL, "", "", NEEDS_MACHINE},
	{"second-image", check_second_image, NULL, "", "", NEEDS_MACHINE},
	{"space", qmrctl_check_space, NULL, "", "", NEEDS_MACHINE},
	{"loader", NULL, qmrctl_loader_examine, "", "recovery is not what the boot loader starts every day", NEEDS_MACHINE},
	{"tries", NULL, qmrctl_tries_examine, "'qmrctl install' repairs it", "starts that do not come as far as boot-guard are counted", NEEDS_MACHINE},
	{"panic", NULL, qmrctl_panic_examine, "'qmrctl install' repairs it", "a kernel that panics early restarts", NEEDS_MACHINE},
	{"register", check_entry, NULL, "", "", NEEDS_MACHINE},
	{"start", check_start, NULL, "", "", NEEDS_RUNNING},
	{"units", NULL, check_units, "'qmrctl install' repairs it", "enabled", 0},
	{"test", qmrctl_check_test, NULL, "", "", NEEDS_RUNNING},
	{"second-test", qmrctl_check_second_test, NULL, "", "", NEEDS_RUNNING},
	{"variables", qmrctl_check_variables, NULL, "", "", NEEDS_RUNNING},
	{"watchdog", qmrctl_check_watchdog, NULL, "", "", NEEDS_RUNNING},
	{"network", qmrctl_check_network, NULL, "", "", NEEDS_RUNNING},
	{"trust", qmrctl_check_trust, NULL, "", "", 0},
	{"keys", qmrctl_check_keys, NULL, "", "", NEEDS_RUNNING},
	{"modules", qmrctl_check_modules, NULL, "", "", NEEDS_RUNNING},
};

#define N_CHECKS (sizeof(checks) / sizeof(*checks))

static void look(struct qmrctl *ctl, const struct check *check, int has_machine, struct qmrctl_finding *f)
{
	struct qmr_error err = {0};

	if (check->needs & NEEDS_RUNNING && ctl->no_variables)
		return qmrctl_find(f, QMRCTL_UNKNOWN, NULL, "only a running system can tell");
	if (check->needs & NEEDS_MACHINE && !has_machine)
		return qmrctl_find(f, QMRCTL_UNKNOWN, NULL, "not looked at: 'machine' failed");
	if (check->look)
		return check->look(ctl, f);
	ctl->said[0] = '\0';
	if (check->step(ctl, &err) < 0)
		qmrctl_find(f, QMRCTL_FAILED, check->advice, "%s", err.text);
	else
		qmrctl_find(f, QMRCTL_OK, NULL, "%s", *check->good ? check->good : ctl->said);
}

static void print(const struct check *check, const struct qmrctl_finding *f)
{
	printf("%s: %s: %s%s%s\n", check->name, result_names[f->result], f->text, *f->advice ? "; " : "", f->advice);
	(void)fflush(stdout); /* to compare the image takes a while */
}

static json_t *finding_json(const struct check *check, const struct qmrctl_finding *f)
{
	json_t *text = json_string(f->text); /* NULL if it is no UTF-8 */

	return json_pack("{s:s, s:s, s:o, s:s}", "name", check->name, "result", result_names[f->result], "text",
			 text ? text : json_string("?"), "advice", f->advice);
}

int qmrctl_check(struct qmrctl *ctl, struct qmr_error *err)
{
	int counts[sizeof(result_names) / sizeof(*result_names)] = {0}, has_machine = 0;
	cleanup_json json_t *list = ctl->json ? json_array() : NULL;
	struct qmrctl_finding f;

	for (size_t i = 0; i < N_CHECKS; i++) {
		look(ctl, &checks[i], has_machine, &f);
		has_machine |= checks[i].step == qmrctl_step_machine && f.result == QMRCTL_OK;
		counts[f.result]++;
		if (!ctl->json)
			print(&checks[i], &f);
		else if (json_array_append_new(list, finding_json(&checks[i], &f)) < 0)
			return qmr_error_set(err, -ENOMEM, "out of memory");
	}
	if (ctl->json) {
		cleanup_json json_t *json = json_pack("{s:i, s:b, s:O}", "schema", 1, "ready", !counts[QMRCTL_FAILED], "checks", list);
		int r = qmrctl_print_json(json, err);

		if (r < 0)
			return r;
	} else {
		printf("check: %s, %d failed, %d warnings, %d unknown\n", counts[QMRCTL_FAILED] ? "not ready" : "ready", counts[QMRCTL_FAILED],
		       counts[QMRCTL_WARNING], counts[QMRCTL_UNKNOWN]);
	}
	return counts[QMRCTL_FAILED] ? qmr_error_set(err, -EBADMSG, "%d findings", counts[QMRCTL_FAILED]) : 0;
}
