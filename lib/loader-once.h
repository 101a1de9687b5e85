/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_LOADER_ONCE_H
#define QMR_LOADER_ONCE_H

#include "error.h"
#include "loader-tries.h"

/*
 * An entry of systemd-boot's with one try that starts the recovery image: docs/loaders.md, "Recovery without BootNext". top is a descriptor
 * of the ESP's top folder everywhere.
 */

#define QMR_LOADER_IMAGE "EFI/Linux/qmr-recovery.efi"

/* Of this boot. */
struct qmr_loader_boot {
	const char *cmdline;   /* of the kernel that runs, NUL-terminated */
	const char *preferred; /* LoaderEntryDefault, NULL where it cannot be read or is not set */
	int is_counted;        /* it is known that systemd-boot took a try off the entry of this boot; else the entries have to show it */
};

/* 1 if it is that entry, used or not. */
int qmr_loader_entry_is_once(const struct qmr_loader_entry *entry);

/* 1 if this ESP has systemd-boot, as a file of its own or as what firmware starts without an entry. */
int qmr_loader_has_systemd_boot(int top);

/* 1 if an entry whose initrd is on that command line has lost a try: systemd-boot started it, and can rename files here. Else 0 or an error. */
int qmr_loader_is_counted(int top, const char *cmdline, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * 0 if systemd-boot would start the recovery image by such an entry at its next start, and what it starts now at the one after that, whatever
 * becomes of recovery. -EOPNOTSUPP with the reason if not. An entry that is there already is not looked at. Writes nothing.
 */
int qmr_loader_once_examine(int top, const struct qmr_loader_boot *boot, struct qmr_error *err) QMR_MUST_CHECK;

/* Writes the entry, durably, in place of one that is there, used or not. On failure none is there that has a try. */
int qmr_loader_once_write(int top, struct qmr_error *err) QMR_MUST_CHECK;

/* Removes it, used or not, durably: how many files. None is fine, and then nothing is written. */
int qmr_loader_once_remove(int top, struct qmr_error *err) QMR_MUST_CHECK;

#endif
