/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any file is refused, and the defaults hold then, or gives values within their limits. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char path[] = "/dev/shm/qmr-fuzz-config.conf";
	struct qmr_config *config = calloc(1, sizeof(*config));
	FILE *f = fopen(path, "we");

	if (!f || !config || fwrite(data, 1, size, f) != size || fclose(f) != 0)
		abort();
	if (qmr_config_load(path, config, NULL) < 0 && config->mode != QMR_MODE_OBSERVE)
		abort();
	if (config->mode < QMR_MODE_OFF || config->mode > QMR_MODE_AUTOMATIC || config->final < QMR_FINAL_BOOT ||
	    config->final > QMR_FINAL_MENU || config->failures < 1 || config->failures > 10 || config->cancel_s < 0 ||
	    config->n_watch > QMR_CONFIG_PATHS_MAX || config->n_protect > QMR_CONFIG_PATHS_MAX ||
	    config->n_label > QMR_CONFIG_LABELS_MAX || config->n_minimum_age > QMR_CONFIG_LABELS_MAX || !memchr(config->upload_url, 0, sizeof(config->upload_url)))
		abort();
	(void)unlink(path);
	free(config);
	return 0;
}
