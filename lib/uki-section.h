/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_UKI_SECTION_H
#define QMR_UKI_SECTION_H

#include <stddef.h>

#include "error.h"

/*
 * Reads a section of a unified kernel image (UAPI.5; PE/COFF headers: Microsoft, "PE Format"), at most max bytes, as
 * NUL-terminated text (malloc, caller frees). -ENOENT if the image has no such section, -EFBIG if it is larger, -EINVAL
 * if it is no image or cut.
 */
int qmr_uki_section_read(int fd, const char *name, size_t max, char **ret_text) QMR_MUST_CHECK;

/*
 * 0 if firmware for x86-64 could load the image, as far as its headers and its length tell, and it has kernel and initramfs: nothing was cut
 * off. -EINVAL if not.
 */
int qmr_uki_examine(int fd) QMR_MUST_CHECK;

#endif
