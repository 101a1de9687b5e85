/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uki-section.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DOS_BYTES 64
#define DOS_PE_OFFSET 60
#define COFF_BYTES 24 /* with the signature */
#define SECTION_BYTES 40
#define SECTIONS_MAX 96 /* what the Windows loader takes */
#define NAME_BYTES 8
#define MACHINE_X64 0x8664

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

struct section_table {
	uint64_t at;
	uint32_t n;
	uint32_t machine;
};

static int find_table(int fd, struct section_table *ret)
{
	uint8_t dos[DOS_BYTES], coff[COFF_BYTES];
	uint64_t at;

	if (read_at(fd, 0, dos, sizeof(dos)) < 0 || memcmp(dos, "MZ", 2))
		return -EINVAL;
	at = le(dos + DOS_PE_OFFSET, 4);
	if (read_at(fd, at, coff, sizeof(coff)) < 0 || memcmp(coff, "PE\0\0", 4) || le(coff + 6, 2) > SECTIONS_MAX)
		return -EINVAL;
	*ret = (struct section_table){at + COFF_BYTES + le(coff + 20, 2), le(coff + 6, 2), le(coff + 4, 2)};
	return 0;
}

/* Finds the section's place in the file. The smaller of the two sizes: one is padded, the other may be. */
static int find_section(int fd, const char *name, uint32_t *ret_offset, uint32_t *ret_size)
{
	uint8_t section[SECTION_BYTES];
	char wanted[NAME_BYTES] = {0};
	struct section_table table;
	int r = find_table(fd, &table);

	if (r < 0)
		return r;
	memcpy(wanted, name, strnlen(name, NAME_BYTES));
	for (; table.n; table.n--, table.at += SECTION_BYTES) {
		uint32_t virtual_size, raw_size;

		if (read_at(fd, table.at, section, sizeof(section)) < 0)
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

int qmr_uki_examine(int fd)
{
	static const char *const needed[] = {".linux", ".initrd"};
	struct section_table table;
	uint8_t section[SECTION_BYTES];
	uint32_t offset, size;
	struct stat st;
	int r = find_table(fd, &table);

	if (r < 0 || table.machine != MACHINE_X64 || fstat(fd, &st) < 0)
		return -EINVAL;
	for (; table.n; table.n--, table.at += SECTION_BYTES)
		if (read_at(fd, table.at, section, sizeof(section)) < 0 ||
		    (uint64_t)le(section + 20, 4) + le(section + 16, 4) > (uint64_t)st.st_size)
			return -EINVAL;
	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++)
		if (find_section(fd, needed[i], &offset, &size) < 0 || !size)
			return -EINVAL;
	return 0;
}
