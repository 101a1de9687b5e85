/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pe.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

/* Offsets as in the Microsoft PE format; the optional header's from its own begin. */
#define DOS_BYTES 64
#define DOS_PE_OFFSET 60
#define COFF_BYTES 24 /* with the signature "PE\0\0" */
#define COFF_MACHINE 4
#define COFF_SECTIONS 6
#define COFF_SYMBOLS 12
#define COFF_N_SYMBOLS 16
#define COFF_OPTIONAL_BYTES 20
#define MACHINE_AMD64 0x8664
#define OPTIONAL_BYTES_MIN 112 /* up to the data directories */
#define OPTIONAL_MAGIC 0
#define OPTIONAL_INITIALIZED_BYTES 8
#define OPTIONAL_SECTION_ALIGN 32
#define OPTIONAL_FILE_ALIGN 36
#define OPTIONAL_IMAGE_BYTES 56
#define OPTIONAL_HEADER_BYTES 60
#define OPTIONAL_CHECKSUM 64
#define OPTIONAL_N_DIRECTORIES 108
#define MAGIC_PE32_PLUS 0x20b
#define DIRECTORY_BYTES 8
#define DIRECTORY_SECURITY 4
#define SECTION_BYTES 40
#define SECTION_VIRTUAL_BYTES 8
#define SECTION_ADDRESS 12
#define SECTION_RAW_BYTES 16
#define SECTION_RAW_OFFSET 20
#define SECTION_FLAGS 36
#define FLAGS_READ_ONLY_DATA 0x40000040 /* CNT_INITIALIZED_DATA | MEM_READ */

#define SECTIONS_MAX 96 /* the Windows loader's limit, which firmware need not pass */
#define PAGE_BYTES 4096U
#define IMAGE_BYTES_MAX (1U << 30)

struct layout {
	size_t coff, optional, table; /* offsets in the file */
	uint32_t n_sections;
	uint32_t section_align, file_align;
	uint32_t header_bytes; /* SizeOfHeaders, as in the file */
	uint32_t shift_bytes;  /* by which raw data moves to make room for headers */
	uint64_t address_end;  /* behind the last section in memory */
	uint64_t raw_end;      /* and in the file */
	uint32_t address_first;
};

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static void put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static uint64_t align_up(uint64_t v, uint32_t to)
{
	return (v + to - 1) / to * to;
}

static int damaged(struct qmr_error *err, const char *why)
{
	return qmr_error_set(err, -EBADMSG, "damaged PE file: %s", why);
}

static int read_headers(const uint8_t *image, size_t size, struct layout *layout, struct qmr_error *err)
{
	uint32_t optional_bytes;

	if (size < DOS_BYTES || memcmp(image, "MZ", 2))
		return qmr_error_set(err, -ENOEXEC, "not a PE file");
	layout->coff = get32(image + DOS_PE_OFFSET);
	if (layout->coff > size || size - layout->coff < COFF_BYTES + OPTIONAL_BYTES_MIN)
		return damaged(err, "the header lies beyond the end");
	layout->optional = layout->coff + COFF_BYTES;
	if (memcmp(image + layout->coff, "PE\0\0", 4) || get16(image + layout->coff + COFF_MACHINE) != MACHINE_AMD64 ||
	    get16(image + layout->optional + OPTIONAL_MAGIC) != MAGIC_PE32_PLUS)
		return qmr_error_set(err, -ENOEXEC, "not a PE32+ file for x86-64");
	optional_bytes = get16(image + layout->coff + COFF_OPTIONAL_BYTES);
	layout->n_sections = get16(image + layout->coff + COFF_SECTIONS);
	layout->table = layout->optional + optional_bytes;
	layout->section_align = get32(image + layout->optional + OPTIONAL_SECTION_ALIGN);
	layout->file_align = get32(image + layout->optional + OPTIONAL_FILE_ALIGN);
	layout->header_bytes = get32(image + layout->optional + OPTIONAL_HEADER_BYTES);
	if (optional_bytes < OPTIONAL_BYTES_MIN ||
	    get32(image + layout->optional + OPTIONAL_N_DIRECTORIES) >
		    (optional_bytes - OPTIONAL_BYTES_MIN) / DIRECTORY_BYTES)
		return damaged(err, "an optional header smaller than what it holds");
	if (!layout->n_sections || layout->n_sections > SECTIONS_MAX)
		return damaged(err, "an unlikely number of sections");
	if (layout->table > size || size - layout->table < (size_t)layout->n_sections * SECTION_BYTES)
		return damaged(err, "the section table lies beyond the end");
	return 0;
}

