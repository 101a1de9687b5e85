/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "elf-file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any bytes: read or refused; what is read is text that ends inside its field. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct qmr_elf elf;

	if (qmr_elf_read(data, size, &elf, NULL) < 0)
		return 0;
	if (elf.n_needed > QMR_ELF_NEEDED_MAX || !memchr(elf.interpreter, 0, sizeof(elf.interpreter)) ||
	    !memchr(elf.search_path, 0, sizeof(elf.search_path)))
		abort();
	for (size_t i = 0; i < elf.n_needed; i++)
		if (!memchr(elf.needed[i], 0, sizeof(elf.needed[i])))
			abort();
	return 0;
}
