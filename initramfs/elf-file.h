/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_ELF_FILE_H
#define QMR_ELF_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* What a dynamic loader would want for an ELF file, read from its bytes; nothing is run. */

#define QMR_ELF_NEEDED_MAX 64
#define QMR_ELF_NAME_BYTES 128  /* of a library's name, with NUL */
#define QMR_ELF_PATH_BYTES 1024 /* of an interpreter or search path, with NUL */

struct qmr_elf {
	uint16_t machine;                    /* e_machine */
	char interpreter[QMR_ELF_PATH_BYTES]; /* PT_INTERP, empty if there is none */
	char needed[QMR_ELF_NEEDED_MAX][QMR_ELF_NAME_BYTES]; /* DT_NEEDED, in order */
	size_t n_needed;
	char search_path[QMR_ELF_PATH_BYTES]; /* DT_RUNPATH, else DT_RPATH; may hold $ORIGIN; empty if there is none */
};

/*
 * Reads a 64-bit little-endian ELF file (ELF-64 object file format 1.5; System V ABI, chapter 5). The bytes may be
 * hostile: every offset is checked, sizes are bounded by the array sizes above. -ENOEXEC if it is no such file,
 * -EBADMSG with the reason if its tables lead outside the file or beyond a bound; *ret_elf is untouched then.
 * A static program yields empty fields.
 */
int qmr_elf_read(const void *data, size_t size, struct qmr_elf *ret_elf, struct qmr_error *err) QMR_MUST_CHECK;

#endif
