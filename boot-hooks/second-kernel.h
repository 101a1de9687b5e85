/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_SECOND_KERNEL_H
#define QMR_SECOND_KERNEL_H

#include <stddef.h>

#include "boot-state.h"

/*
 * The newest kernel, by strverscmp(3), that the root has both modules and a kernel file for, that is not first, and that the machine was
 * healthy on as far as state remembers, or that is kept ("": none is). Empty if there is none, or none whose release fits into size bytes.
 */
void qmr_second_kernel_find(int root_fd, const struct qmr_state *state, const char *first, const char *kept, char *ret_release, size_t size);

#endif
