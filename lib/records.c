/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "records.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "crc32.h"

#define NAMES_MAX 4096
#define GROUPS_MAX 256

static int efi_id(const char *name, uint64_t *ret_id)
{
	return sscanf(name, "dmesg-efi-%" SCNu64, ret_id) == 1 || sscanf(name, "dmesg-efi_pstore-%" SCNu64, ret_id) == 1;
}

uint32_t qmr_records_group(const char *name, int64_t mtime_s)
{
	char text[300];
	uint32_t group;
	uint64_t id;

	if (efi_id(name, &id))
		snprintf(text, sizeof(text), "efi-%" PRIu64 "-%" PRIu64, id / 100000, id % 1000);
	else
		snprintf(text, sizeof(text), "%s-%" PRId64, name, mtime_s);
	group = qmr_crc32(0, text, strlen(text));
	return group ? group : 1;
}

/* In front; what was there already moves. */
static void remember(struct qmr_state *state, uint32_t id)
{
	int at = 0;

	while (at < QMR_STATE_RECORDS - 1 && state->records[at] != id)
		at++;
	memmove(&state->records[1], &state->records[0], (size_t)at * sizeof(state->records[0]));
	state->records[0] = id;
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

struct group {
	uint32_t id;
	uint64_t age; /* larger is newer, within one back end */
};

/* Adds a group, if it is new to the list. */
static int add_group(struct group *groups, int n, uint32_t id, uint64_t age)
{
	for (int i = 0; i < n; i++)
		if (groups[i].id == id)
			return n;
	if (n < GROUPS_MAX)
		groups[n++] = (struct group){id, age};
	return n;
}

static int read_groups(DIR *dir, struct group *groups)
{
	struct dirent *entry;
	int n = 0;

	for (int i = 0; i < NAMES_MAX && (entry = readdir(dir)); i++) {
		int64_t mtime_s = 0;
		uint64_t id = 0;

		if (strncmp(entry->d_name, "dmesg-", 6) || !is_panic(dirfd(dir), entry->d_name, &mtime_s))
			continue;
		if (!efi_id(entry->d_name, &id))
			id = mtime_s > 0 ? (uint64_t)mtime_s * 100000 : 0;
		n = add_group(groups, n, qmr_records_group(entry->d_name, mtime_s), id / 100000);
	}
	return n;
}

static int compare_newest_first(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	return x->age < y->age ? 1 : x->age > y->age ? -1 : 0;
}

/*
 * A firmware that does not let go of records may have more groups than are remembered. Those forgotten would look new at every boot: then only
 * the newest one says something.
 */
int qmr_records_find_new(int dirfd, struct qmr_state *state)
{
	int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
	struct group groups[GROUPS_MAX];
	int n, look_at, found = 0;

	if (!dir) {
		if (copy >= 0)
			close(copy);
		return 0;
	}
	n = read_groups(dir, groups);
	qsort(groups, (size_t)n, sizeof(*groups), compare_newest_first);
	look_at = n > QMR_STATE_RECORDS ? 1 : n;
	for (int i = 0; i < look_at; i++)
		found |= !is_known(state, groups[i].id);
	for (int i = n < QMR_STATE_RECORDS ? n - 1 : QMR_STATE_RECORDS - 1; i >= 0; i--)
		remember(state, groups[i].id);
	return found;
}
