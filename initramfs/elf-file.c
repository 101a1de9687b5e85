/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "elf-file.h"

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define SEGMENTS_MAX 128
#define DYNAMIC_MAX 4096

struct file {
	const uint8_t *data;
	size_t size;
	Elf64_Phdr segments[SEGMENTS_MAX];
	size_t n_segments;
};

struct dynamic {
	uint64_t needed[QMR_ELF_NEEDED_MAX]; /* offsets into the string table */
	size_t n_needed;
	uint64_t strings_address, strings_bytes;
	uint64_t runpath, rpath;
	int has_runpath, has_rpath;
};

static int inside(const struct file *file, uint64_t offset, uint64_t size)
{
	return offset <= file->size && size <= file->size - offset;
}

static int damaged(struct qmr_error *err, const char *why)
{
	return qmr_error_set(err, -EBADMSG, "damaged ELF file: %s", why);
}

static Elf64_Phdr decode_segment(const uint8_t *bytes)
{
	Elf64_Phdr raw;

	memcpy(&raw, bytes, sizeof(raw));
	return (Elf64_Phdr){
		.p_type = le32toh(raw.p_type),
		.p_offset = le64toh(raw.p_offset),
		.p_vaddr = le64toh(raw.p_vaddr),
		.p_filesz = le64toh(raw.p_filesz),
	};
}

static int read_segments(struct file *file, uint16_t *ret_machine, struct qmr_error *err)
{
	Elf64_Ehdr header;
	uint64_t offset, count;

	if (file->size < sizeof(header) || memcmp(file->data, ELFMAG, SELFMAG))
		return qmr_error_set(err, -ENOEXEC, "not an ELF file");
	memcpy(&header, file->data, sizeof(header));
	if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB)
		return qmr_error_set(err, -ENOEXEC, "not a 64-bit little-endian ELF file");
	offset = le64toh(header.e_phoff);
	count = le16toh(header.e_phnum);
	if (count > SEGMENTS_MAX)
		return damaged(err, "too many segments");
	if (count && le16toh(header.e_phentsize) != sizeof(Elf64_Phdr))
		return damaged(err, "a segment header of unknown size");
	if (!inside(file, offset, count * sizeof(Elf64_Phdr)))
		return damaged(err, "segment headers beyond the end");
	for (size_t i = 0; i < count; i++)
		file->segments[i] = decode_segment(file->data + offset + i * sizeof(Elf64_Phdr));
	file->n_segments = count;
	*ret_machine = le16toh(header.e_machine);
	return 0;
}

static const Elf64_Phdr *find_segment(const struct file *file, uint32_t type)
{
	for (size_t i = 0; i < file->n_segments; i++)
		if (file->segments[i].p_type == type)
			return &file->segments[i];
	return NULL;
}

/* The file offset of an address that a PT_LOAD maps from the file; *ret_left is what the segment holds from there. */
static int find_offset(const struct file *file, uint64_t address, uint64_t *ret_offset, uint64_t *ret_left)
{
	for (size_t i = 0; i < file->n_segments; i++) {
		const Elf64_Phdr *s = &file->segments[i];

		if (s->p_type != PT_LOAD || address < s->p_vaddr || address - s->p_vaddr >= s->p_filesz)
			continue;
		if (!inside(file, s->p_offset, s->p_filesz))
			return -EBADMSG;
		*ret_offset = s->p_offset + (address - s->p_vaddr);
		*ret_left = s->p_filesz - (address - s->p_vaddr);
		return 0;
	}
	return -EBADMSG;
}

/* Copies NUL-terminated text that must end within left bytes and fit. */
static int copy_text(const uint8_t *text, uint64_t left, char *ret, size_t room)
{
	size_t length = strnlen((const char *)text, left < room ? left : room);

	if (length == left || length >= room)
		return -EBADMSG;
	memcpy(ret, text, length + 1);
	return 0;
}

