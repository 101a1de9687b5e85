/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FIRMWARE_H
#define QMR_FIRMWARE_H

#include <stdint.h>

#include "error.h"

/* UEFI boot entries (UEFI 2.10, 3.1), through libefivar and libefiboot. */

#define QMR_ENTRY_NAME "Quick machine recovery"
#define QMR_ENTRY_NAME_SECOND "Quick machine recovery, second image"

/* The second image is started by BootNext alone, when the first one was asked for and did not start. */
enum qmr_slot { QMR_SLOT_FIRST, QMR_SLOT_SECOND, QMR_SLOTS };

/* 1 if the kernel offers the firmware's variables. */
int qmr_firmware_has_variables(void);

/* 1 if the firmware starts signed programs only. */
int qmr_firmware_has_secure_boot(void);

/* Finds the Boot#### entry of a slot by its description; -ENOENT if there is none. */
int qmr_firmware_find_entry(enum qmr_slot slot, uint16_t *ret_number, struct qmr_error *err) QMR_MUST_CHECK;

/* Sets BootNext and reads it back. After a failure BootNext does not name that entry, as far as the firmware still does what it is told. */
int qmr_firmware_set_next(uint16_t number, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Creates (or rewrites) the entry of a slot for a file on the ESP and puts the first one into BootOrder directly after the entry that this
 * system was booted by (BootCurrent); if that one is not in BootOrder, the order stays. An empty BootOrder stays
 * empty: alone in it, recovery would be what is booted every day. disk: "/dev/vda", partition: 1...,
 * path: "\\EFI\\Linux\\x.efi". Writes nothing that is already so.
 */
int qmr_firmware_register(enum qmr_slot slot, const char *disk, int partition, const char *path, struct qmr_error *err) QMR_MUST_CHECK;

/* Where the first slot's entry stands. */
struct qmr_firmware_entry {
	uint16_t number;
	int position;      /* in BootOrder, from 1; 0: it is not in it */
	int n_order;       /* entries of BootOrder */
	int after_current; /* 1: directly after the entry this system was booted by */
	int is_next;       /* 1: BootNext names it */
};

/* -ENOENT if there is no entry of ours. */
int qmr_firmware_examine(struct qmr_firmware_entry *ret_entry, struct qmr_error *err) QMR_MUST_CHECK;

/* 1 if entry number starts that file, as qmr_firmware_register() would write it for the slot, 0 if another. Writes nothing. */
int qmr_firmware_entry_starts(enum qmr_slot slot, uint16_t number, const char *disk, int partition, const char *path,
			      struct qmr_error *err) QMR_MUST_CHECK;

/* Deletes BootNext if it names that entry. Returns 1 if it did, 0 if not. */
int qmr_firmware_clear_next(uint16_t number, struct qmr_error *err) QMR_MUST_CHECK;

/* Takes the entry of a slot out of BootOrder and BootNext and deletes it; none is fine. Returns 1 if there was one, 0 if not. */
int qmr_firmware_unregister(enum qmr_slot slot, struct qmr_error *err) QMR_MUST_CHECK;

#endif
