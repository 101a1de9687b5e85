/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_OOPS_H
#define QMR_OOPS_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

/*
 * Reads what the kernel prints when it fails: arch/x86/kernel/dumpstack.c, arch/x86/mm/fault.c,
 * arch/arm64/kernel/traps.c, kernel/panic.c, kernel/watchdog.c, kernel/hung_task.c, kernel/rcu/tree_stall.h.
 * Any bytes may be given; what does not fit the fixed sizes is cut or dropped.
 */

#define QMR_OOPS_TRACE_MAX 64
#define QMR_OOPS_MODULES_MAX 64

enum qmr_oops_kind {
	QMR_OOPS_UNKNOWN,
	QMR_OOPS_NULL_POINTER,
	QMR_OOPS_PAGE_FAULT,
	QMR_OOPS_GENERAL_PROTECTION,
	QMR_OOPS_BUG,
	QMR_OOPS_DIVIDE_ERROR,
	QMR_OOPS_INVALID_OPCODE,
	QMR_OOPS_SOFT_LOCKUP,
	QMR_OOPS_HARD_LOCKUP,
	QMR_OOPS_RCU_STALL,
	QMR_OOPS_HUNG_TASK,
	QMR_OOPS_PANIC,
	QMR_OOPS_WARNING,
};

struct qmr_oops_symbol {
	char function[128]; /* empty: unknown */
	char module[56];    /* empty: not in a module */
	uint64_t offset, size;
	int unreliable; /* a "? " entry: found on the stack, not by unwinding */
};

struct qmr_oops_module {
	char name[56];
	char flags[12]; /* taint letters, kernel/module/main.c module_flags() */
};

struct qmr_oops {
	enum qmr_oops_kind kind;
	int panic;          /* the text holds a kernel panic */
	char summary[256];  /* the line that opened it, ASCII */
	struct qmr_oops_symbol ip;
	struct qmr_oops_symbol trace[QMR_OOPS_TRACE_MAX]; /* innermost first */
	size_t n_trace;
	struct qmr_oops_module modules[QMR_OOPS_MODULES_MAX]; /* only those with a taint letter */
	size_t n_modules;
	char kernel[64];    /* release, empty: unknown */
	int64_t uptime_ms;  /* -1: unknown */
};

/*
 * Finds what went wrong first: the first fault, since later ones are its consequences; else the lock-up a panic was
 * called for; else the panic itself; else a lock-up or a warning. -ENOENT if there is none of these, -ENOMEM.
 */
int qmr_oops_parse(const char *text, size_t size, struct qmr_oops *ret_oops, struct qmr_error *err) QMR_MUST_CHECK;

/* The word docs/incident.md uses. */
const char *qmr_oops_kind_name(enum qmr_oops_kind kind);

/* Whether a module is out of the kernel's tree (taint letter O). */
int qmr_oops_module_is_foreign(const struct qmr_oops_module *module);

#endif
