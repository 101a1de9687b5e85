/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uki-section.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DOS_BYTES 64
#define DOS_PE_OFFSET 60
#define COFF_BYTES 24 /* with the signature */
#define SECTION_BYTES 40
#define SECTIONS_MAX 96 /* what the Windows loader takes */
#define NAME_BYTES 8

static uint32_t le(const uint8_t *p, int bytes)
{
	uint32_t value = 0;

	while (bytes--)
		value = value << 8 | p[bytes];
	return value;
}

static int read_at(int fd, uint64_t offset, void *data, size_t size)
{
	return pread(fd, data, size, (off_t)offset) == (ssize_t)size ? 0 : -EINVAL;
}

/* Finds the section's place in the file. The smaller of the two sizes: one is padded, the other may be. */
static int find_section(int fd, const char *name, uint32_t *ret_offset, uint32_t *ret_size)
{
	uint8_t dos[DOS_BYTES], coff[COFF_BYTES], section[SECTION_BYTES];
	char wanted[NAME_BYTES] = {0};
	uint64_t at;
	uint32_t n;

	memcpy(wanted, name, strnlen(name, NAME_BYTES));
	if (read_at(fd, 0, dos, sizeof(dos)) < 0 || memcmp(dos, "MZ", 2))
		return -EINVAL;
	at = le(dos + DOS_PE_OFFSET, 4);
	if (read_at(fd, at, coff, sizeof(coff)) < 0 || memcmp(coff, "PE\0\0", 4))
		return -EINVAL;
	n = le(coff + 6, 2);
	at += COFF_BYTES + le(coff + 20, 2);
	if (n > SECTIONS_MAX)
		return -EINVAL;
	for (; n; n--, at += SECTION_BYTES) {
		uint32_t virtual_size, raw_size;

		if (read_at(fd, at, section, sizeof(section)) < 0)
			return -EINVAL;
		if (memcmp(section, wanted, NAME_BYTES))
			continue;
		virtual_size = le(section + 8, 4);
		raw_size = le(section + 16, 4);
		*ret_size = virtual_size && virtual_size < raw_size ? virtual_size : raw_size;
		*ret_offset = le(section + 20, 4);
		return 0;
	}
	return -ENOENT;
}

int qmr_uki_section_read(int fd, const char *name, size_t max, char **ret_text)
{
	uint32_t offset, size;
	int r = find_section(fd, name, &offset, &size);
	char *text;

	if (r < 0)
		return r;
	if (size > max)
		return -EFBIG;
	text = malloc((size_t)size + 1);
	if (!text)
		return -ENOMEM;
	if (read_at(fd, offset, text, size) < 0) {
		free(text);
		return -EINVAL;
	}
	text[size] = '\0';
	*ret_text = text;
	return 0;
}
