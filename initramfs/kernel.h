/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_KERNEL_H
#define QMR_KERNEL_H

#include <stddef.h>

#include "error.h"

#define QMR_RELEASE_BYTES 65 /* as in struct utsname */

/*
 * The newest release, by strverscmp(3), that the root has both modules and a kernel file for. -ENOENT if there is
 * none.
 */
int qmr_kernel_find_newest(int root_fd, char ret_release[QMR_RELEASE_BYTES], struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Reads the release's kernel file from /boot/vmlinuz-RELEASE or /usr/lib/modules/RELEASE/vmlinuz of the root; the
 * caller frees *ret_data. -EINVAL for a release that is no plain file name, -ENOENT if the root has no such kernel,
 * -ENOEXEC if the file is no kernel that EFI could start (Documentation/x86/boot.rst: "HdrS", EFI stub).
 */
int qmr_kernel_read(int root_fd, const char *release, char **ret_data, size_t *ret_size,
		    struct qmr_error *err) QMR_MUST_CHECK;

#endif
