/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_UKI_H
#define QMR_UKI_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define QMR_UKI_STUB "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
#define QMR_CMDLINE_BYTES 2048 /* COMMAND_LINE_SIZE of x86, with NUL */

struct qmr_uki {
	const char *release, *cmdline;
	const void *kernel, *initrd; /* borrowed */
	size_t kernel_bytes, initrd_bytes;
};

/*
 * Joins systemd's stub of the root with kernel, initrd, command line and an os-release into one unified kernel image
 * (systemd-stub(7)). The caller frees *ret_image. -ENOENT if the root lacks the stub.
 */
int qmr_uki_build(int root_fd, const struct qmr_uki *uki, uint8_t **ret_image, size_t *ret_size,
		  struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Puts the command line together: what recovery always has; then extra, or, if that is NULL, the console= arguments of
 * running (a command line as in /proc/cmdline; NULL for none); then configured. -E2BIG if it does not fit.
 */
int qmr_uki_format_cmdline(const char *extra, const char *running, const char *configured,
			   char ret_cmdline[QMR_CMDLINE_BYTES], struct qmr_error *err) QMR_MUST_CHECK;

#endif
