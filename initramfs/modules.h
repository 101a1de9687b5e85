/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_MODULES_H
#define QMR_MODULES_H

#include <stddef.h>

#include "image.h"

/*
 * Adds the modules of the table (module-table.h) and all they depend on to the image, with the indexes libkmod needs,
 * reduced to those modules, and the firmware that network modules name where the root has it. Needs no running kernel of
 * that release; compressed modules stay as they are. *ret_modules and *ret_firmware are counts.
 *
 * -ENOENT if the root has no modules for the release, -EBADMSG if none of the table's is among them.
 */
int qmr_modules_add(struct qmr_image *image, const char *release, size_t *ret_modules, size_t *ret_firmware,
		    struct qmr_error *err) QMR_MUST_CHECK;

#endif