static int note_dynamic(struct dynamic *dynamic, uint64_t tag, uint64_t value, struct qmr_error *err)
{
	switch (tag) {
	case DT_NEEDED:
		if (dynamic->n_needed == QMR_ELF_NEEDED_MAX)
			return damaged(err, "too many needed libraries");
		dynamic->needed[dynamic->n_needed++] = value;
		break;
	case DT_STRTAB:
		dynamic->strings_address = value;
		break;
	case DT_STRSZ:
		dynamic->strings_bytes = value;
		break;
	case DT_RUNPATH:
		dynamic->runpath = value;
		dynamic->has_runpath = 1;
		break;
	case DT_RPATH:
		dynamic->rpath = value;
		dynamic->has_rpath = 1;
		break;
	}
	return 0;
}

static int read_dynamic(const struct file *file, const Elf64_Phdr *segment, struct dynamic *dynamic,
			struct qmr_error *err)
{
	uint64_t count = segment->p_filesz / sizeof(Elf64_Dyn);

	if (!inside(file, segment->p_offset, segment->p_filesz))
		return damaged(err, "the dynamic section lies beyond the end");
	if (count > DYNAMIC_MAX)
		return damaged(err, "a dynamic section of unlikely size");
	for (uint64_t i = 0; i < count; i++) {
		Elf64_Dyn entry;
		int r;

		memcpy(&entry, file->data + segment->p_offset + i * sizeof(entry), sizeof(entry));
		if (le64toh(entry.d_tag) == DT_NULL)
			break;
		r = note_dynamic(dynamic, le64toh(entry.d_tag), le64toh(entry.d_un.d_val), err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int copy_strings(const struct file *file, const struct dynamic *dynamic, struct qmr_elf *elf,
			struct qmr_error *err)
{
	uint64_t offset, left;
	const uint8_t *strings;

	if (!dynamic->n_needed && !dynamic->has_runpath && !dynamic->has_rpath)
		return 0;
	if (find_offset(file, dynamic->strings_address, &offset, &left) < 0)
		return damaged(err, "the string table lies in no segment");
	strings = file->data + offset;
	if (dynamic->strings_bytes < left)
		left = dynamic->strings_bytes;
	for (size_t i = 0; i < dynamic->n_needed; i++) {
		uint64_t at = dynamic->needed[i];

		if (at >= left || copy_text(strings + at, left - at, elf->needed[i], sizeof(elf->needed[i])) < 0)
			return damaged(err, "the name of a needed library");
	}
	elf->n_needed = dynamic->n_needed;
	if (dynamic->has_runpath || dynamic->has_rpath) {
		uint64_t at = dynamic->has_runpath ? dynamic->runpath : dynamic->rpath;

		if (at >= left || copy_text(strings + at, left - at, elf->search_path, sizeof(elf->search_path)) < 0)
			return damaged(err, "the search path");
	}
	return 0;
}

static int read_interpreter(const struct file *file, struct qmr_elf *elf, struct qmr_error *err)
{
	const Elf64_Phdr *segment = find_segment(file, PT_INTERP);

	if (!segment)
		return 0;
	if (!inside(file, segment->p_offset, segment->p_filesz) ||
	    copy_text(file->data + segment->p_offset, segment->p_filesz, elf->interpreter,
		      sizeof(elf->interpreter)) < 0)
		return damaged(err, "the interpreter's path");
	return 0;
}

int qmr_elf_read(const void *data, size_t size, struct qmr_elf *ret_elf, struct qmr_error *err)
{
	cleanup_free struct qmr_elf *elf = calloc(1, sizeof(*elf));
	struct file file = {.data = data, .size = size};
	struct dynamic dynamic = {0};
	const Elf64_Phdr *segment;
	int r;

	if (!elf)
		return qmr_error_set(err, -ENOMEM, "reading an ELF file: out of memory");
	r = read_segments(&file, &elf->machine, err);
	if (r == 0)
		r = read_interpreter(&file, elf, err);
	if (r < 0)
		return r;
	segment = find_segment(&file, PT_DYNAMIC);
	if (segment) {
		r = read_dynamic(&file, segment, &dynamic, err);
		if (r == 0)
			r = copy_strings(&file, &dynamic, elf, err);
		if (r < 0)
			return r;
	}
	*ret_elf = *elf;
	return 0;
}
