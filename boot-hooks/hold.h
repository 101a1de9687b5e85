/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_HOLD_H
#define QMR_HOLD_H

/*
 * Why a machine that does not get on must not be restarted now: somebody is asked or at work, or something runs that takes its time and
 * must not be cut. NULL if nothing speaks against it; static text otherwise. root_fd: "/" (tests: a tree that looks like it).
 * Reads /run and /proc, at most some thousand names.
 */
const char *qmr_hold_find(int root_fd);

/* The part of it that is about people alone: a session of a user, by systemd-logind or utmp(5). */
const char *qmr_hold_find_person(int root_fd);

/* 1 if somebody is asked for a passphrase (systemd's Password Agents specification). */
int qmr_hold_is_asked(int root_fd);

/*
 * 1 if a crypttab(5), or the copy in an initramfs of cryptsetup-initramfs, has a disk whose key somebody may be asked for: none in a file, or
 * one that a script gets. text is changed.
 */
int qmr_hold_will_ask(char *text);

/* 1 if one of these disks is there, and was not opened: nobody gave its key. text is changed. */
int qmr_hold_is_locked(int root_fd, char *text);

#endif
