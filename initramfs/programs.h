/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PROGRAMS_H
#define QMR_PROGRAMS_H

#include "image.h"

/*
 * Adds the programs that recovery runs, and the libraries and the dynamic loader they need, found by reading the ELF
 * files in the root: DT_RUNPATH or DT_RPATH, the loader's standard folders, then the folders of ld.so.conf (whose
 * libraries go into a standard folder, since the image has no ld.so.cache). Nothing of the root is run.
 * -ENOENT names what is missing; -ENOEXEC a program that is no ELF file for the machine's architecture.
 */
int qmr_programs_add(struct qmr_image *image, struct qmr_error *err) QMR_MUST_CHECK;

#endif
