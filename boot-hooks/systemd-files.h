/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_SYSTEMD_FILES_H
#define QMR_SYSTEMD_FILES_H

#include <stddef.h>

#include "error.h"

/* Configuration files and units of a system on a disk, as systemd reads them; /run is left out, it is another one after each start. */

/* By priority: a file hides those of the same name behind it. */
#define QMR_SYSTEMD_FOLDERS 4
extern const char *const qmr_systemd_folders[QMR_SYSTEMD_FOLDERS];

/* One setting, without the white space around it; all of it is gone after the call. */
typedef void qmr_systemd_setting(void *data, const char *section, const char *key, const char *value);

/*
 * Calls take for each setting of a file's text (systemd.syntax(7): comments, continued lines), which is changed on the way. What is no
 * setting is passed over.
 */
void qmr_systemd_parse_settings(char *text, qmr_systemd_setting *take, void *data);

/*
 * Reads a file ("system.conf", "system/x.service") in the first folder that has it, and then its drop-ins (*.conf in NAME.d) of all folders by
 * name. A missing file says nothing; one that is a link to /dev/null hides those behind it. At most 64 drop-ins (-E2BIG) of at most
 * 64 KiB. take may have been called before a failure.
 */
int qmr_systemd_read_settings(int root_fd, const char *name, qmr_systemd_setting *take, void *data,
			      struct qmr_error *err) QMR_MUST_CHECK;

/* 1 if a file name, not a hidden one, ends so and has something before it. */
int qmr_systemd_has_suffix(const char *name, const char *suffix);

#endif