static int check_alignment(const struct layout *layout, size_t size, struct qmr_error *err)
{
	uint32_t file = layout->file_align, section = layout->section_align;

	if (file < 16 || file > 65536 || (file & (file - 1)) || section < file || section > (1U << 24) ||
	    (section & (section - 1)))
		return damaged(err, "an unlikely alignment");
	if (layout->header_bytes > size ||
	    layout->header_bytes < layout->table + (size_t)layout->n_sections * SECTION_BYTES)
		return damaged(err, "headers of an unlikely size");
	return 0;
}

static int read_sections(const uint8_t *image, size_t size, struct layout *layout, struct qmr_error *err)
{
	layout->address_first = UINT32_MAX;
	layout->raw_end = layout->header_bytes;
	for (uint32_t i = 0; i < layout->n_sections; i++) {
		const uint8_t *s = image + layout->table + i * SECTION_BYTES;
		uint32_t address = get32(s + SECTION_ADDRESS), raw = get32(s + SECTION_RAW_OFFSET);
		uint32_t virtual_bytes = get32(s + SECTION_VIRTUAL_BYTES), raw_bytes = get32(s + SECTION_RAW_BYTES);
		uint64_t end = (uint64_t)address + (virtual_bytes > raw_bytes ? virtual_bytes : raw_bytes);

		if (raw_bytes && (raw > size || raw_bytes > size - raw || raw < layout->header_bytes))
			return damaged(err, "a section outside the file");
		if (address < layout->header_bytes || end > IMAGE_BYTES_MAX)
			return damaged(err, "a section at an unlikely address");
		if (address < layout->address_first)
			layout->address_first = address;
		if (end > layout->address_end)
			layout->address_end = end;
		if (raw_bytes && (uint64_t)raw + raw_bytes > layout->raw_end)
			layout->raw_end = (uint64_t)raw + raw_bytes;
	}
	return 0;
}

/* Works out how far raw data must move for n more section headers. */
static int make_room(struct layout *layout, size_t n, struct qmr_error *err)
{
	uint64_t wanted = layout->table + (layout->n_sections + n) * SECTION_BYTES;
	uint64_t available = layout->header_bytes;

	if (layout->n_sections + n > SECTIONS_MAX)
		return qmr_error_set(err, -E2BIG, "the PE file would have more than %d sections", SECTIONS_MAX);
	if (wanted > available)
		layout->shift_bytes = (uint32_t)align_up(wanted - available, layout->file_align);
	if (available + layout->shift_bytes > layout->address_first)
		return qmr_error_set(err, -E2BIG, "the PE file has no room for more section headers");
	return 0;
}

static int check_names(const uint8_t *image, const struct layout *layout, const struct qmr_pe_section *sections,
		       size_t n_sections, struct qmr_error *err)
{
	for (size_t i = 0; i < n_sections; i++) {
		if (!sections[i].size || sections[i].size > IMAGE_BYTES_MAX)
			return qmr_error_set(err, sections[i].size ? -E2BIG : -EINVAL, "section '%s' has %zu bytes",
					     sections[i].name, sections[i].size);
		if (strlen(sections[i].name) > QMR_PE_NAME_BYTES)
			return qmr_error_set(err, -EINVAL, "section name '%s' is too long", sections[i].name);
		for (uint32_t k = 0; k < layout->n_sections; k++)
			if (!strncmp((const char *)image + layout->table + k * SECTION_BYTES, sections[i].name,
				     QMR_PE_NAME_BYTES))
				return qmr_error_set(err, -EEXIST, "the PE file has a section '%s' already",
						     sections[i].name);
	}
	return 0;
}

/* Where the appended sections end, in memory and in the file: the last value of what put_sections() counts through. */
static int measure(const struct layout *layout, const struct qmr_pe_section *sections, size_t n_sections,
		   uint32_t align, size_t *ret_size, struct qmr_error *err)
{
	uint64_t address = layout->address_end, raw = layout->raw_end + layout->shift_bytes;

	for (size_t i = 0; i < n_sections; i++) {
		address = align_up(address, align) + sections[i].size;
		raw = align_up(align_up(raw, layout->file_align) + sections[i].size, layout->file_align);
		if (address > IMAGE_BYTES_MAX || raw > IMAGE_BYTES_MAX)
			return qmr_error_set(err, -E2BIG, "the PE file would be larger than 1 GiB");
	}
	*ret_size = raw;
	return 0;
}

