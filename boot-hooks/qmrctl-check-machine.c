/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "boot-state.h"
#include "cleanup.h"
#include "file.h"
#include "guard.h"
#include "qmrctl-check.h"

#define EFIVARS "/sys/firmware/efi/efivars"
#define EFIVARFS_MAGIC 0xde5e81e4
#define WATCHDOGS "/sys/class/watchdog"
#define SYSFS_BYTES_MAX 4096
/* A boot state is rewritten in its own size; one panic leaves some 10 KB of crash records. */
#define STATE_BYTES 2048
#define RECORD_BYTES 16384

/* install builds the new image beside the old one, and the old one stays where that does not fit, even if the second image makes way. */
void qmrctl_check_space(struct qmrctl *ctl, struct qmrctl_finding *f)
{
	static const char advice[] = "make room on the EFI system partition, before a new image is needed";
	uint64_t bytes = qmrctl_image_bytes(ctl, QMR_SLOT_FIRST), second = qmrctl_image_bytes(ctl, QMR_SLOT_SECOND), free_bytes;
	struct qmr_error err = {0};
	double free_mb;

	if (!bytes)
		return qmrctl_find(f, QMRCTL_UNKNOWN, NULL, "there is no image to tell how large a new one would be");
	if (qmrctl_esp_free(ctl, &free_bytes, &err) < 0)
		return qmrctl_find(f, QMRCTL_UNKNOWN, NULL, "%s", err.text);
	free_mb = (double)free_bytes / 1e6;
	if (free_bytes + second < bytes)
		return qmrctl_find(f, QMRCTL_WARNING, advice, "'%s' has %.1f MB free: a new recovery image (%.1f MB) does not fit beside "
				   "the old one, so that it cannot be renewed", ctl->machine.esp_path, free_mb, (double)bytes / 1e6);
	if (free_bytes < bytes)
		return qmrctl_find(f, QMRCTL_WARNING, advice, "'%s' has %.1f MB free: for a new recovery image (%.1f MB) the second one would "
				   "have to make way", ctl->machine.esp_path, free_mb, (double)bytes / 1e6);
	qmrctl_find(f, QMRCTL_OK, NULL, "'%s' has %.1f MB free for a new image beside the old one", ctl->machine.esp_path, free_mb);
}

/* Bytes of free variable store that the kernel lets be used, -1: it does not tell (efivarfs does since Linux 6.5). */
static long long free_variable_bytes(void)
{
	struct statfs fs;

	if (statfs(EFIVARS, &fs) < 0 || (unsigned long)fs.f_type != EFIVARFS_MAGIC || fs.f_blocks == 0)
		return -1;
	return (long long)fs.f_bavail * fs.f_bsize;
}

/* No variable is written to find out: each write wears the flash, and some firmware has been bricked by less. This start has written one. */
void qmrctl_check_variables(struct qmrctl *ctl, struct qmrctl_finding *f)
{
	static const char advice[] = "delete crash records that are not needed (/sys/fs/pstore) or boot entries; see the firmware's setup";
	const struct qmr_guard guard = {.config = &ctl->config, .run = QMR_GUARD_RUN};
	int was_written = qmr_guard_is_marked(&guard, QMR_MARK_ATTEMPT);
	long long bytes = free_variable_bytes();

	if (qmr_guard_is_marked(&guard, QMR_MARK_DEFERRED) && !was_written)
		return qmrctl_find(f, QMRCTL_FAILED, advice, "the boot state could not be written at this start ('" QMR_GUARD_RUN "/"
				   QMR_MARK_DEFERRED "' says why): failed boots are not counted");
	if (bytes >= 0 && bytes < STATE_BYTES)
		return qmrctl_find(f, QMRCTL_FAILED, advice, "%lld bytes are free for EFI variables", bytes);
	if (bytes >= 0 && bytes < RECORD_BYTES)
		return qmrctl_find(f, QMRCTL_WARNING, advice, "%lld bytes are free for EFI variables: the records of a crash may not fit", bytes);
	if (!was_written)
		return qmrctl_find(f, QMRCTL_UNKNOWN, NULL, "this boot was not counted: the next one shows whether the boot state can be written");
	if (bytes < 0)
		qmrctl_find(f, QMRCTL_OK, NULL, "the boot state was written at this start; this kernel does not say how much room is left");
	else
		qmrctl_find(f, QMRCTL_OK, NULL, "the boot state was written at this start, %lld KB are free", bytes / 1000);
}

