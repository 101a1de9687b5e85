/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "second-kernel.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "crc32.h"
#include "file.h"

#define MODULES "usr/lib/modules"

static int was_healthy(const struct qmr_state *state, const char *release)
{
	uint32_t crc32 = qmr_crc32(0, release, strlen(release));
	int found = !strcmp(state->kernel, release);

	for (int i = 0; i < state->n_attempts && !found; i++)
		found = state->attempts[i].outcome == QMR_HEALTHY && state->attempts[i].kernel_crc32 == crc32;
	return found;
}

/* Kernels that are gone leave modules behind. The places are mkrecovery's. */
static int has_file(int root_fd, const char *release)
{
	static const struct {
		const char *before, *behind;
	} places[] = {{"boot/vmlinuz-", ""}, {MODULES "/", "/vmlinuz"}};
	int found = 0;

	for (size_t i = 0; i < sizeof(places) / sizeof(*places) && !found; i++) {
		char path[PATH_MAX];
		cleanup_close int fd = -1;

		snprintf(path, sizeof(path), "%s%s%s", places[i].before, release, places[i].behind);
		fd = qmr_file_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK, 0, NULL);
		found = fd >= 0;
	}
	return found;
}

void qmr_second_kernel_find(int root_fd, const struct qmr_state *state, const char *first, const char *kept, char *ret_release, size_t size)
{
	cleanup_closedir DIR *dir = qmr_file_open_dir_in_root(root_fd, MODULES);
	struct dirent *entry;

	*ret_release = '\0';
	while (dir && (entry = readdir(dir))) {
		const char *release = entry->d_name;

		if (release[0] == '.' || strlen(release) >= size || !strcmp(release, first) || strverscmp(release, ret_release) <= 0)
			continue;
		if ((was_healthy(state, release) || !strcmp(release, kept)) && has_file(root_fd, release))
			strcpy(ret_release, release);
	}
}
