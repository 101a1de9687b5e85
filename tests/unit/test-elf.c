/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cleanup.h"
#include "elf-file.h"
#include "file.h"

/* A small shared object: headers, dynamic section and strings in one segment. */
struct small {
	Elf64_Ehdr header;
	Elf64_Phdr segments[3];
	Elf64_Dyn dynamic[6];
	char strings[64];
};

#define ADDRESS 0x1000

static struct small make_small(void)
{
	struct small s = {
		.header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1},
			   .e_type = ET_DYN,
			   .e_machine = EM_X86_64,
			   .e_phoff = offsetof(struct small, segments),
			   .e_phentsize = sizeof(Elf64_Phdr),
			   .e_phnum = 3},
		.segments = {{.p_type = PT_LOAD, .p_vaddr = ADDRESS, .p_filesz = sizeof(s)},
			     {.p_type = PT_DYNAMIC,
			      .p_offset = offsetof(struct small, dynamic),
			      .p_filesz = sizeof(s.dynamic)},
			     {.p_type = PT_INTERP, .p_offset = offsetof(struct small, strings) + 29, .p_filesz = 11}},
		.dynamic = {{DT_NEEDED, {1}},
			    {DT_NEEDED, {10}},
			    {DT_STRTAB, {ADDRESS + offsetof(struct small, strings)}},
			    {DT_STRSZ, {sizeof(s.strings)}},
			    {DT_RUNPATH, {19}},
			    {DT_NULL, {0}}},
	};

	memcpy(s.strings, "\0libc.so\0\0libm.so\0\0$ORIGIN/x\0/lib/ld.so", 40);
	return s;
}

static int read_small(const struct small *s, struct qmr_elf *ret)
{
	return qmr_elf_read(s, sizeof(*s), ret, NULL);
}

static void fields(void **unused)
{
	struct small s = make_small();
	struct qmr_elf elf;

	assert_int_equal(read_small(&s, &elf), 0);
	assert_int_equal(elf.machine, EM_X86_64);
	assert_int_equal(elf.n_needed, 2);
	assert_string_equal(elf.needed[0], "libc.so");
	assert_string_equal(elf.needed[1], "libm.so");
	assert_string_equal(elf.search_path, "$ORIGIN/x");
	assert_string_equal(elf.interpreter, "/lib/ld.so");
}

/* RPATH counts only without RUNPATH (ld.so(8)). */
static void rpath(void **unused)
{
	struct small s = make_small();
	struct qmr_elf elf;

	s.dynamic[1] = (Elf64_Dyn){DT_RPATH, {1}};
	assert_int_equal(read_small(&s, &elf), 0);
	assert_string_equal(elf.search_path, "$ORIGIN/x");
	s.dynamic[4] = (Elf64_Dyn){DT_DEBUG, {0}};
	assert_int_equal(read_small(&s, &elf), 0);
	assert_string_equal(elf.search_path, "libc.so");
}

static void expect_damaged(struct small *s, const char *what)
{
	struct qmr_elf elf = {.machine = 4711};

	if (read_small(s, &elf) != -EBADMSG)
		fail_msg("%s is accepted", what);
	assert_int_equal(elf.machine, 4711);
	*s = make_small();
}

static void hostile(void **unused)
{
	struct small s = make_small();

	s.header.e_phoff = UINT64_MAX - 8;
	expect_damaged(&s, "segment headers beyond the end");
	s.header.e_phnum = 0xffff;
	expect_damaged(&s, "65535 segments");
	s.header.e_phentsize = 1;
	expect_damaged(&s, "a small segment header");
	s.segments[1].p_offset = UINT64_MAX;
	expect_damaged(&s, "a dynamic section beyond the end");
	s.segments[1].p_filesz = UINT64_MAX;
	expect_damaged(&s, "an endless dynamic section");
	s.segments[2].p_filesz = 3;
	expect_damaged(&s, "an interpreter without its end");
	s.segments[2].p_offset = sizeof(s) - 1;
	expect_damaged(&s, "an interpreter beyond the end");
	s.segments[0].p_filesz = UINT64_MAX;
	expect_damaged(&s, "a segment larger than the file");
	s.segments[0].p_offset = 16;
	expect_damaged(&s, "a segment that leads over the end");
	s.dynamic[0].d_un.d_val = UINT64_MAX;
	expect_damaged(&s, "a name beyond the strings");
	s.dynamic[3].d_un.d_val = 5;
	expect_damaged(&s, "a name longer than the strings");
	s.dynamic[2].d_un.d_val = 1;
	expect_damaged(&s, "strings in no segment");
	memset(s.strings, 'x', sizeof(s.strings));
	expect_damaged(&s, "strings without end");
}

static void others(void **unused)
{
	struct small s = make_small();
	struct qmr_elf elf;

	s.header.e_ident[EI_CLASS] = ELFCLASS32;
	assert_int_equal(read_small(&s, &elf), -ENOEXEC);
	assert_int_equal(qmr_elf_read("#!/bin/sh\n", 10, &elf, NULL), -ENOEXEC);
	assert_int_equal(qmr_elf_read("", 0, &elf, NULL), -ENOEXEC);
}

/* Cut anywhere, and with any one byte changed, it is read or refused, and the sanitizers stay silent. */
static void cut_and_changed(void **unused)
{
	struct small s = make_small();
	struct qmr_elf elf = {0};

	for (size_t size = 0; size < sizeof(s); size++) {
		cleanup_free char *copy = malloc(size + 1);

		memcpy(copy, &s, size);
		assert_true(qmr_elf_read(copy, size, &elf, NULL) < 0);
	}
	for (size_t i = 0; i < sizeof(s); i++)
		for (int bit = 0; bit < 8; bit++) {
			struct small changed = s;

			((unsigned char *)&changed)[i] ^= (unsigned char)(1 << bit);
			(void)read_small(&changed, &elf);
			assert_true(elf.n_needed <= QMR_ELF_NEEDED_MAX);
		}
}

/* This very program. */
static void real(void **unused)
{
	cleanup_close int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	cleanup_free char *data = NULL;
	struct qmr_elf elf;
	int cmocka = 0;
	size_t size;

	assert_int_equal(qmr_file_read_fd(fd, "self", 64 << 20, &data, &size, NULL), 0);
	assert_int_equal(qmr_elf_read(data, size, &elf, NULL), 0);
	assert_int_equal(elf.machine, EM_X86_64);
	assert_string_equal(elf.interpreter, "/lib64/ld-linux-x86-64.so.2");
	for (size_t i = 0; i < elf.n_needed; i++)
		cmocka |= !strncmp(elf.needed[i], "libcmocka.so", 12);
	assert_true(cmocka);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields), cmocka_unit_test(rpath),	     cmocka_unit_test(hostile),
		cmocka_unit_test(others), cmocka_unit_test(cut_and_changed), cmocka_unit_test(real),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
