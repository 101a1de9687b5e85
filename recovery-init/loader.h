/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_LOADER_H
#define QMR_LOADER_H

#include <stddef.h>

#include "error.h"

/* Automatic Boot Assessment (systemd.io/AUTOMATIC_BOOT_ASSESSMENT): "NAME+LEFT-DONE.conf" and ".efi". */

/*
 * The name with all its tries given back: "a+0-3.conf" becomes "a+3.conf". Returns 1, or 0 if the name counts nothing or nothing
 * was used up.
 */
int qmr_loader_name_reset(const char *name, char *ret_name, size_t room);

/* Gives back the tries of all entries below an ESP. Returns how many were renamed. */
int qmr_loader_reset(const char *esp, struct qmr_error *err) QMR_MUST_CHECK;

#endif
