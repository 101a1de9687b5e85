/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "module-file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any file in a module's place gives text whose every byte can be read, or an error. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char path[] = "/dev/shm/qmr-fuzz-module.ko";
	int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct qmr_module_text text = {0};
	char version[QMR_MODULE_VERSION];
	FILE *f = fopen(path, "we");

	if (!f || root_fd < 0 || fwrite(data, 1, size, f) != size || fclose(f) != 0)
		abort();
	if (qmr_module_text_load(root_fd, path, &text, NULL) == 0)
		(void)qmr_text_has_path(text.data, text.size, "/opt/vendor/channels/c.bin");
	qmr_module_text_done(&text);
	if (qmr_module_version_load(root_fd, path, version, NULL) == 0 && strlen(version) >= sizeof(version))
		abort();
	(void)unlink(path);
	close(root_fd);
	return 0;
}
