/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_LUKS_H
#define QMR_LUKS_H

#include <stdint.h>

#include "error.h"

/* Which keys of an encrypted disk a TPM releases, and what must not change for that. */

#define QMR_PCR(n) (1U << (n))
#define QMR_PCRS_UNKNOWN 0xffffffffU /* it cannot be told: any of them */

/*
 * Reads the LUKS2 header at the beginning of fd (LUKS2 On-Disk Format Specification 1.1, 2) and its
 * tokens of systemd-cryptenroll (systemd-tpm2) and clevis. Returns how many a TPM is needed for,
 * and the registers that any of them is bound to, a bit each; 0 also where there is no LUKS2
 * header. -EBADMSG where there is a damaged one, or what read(2) said. name is for messages. The
 * header may be hostile: at most 4 MiB of it are read.
 */
int qmr_luks_find_tpm(int fd, const char *name, uint32_t *ret_pcrs,
		      struct qmr_error *err) QMR_MUST_CHECK;

#endif
