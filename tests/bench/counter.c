/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mark.h"

/*
 * A plugin of QEMU's that counts the instructions of a guest with one processor, all of them: firmware, kernel and programs. Where the guest
 * runs mark.c, the count so far goes into a file: a number of 64 bits for each mark, behind the count itself and the number of marks.
 * https://www.qemu.org/docs/master/devel/tcg-plugins.html; Debian 12 ships the interface of QEMU 7.2 without its header.
 */
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void translated(uint64_t plugin, struct qemu_plugin_tb *tb);
typedef void executed(unsigned int processor, void *data);
enum { INLINE_ADD_U64 = 0, CB_NO_REGS = 0 };
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t number);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t plugin, translated *call);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int operation, void *at, uint64_t value);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, executed *call, int flags, void *data);

#define MARKS 510

int qemu_plugin_version = 1;
int qemu_plugin_install(uint64_t plugin, const void *info, int argc, char **argv);

static struct counts {
	uint64_t instructions, n_marks, marks[MARKS];
} *counts;

static void mark(unsigned int processor, void *data)
{
	if (counts->n_marks < MARKS)
		counts->marks[counts->n_marks++] = counts->instructions;
}

/* A block counts as a whole when it is entered: those that a page fault leaves in the middle are counted again from there on. */
static void count(uint64_t plugin, struct qemu_plugin_tb *tb)
{
	static const unsigned char marking[] = {QMR_MARK_BYTES};
	size_t n = qemu_plugin_tb_n_insns(tb);

	qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &counts->instructions, n);
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (qemu_plugin_insn_size(insn) == sizeof(marking) && !memcmp(qemu_plugin_insn_data(insn), marking, sizeof(marking)))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, mark, CB_NO_REGS, NULL);
	}
}

/* Its argument: out=FILE */
int qemu_plugin_install(uint64_t plugin, const void *info, int argc, char **argv)
{
	int fd = argc == 1 && !strncmp(argv[0], "out=", 4) ? open(argv[0] + 4, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;

	if (fd < 0 || ftruncate(fd, sizeof(*counts)) < 0)
		return -1;
	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (counts == MAP_FAILED)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(plugin, count);
	return 0;
}
