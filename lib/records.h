/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_RECORDS_H
#define QMR_RECORDS_H

#include "boot-state.h"

/*
 * Looks through a pstore folder for crash dumps of a panic that the state has not counted, and remembers them there, so
 * that a record which cannot be deleted counts once. Sets panic and, if it says more, crash_uptime_s of the newest new one in *ret, which is
 * untouched where there is none or the folder cannot be read. Reads at most 4,096 names and 16 KiB of each file.
 */
void qmr_records_find_new(int dirfd, struct qmr_state *state, struct qmr_evidence *ret);

/* The largest time stamp of kernel messages ("[   12.345678] ..."), in whole seconds; -1 if there is none. */
int64_t qmr_records_uptime(const char *text);

/*
 * The number that stands for the dump which a record is part of, by its name alone (the state remembers it mixed with the text of the first
 * part). EFI record ids are (time * 100 + part) * 1000 + count
 * (Linux, drivers/firmware/efi/efi-pstore.c), so the parts of one dump share time and count; other
 * back ends number their files anew after each reset, and the file's time tells them apart. Never 0.
 */
uint32_t qmr_records_group(const char *name, int64_t mtime_s);

#endif