void qmrctl_check_watchdog(struct qmrctl *ctl, struct qmrctl_finding *f)
{
	cleanup_closedir DIR *dir = opendir(WATCHDOGS);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		cleanup_free char *identity = NULL;
		char path[300];
		size_t size;

		snprintf(path, sizeof(path), "%s/identity", entry->d_name);
		if (entry->d_name[0] == '.' || qmr_file_read(dirfd(dir), path, SYSFS_BYTES_MAX, &identity, &size, NULL) < 0)
			continue;
		identity[strcspn(identity, "\n")] = '\0';
		return qmrctl_find(f, QMRCTL_OK, NULL, "%s: %s", entry->d_name, identity);
	}
	qmrctl_find(f, QMRCTL_WARNING, "load the driver of this machine's watchdog, if it has one",
		    "no hardware watchdog: a kernel that hangs stays so until somebody resets it, and then looks like a power cut");
}

static void look_at_test(struct qmrctl *ctl, enum qmr_slot slot, enum qmrctl_result bad, struct qmrctl_finding *f)
{
	static const char *const commands[QMR_SLOTS] = {"qmrctl recover --test", "qmrctl recover --test --slot 2"};
	const char *name = qmrctl_slots[slot].name;
	char advice[64];
	int is_newer;
	struct qmrctl_image image;
	struct qmrctl_test test;
	struct qmr_state state;
	uint8_t root[16];
	char when[32];

	qmr_guard_root_id(&ctl->config, root);
	(void)!qmr_state_load(root, &state, NULL); /* an empty one, where there is none */
	qmrctl_test_load(&state, slot, &test);
	qmrctl_format_time(test.unix_s, when);
	snprintf(advice, sizeof(advice), "'%s' tests it, with a reboot", commands[slot]);
	is_newer = ctl->machine.esp_path[0] && qmrctl_image_examine(ctl, slot, &image, NULL) == 0 && image.modified_unix_s > test.unix_s;
	switch (test.result) {
	case QMRCTL_TEST_NONE:
		return qmrctl_find(f, QMRCTL_WARNING, advice, "the %s was never tested", name);
	case QMRCTL_TEST_WAITING:
		return qmrctl_find(f, QMRCTL_WARNING, NULL, "the %s is tested at the next reboot", name);
	case QMRCTL_TEST_NO_ANSWER:
		snprintf(advice, sizeof(advice), "look at the console during '%s'", commands[slot]);
		return qmrctl_find(f, bad, advice, "a test was asked for on %s, and the %s did not answer", when, name);
	case QMRCTL_TEST_FAILED:
		return qmrctl_find(f, bad, advice, "%s last tested: %s, %s", name, when, test.text);
	case QMRCTL_TEST_OK:
		if (is_newer)
			return qmrctl_find(f, QMRCTL_WARNING, advice, "%s last tested: %s, ok, and written since", name, when);
		return qmrctl_find(f, QMRCTL_OK, NULL, "%s last tested: %s, ok", name, when);
	}
}

void qmrctl_check_test(struct qmrctl *ctl, struct qmrctl_finding *f)
{
	look_at_test(ctl, QMR_SLOT_FIRST, QMRCTL_FAILED, f);
}

void qmrctl_check_second_test(struct qmrctl *ctl, struct qmrctl_finding *f)
{
	if (!ctl->machine.esp_path[0] || !qmrctl_image_bytes(ctl, QMR_SLOT_SECOND))
		return qmrctl_find(f, QMRCTL_UNKNOWN, NULL, "there is no second recovery image to test");
	look_at_test(ctl, QMR_SLOT_SECOND, QMRCTL_WARNING, f);
}

void qmrctl_check_keys(struct qmrctl *ctl, struct qmrctl_finding *f)
{
	size_t n, n_others;
	char list[160];

	qmrctl_keys_find(&n, &n_others, list, sizeof(list));
	if (n)
		return qmrctl_find(f, QMRCTL_WARNING, "enrol a recovery key (systemd-cryptenroll --recovery-key DEVICE)",
				   "a TPM releases disk keys only while this machine boots as it did when they were sealed: %s; a new initramfs, "
				   "'qmrctl install' or 'mode', or a changed boot entry ends that until they are sealed anew", list);
	qmrctl_find(f, QMRCTL_OK, NULL, "no disk key in a TPM is bound to what qmrctl changes (%zu to other PCRs)", n_others);
}
