/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "luks.h"
#include "qmrctl.h"

/*
 * Disk keys in a TPM, which releases them only if the machine booted as it did when they were
 * sealed. Nobody may learn from a passphrase prompt that this program has changed the boot.
 */

#define DEVICES "/sys/class/block"
#define CRYPTTAB "/etc/crypttab"
#define CRYPTTAB_BYTES_MAX 65536

/*
 * TCG PC Client Platform Firmware Profile, 3.3.4: Boot#### and BootOrder are in 1, with some
 * firmware in 5. The initramfs is in 9 (the kernel's EFI stub, GRUB), and where it is part of an
 * image in 4 and 11 (systemd-stub). The kernel command line is in 8 (GRUB, old versions of systemd-boot)
 * or 12 (systemd-boot).
 */
#define PCRS_OF_ENTRIES (QMR_PCR(1) | QMR_PCR(5))
#define PCRS_OF_INITRAMFS (QMR_PCR(4) | QMR_PCR(9) | QMR_PCR(11))
#define PCRS_OF_CMDLINE (QMR_PCR(8) | QMR_PCR(12))

struct finding {
	uint32_t changing;  /* what the command changes */
	size_t n, n_others; /* keys that are bound to that, and to other registers only */
	char list[160];     /* of the first ones */
};

static void format_pcrs(uint32_t pcrs, char *ret, size_t size)
{
	size_t used = (size_t)snprintf(ret, size,
				       pcrs == QMR_PCRS_UNKNOWN ? "to what is not known" : "PCR");

	for (unsigned int i = 0; i < 24 && used < size && pcrs != QMR_PCRS_UNKNOWN; i++)
		if (pcrs & QMR_PCR(i))
			used += (size_t)snprintf(ret + used, size - used, " %u", i);
}

static void add(struct finding *f, const char *device, uint32_t pcrs)
{
	char numbers[64], text[128];
	size_t used = strlen(f->list);

	if (!(pcrs & f->changing)) {
		f->n_others++;
		return;
	}
	format_pcrs(pcrs, numbers, sizeof(numbers));
	snprintf(text, sizeof(text), "%s%.48s (%s)", f->n ? ", " : "", device, numbers);
	if (used + strlen(text) < sizeof(f->list))
		memcpy(f->list + used, text, strlen(text) + 1);
	f->n++;
}

static void examine_header(struct finding *f, const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct qmr_error why = {0};
	uint32_t pcrs = 0;
	int r;

	if (fd < 0) /* a drive without a medium, a device that went away: nothing is unlocked from
		       there */
		return;
	r = qmr_luks_find_tpm(fd, path, &pcrs, &why);
	if (r < 0)
		qmr_warning("%s; whether a TPM unlocks it is not known", why.text);
	if (r == -EBADMSG) /* cryptsetup may still find the second copy */
		add(f, path, QMR_PCRS_UNKNOWN);
	else if (r > 0)
		add(f, path, pcrs);
}

static void examine_devices(struct finding *f)
{
	cleanup_closedir DIR *dir = opendir(DEVICES);
	struct dirent *entry;
	char path[300];

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || !strncmp(entry->d_name, "sr", 2)) /* nobody unlocks a CD */
			continue;
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		for (char *p = path; *p; p++)
			if (*p == '!') /* "cciss/c0d0" in /sys */
				*p = '/';
		examine_header(f, path);
	}
}

/* crypttab(5): NAME DEVICE KEY-FILE OPTIONS. Headers that lie elsewhere, and keys that are sealed
 * in a file instead of a header. */
static void examine_crypttab_line(struct finding *f, char *line)
{
	char *place, *fields[4], *option;
	int n = 0;

	while (n < 4 && (fields[n] = strtok_r(n ? NULL : line, " \t\r", &place)))
		n++;
	if (n < 4 || fields[0][0] == '#')
		return;
	for (option = strtok_r(fields[3], ",", &place); option;
	     option = strtok_r(NULL, ",", &place)) {
		if (!strncmp(option, "header=/", 8))
			examine_header(f, option + strlen("header="));
		if (!strncmp(option, "tpm2-device=", 12) && strcmp(fields[2], "-") &&
		    strcmp(fields[2], "none"))
			add(f, fields[2], QMR_PCRS_UNKNOWN);
	}
}

static void examine_crypttab(struct finding *f)
{
	cleanup_free char *text = NULL;
	char *place, *line;
	size_t size;

	if (qmr_file_read(AT_FDCWD, CRYPTTAB, CRYPTTAB_BYTES_MAX, &text, &size, NULL) < 0)
		return;
	for (line = strtok_r(text, "\n", &place); line; line = strtok_r(NULL, "\n", &place))
		examine_crypttab_line(f, line);
}

void qmrctl_keys_find(size_t *ret_n, size_t *ret_others, char *ret_list, size_t size)
{
	struct finding f = {.changing = PCRS_OF_ENTRIES | PCRS_OF_INITRAMFS};

	examine_devices(&f);
	examine_crypttab(&f);
	*ret_n = f.n;
	*ret_others = f.n_others;
	snprintf(ret_list, size, "%s", f.list);
}

static int examine(struct qmrctl *ctl, uint32_t changing, struct qmr_error *err)
{
	struct finding f = {.changing = changing};

	if (ctl->no_variables) {
		qmrctl_say(ctl, "the disks here are not those of the machine: none was looked at");
		return 0;
	}
	examine_devices(&f);
	examine_crypttab(&f);
	if (f.n && !ctl->force)
		return qmr_error_set(err, -EPERM,
				     "a TPM keeps keys of disks and compares how the machine "
				     "boots, which this changes: "
				     "%s; at the next boot they need a passphrase. Enrol a "
				     "recovery key (systemd-cryptenroll "
				     "--recovery-key DEVICE), then go on with --force, and seal "
				     "anew after that boot",
				     f.list);
	if (f.n)
		qmrctl_say(ctl,
			   "at the next boot the TPM will not release what it keeps for %s: have "
			   "the passphrase or recovery "
			   "key at hand, and seal anew then",
			   f.list);
	else
		qmrctl_say(ctl,
			   "no disk key in a TPM is bound to what changes here (%zu to other PCRs)",
			   f.n_others);
	return 0;
}

/* panic= comes with a mode that acts, and goes without. */
static uint32_t pcrs_of_cmdline(const struct qmrctl *ctl)
{
	int mode = ctl->config.mode;

	for (int m = QMR_MODE_OFF; ctl->argument && m <= QMR_MODE_AUTOMATIC; m++)
		if (!strcmp(ctl->argument, qmr_mode_name(m)))
			mode = m;
	return (mode >= QMR_MODE_COLLECT) != ctl->config.panic_added ? PCRS_OF_CMDLINE : 0;
}

int qmrctl_step_keys(struct qmrctl *ctl, struct qmr_error *err)
{
	return examine(ctl, PCRS_OF_ENTRIES | PCRS_OF_INITRAMFS | pcrs_of_cmdline(ctl), err);
}

int qmrctl_step_keys_entries(struct qmrctl *ctl, struct qmr_error *err)
{
	return examine(ctl, PCRS_OF_ENTRIES, err);
}

int qmrctl_step_keys_initramfs(struct qmrctl *ctl, struct qmr_error *err)
{
	return examine(ctl, PCRS_OF_INITRAMFS | pcrs_of_cmdline(ctl), err);
}
