/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_CONTENT_H
#define QMR_CONTENT_H

#include "config.h"
#include "image.h"

/*
 * Adds what is neither program nor module: folders, device nodes, the few files of /etc that libraries read, the
 * configuration and trust of /etc/qmr, but its machine.conf, its secrets folder and what config names as secret.
 *
 * config_path: the file to be baked in as /etc/qmr/qmr.conf, with the conf.d beside it, outside the root; NULL takes
 * the root's own. -EKEYREJECTED names a file that holds a private key: the image lies readable on the ESP.
 */
int qmr_content_add(struct qmr_image *image, const struct qmr_config *config, const char *config_path,
		    struct qmr_error *err) QMR_MUST_CHECK;

/* Adds /etc/qmr/machine.conf made from the [machine] fields of config. */
int qmr_content_add_machine(struct qmr_image *image, const struct qmr_config *config,
			    struct qmr_error *err) QMR_MUST_CHECK;

#endif
