/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FETCH_SANDBOX_H
#define QMR_FETCH_SANDBOX_H

#include <sys/types.h>

#include "error.h"

/* The descriptors that are left open, see below. */
#define QMR_SANDBOX_FD 3
#define QMR_SANDBOX_FOLDER_FD 4

/*
 * Takes from this process all that downloading and verifying does not need; there is no way back.
 * Call it in a forked child with one thread, before the first byte from the network is read. Then:
 *
 * - keep_fd is QMR_SANDBOX_FD, folder_fd, if it is not negative, QMR_SANDBOX_FOLDER_FD, 0 to 2 are
 * /dev/null, all other descriptors are closed;
 * - there is no capability and no way to a new one (no_new_privs); started as root, user and group
 * are 65533, which nothing else has, and there are no further groups;
 * - memory, processor time, open descriptors and, started as root, the processes of that user are
 * limited, files cannot grow, cores are not dumped;
 * - where the kernel has Landlock, only what name resolution and the dynamic linker read can be
 * read, or, with a folder, only that one;
 * - no memory is both writable and executable, and none becomes executable that was not mapped so;
 * - system calls outside a list fail with EPERM: no file can be opened for writing, made, removed
 * or renamed, nothing is executed, no process but threads is made, none can be traced or signalled,
 * nothing is mounted; sockets are IPv4, IPv6 or routing netlink, and none listens; with a
 * folder there are none;
 * - the process ends when its parent, the process parent, does.
 *
 * Threads, getaddrinfo(), libcurl and OpenSSL work. On failure part of this may be done: the
 * process must end.
 */
int qmr_sandbox_enter(int keep_fd, int folder_fd, pid_t parent, struct qmr_error *err) QMR_MUST_CHECK;

#endif
