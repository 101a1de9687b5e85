/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "records.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "crc32.h"

#define NAMES_MAX 4096

uint32_t qmr_records_group(const char *name, int64_t mtime_s)
{
	char text[300];
	uint32_t group;
	uint64_t id;

	if (sscanf(name, "dmesg-efi-%" SCNu64, &id) == 1 || sscanf(name, "dmesg-efi_pstore-%" SCNu64, &id) == 1)
		snprintf(text, sizeof(text), "efi-%" PRIu64 "-%" PRIu64, id / 100000, id % 1000);
	else
		snprintf(text, sizeof(text), "%s-%" PRId64, name, mtime_s);
	group = qmr_crc32(0, text, strlen(text));
	return group ? group : 1;
}

static int is_known(const struct qmr_state *state, uint32_t group)
{
	for (int i = 0; i < QMR_STATE_RECORDS; i++)
		if (state->records[i] == group)
			return 1;
	return 0;
}

/* An oops that the machine survived is recorded too; only the head "Panic#N PartM" says that this boot ended here. */
static int is_panic(int dirfd, const char *name, int64_t *ret_mtime_s)
{
	cleanup_close int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	char head[64];
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	n = read(fd, head, sizeof(head) - 1);
	if (n <= 0)
		return 0;
	head[n] = '\0';
	*ret_mtime_s = st.st_mtim.tv_sec;
	return strncmp(head, "Panic#", 6) == 0;
}

int qmr_records_find_new(int dirfd, struct qmr_state *state)
{
	int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *entry;
	int found = 0;

	if (!dir) {
		if (copy >= 0)
			close(copy);
		return 0;
	}
	for (int i = 0; i < NAMES_MAX && (entry = readdir(dir)); i++) {
		int64_t mtime_s = 0;
		uint32_t group;

		if (strncmp(entry->d_name, "dmesg-", 6) || !is_panic(dirfd, entry->d_name, &mtime_s))
			continue;
		group = qmr_records_group(entry->d_name, mtime_s);
		if (is_known(state, group))
			continue;
		memmove(&state->records[1], &state->records[0], sizeof(state->records) - sizeof(state->records[0]));
		state->records[0] = group;
		found = 1;
	}
	return found;
}
