/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PE_H
#define QMR_PE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define QMR_PE_NAME_BYTES 8 /* of a section's name; not NUL-terminated when all 8 are used */

struct qmr_pe_section {
	const char *name; /* at most QMR_PE_NAME_BYTES characters */
	const void *data; /* borrowed */
	size_t size;
};

/*
 * Appends read-only data sections to a PE32+ image for x86-64 (Microsoft PE format; systemd-stub(7) finds its sections
 * by name). Sections go, in the given order, behind the last one in memory and in the file, aligned to pages; where the
 * headers have no room left, the raw data moves. The checksum and the pointer to a signature are cleared, since neither
 * holds any more, and what lies behind the last section's raw data is dropped. The caller frees *ret_image.
 *
 * -ENOEXEC if the image is no such PE file, -EBADMSG with the reason if its tables contradict each other or lead
 * outside, -EEXIST if it has a section of the same name, -E2BIG if the result would pass 1 GiB or the table is full.
 */
int qmr_pe_append(const void *image, size_t size, const struct qmr_pe_section *sections, size_t n_sections,
		  uint8_t **ret_image, size_t *ret_size, struct qmr_error *err) QMR_MUST_CHECK;

#endif
