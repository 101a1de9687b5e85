/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_MODULE_FILE_H
#define QMR_MODULE_FILE_H

#include <stddef.h>

#include "error.h"

#define QMR_MODULE_PATH 1024
#define QMR_MODULE_VERSION 128 /* with NUL */

/*
 * Finds a module's file for a kernel release inside the root: by modules.dep(5), else in updates/ and extra/. The path
 * is absolute inside the root. -ENOENT if there is none, -EINVAL if kernel or module cannot be names.
 */
int qmr_module_file_find(int root_fd, const char *kernel, const char *module, char ret_path[QMR_MODULE_PATH],
			 struct qmr_error *err) QMR_MUST_CHECK;

/*
 * The version that a module states (MODULE_VERSION(): "version=" in its .modinfo). -ENOENT if it states none, or a longer one; -EINVAL if it is
 * not a 64-bit ELF file, a compressed one for instance. Reads path inside the root; other errors are those of reading.
 */
int qmr_module_version_load(int root_fd, const char *path, char ret_version[QMR_MODULE_VERSION],
			    struct qmr_error *err) QMR_MUST_CHECK;

/* The same of a file's bytes. */
int qmr_module_version_find(const char *data, size_t size, char ret_version[QMR_MODULE_VERSION]) QMR_MUST_CHECK;

/* Text that paths are looked for in; release with _done. */
struct qmr_module_text {
	char *data;
	size_t size;
};

/*
 * Loads the constant and initialised data of a module (ELF sections that are loaded and not code); of a file that is
 * not 64-bit ELF all bytes. -ENOTSUP for a compressed module.
 */
int qmr_module_text_load(int root_fd, const char *path, struct qmr_module_text *ret_text,
			 struct qmr_error *err) QMR_MUST_CHECK;

/* Frees the text and zeroes it; a zeroed one is fine. */
void qmr_module_text_done(struct qmr_module_text *text);

/*
 * Whether text names a file: its path, its folder's path, or a folder further up that stands there as a whole
 * ("/opt/v", "/opt/v/", "/opt/v/%s"). Folders of one component do not count.
 */
int qmr_text_has_path(const char *text, size_t size, const char *path);

#endif