static void put_sections(uint8_t *out, const struct layout *layout, const struct qmr_pe_section *sections,
			 size_t n_sections, uint32_t align)
{
	uint8_t *header = out + layout->table + (size_t)layout->n_sections * SECTION_BYTES;
	uint8_t *optional = out + layout->optional;
	uint64_t address = layout->address_end, raw = layout->raw_end + layout->shift_bytes;
	uint32_t data_bytes = get32(optional + OPTIONAL_INITIALIZED_BYTES);

	for (size_t i = 0; i < n_sections; i++, header += SECTION_BYTES) {
		uint64_t raw_bytes = align_up(sections[i].size, layout->file_align);

		address = align_up(address, align);
		raw = align_up(raw, layout->file_align);
		memset(header, 0, SECTION_BYTES);
		memcpy(header, sections[i].name, strlen(sections[i].name));
		put32(header + SECTION_VIRTUAL_BYTES, (uint32_t)sections[i].size);
		put32(header + SECTION_ADDRESS, (uint32_t)address);
		put32(header + SECTION_RAW_BYTES, (uint32_t)raw_bytes);
		put32(header + SECTION_RAW_OFFSET, (uint32_t)raw);
		put32(header + SECTION_FLAGS, FLAGS_READ_ONLY_DATA);
		memcpy(out + raw, sections[i].data, sections[i].size);
		address += sections[i].size;
		raw += raw_bytes;
		data_bytes += (uint32_t)raw_bytes;
	}
	put16(out + layout->coff + COFF_SECTIONS, (uint16_t)(layout->n_sections + n_sections));
	put32(optional + OPTIONAL_INITIALIZED_BYTES, data_bytes);
	put32(optional + OPTIONAL_IMAGE_BYTES, (uint32_t)align_up(address, layout->section_align));
}

static void put_headers(uint8_t *out, const struct layout *layout)
{
	uint8_t *optional = out + layout->optional;

	put32(out + layout->coff + COFF_SYMBOLS, 0);
	put32(out + layout->coff + COFF_N_SYMBOLS, 0);
	put32(optional + OPTIONAL_HEADER_BYTES, layout->header_bytes + layout->shift_bytes);
	put32(optional + OPTIONAL_CHECKSUM, 0);
	if (get32(optional + OPTIONAL_N_DIRECTORIES) > DIRECTORY_SECURITY)
		memset(optional + OPTIONAL_BYTES_MIN + DIRECTORY_SECURITY * DIRECTORY_BYTES, 0, DIRECTORY_BYTES);
	for (uint32_t i = 0; i < layout->n_sections; i++) {
		uint8_t *s = out + layout->table + i * SECTION_BYTES;

		if (get32(s + SECTION_RAW_BYTES))
			put32(s + SECTION_RAW_OFFSET, get32(s + SECTION_RAW_OFFSET) + layout->shift_bytes);
	}
}

int qmr_pe_append(const void *image, size_t size, const struct qmr_pe_section *sections, size_t n_sections,
		  uint8_t **ret_image, size_t *ret_size, struct qmr_error *err)
{
	cleanup_free uint8_t *out = NULL;
	struct layout layout = {0};
	uint32_t align;
	size_t out_size = 0;
	int r;

	r = read_headers(image, size, &layout, err);
	if (r == 0)
		r = check_alignment(&layout, size, err);
	if (r == 0)
		r = read_sections(image, size, &layout, err);
	if (r == 0)
		r = check_names(image, &layout, sections, n_sections, err);
	if (r == 0)
		r = make_room(&layout, n_sections, err);
	align = layout.section_align > PAGE_BYTES ? layout.section_align : PAGE_BYTES;
	if (r == 0)
		r = measure(&layout, sections, n_sections, align, &out_size, err);
	if (r < 0)
		return r;

	out = calloc(1, out_size);
	if (!out)
		return qmr_error_set(err, -ENOMEM, "building a PE file of %zu bytes: out of memory", out_size);
	memcpy(out, image, layout.header_bytes);
	memcpy(out + layout.header_bytes + layout.shift_bytes, (const uint8_t *)image + layout.header_bytes,
	       layout.raw_end - layout.header_bytes);
	put_headers(out, &layout);
	put_sections(out, &layout, sections, n_sections, align);
	*ret_image = out;
	out = NULL;
	*ret_size = out_size;
	return 0;
}
