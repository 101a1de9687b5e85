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
#include "file.h"

#define NAMES_MAX 4096
#define GROUPS_MAX 256
#define RECORD_BYTES 16384
#define DUMP_S 60 /* efi-pstore gives each part its own time, and writing a dump takes a while: the newest text is in the oldest part */

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

/* printk.time, with or without the caller's id behind it: kernel/printk/printk.c, print_time(). */
int64_t qmr_records_uptime(const char *text)
{
	int64_t newest = -1;

	for (const char *at = text; (at = strchr(at, '[')); at++) {
		const char *digits = at + 1 + strspn(at + 1, " ");
		size_t n = strspn(digits, "0123456789");
		int64_t seconds;

		if (n == 0 || n > 10 || digits[n] != '.' || strspn(digits + n + 1, "0123456789") != 6 || digits[n + 7] != ']')
			continue;
		seconds = strtoll(digits, NULL, 10);
		if (seconds > newest)
			newest = seconds;
	}
	return newest;
}

struct record {
	int64_t mtime_s, uptime_s;
	uint32_t text_crc32;
};

/* An oops that the machine survived is recorded too; only the head "Panic#N PartM" says that this boot ended here. */
static int is_panic(int dirfd, const char *name, struct record *ret)
{
	cleanup_close int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	static char text[RECORD_BYTES]; /* of the one thread; too large for a stack in the initramfs */
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	ret->mtime_s = st.st_mtim.tv_sec;
	ret->uptime_s = qmr_records_uptime(text);
	ret->text_crc32 = qmr_crc32(0, text, (size_t)n);
	return strncmp(text, "Panic#", 6) == 0;
}

struct group {
	uint32_t id;
	uint64_t age; /* larger is newer, within one back end */
	int64_t uptime_s;
	uint64_t first; /* the record that is named first, and its text */
	uint32_t text_crc32;
};

/* Adds a group, if it is new to the list; the newest of its messages tells when it crashed. */
static int add_group(struct group *groups, int n, const struct group *group)
{
	for (int i = 0; i < n; i++)
		if (groups[i].id == group->id) {
			if (group->uptime_s > groups[i].uptime_s)
				groups[i].uptime_s = group->uptime_s;
			if (group->first < groups[i].first) {
				groups[i].first = group->first;
				groups[i].text_crc32 = group->text_crc32;
			}
			return n;
		}
	if (n < GROUPS_MAX)
		groups[n++] = *group;
	return n;
}

/*
 * A clock without a battery begins anew at each boot, and a loop that panics at the same second makes the same names again and again: what the
 * record says, time stamps among it, tells them apart.
 */
static void add_texts(struct group *groups, int n)
{
	for (int i = 0; i < n; i++) {
		groups[i].id = qmr_crc32(groups[i].id, &groups[i].text_crc32, sizeof(groups[i].text_crc32));
		groups[i].id += groups[i].id == 0; /* 0 is none */
	}
}

static int read_groups(DIR *dir, struct group *groups)
{
	struct dirent *entry;
	int n = 0;

	for (int i = 0; i < NAMES_MAX && (entry = readdir(dir)); i++) {
		struct record record;
		struct group group;
		uint64_t id = 0;

		if (strncmp(entry->d_name, "dmesg-", 6) || !is_panic(dirfd(dir), entry->d_name, &record))
			continue;
		if (!efi_id(entry->d_name, &id))
			id = record.mtime_s > 0 ? (uint64_t)record.mtime_s * 100000 : 0;
		group = (struct group){qmr_records_group(entry->d_name, record.mtime_s), id / 100000, record.uptime_s, id, record.text_crc32};
		n = add_group(groups, n, &group);
	}
	add_texts(groups, n);
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
void qmr_records_find_new(int dirfd, struct qmr_state *state, struct qmr_evidence *ret)
{
	cleanup_closedir DIR *dir = qmr_file_open_dir(dirfd, ".");
	struct group groups[GROUPS_MAX];
	uint64_t newest = 0;
	int n, look_at;

	if (!dir)
		return;
	n = read_groups(dir, groups);
	qsort(groups, (size_t)n, sizeof(*groups), compare_newest_first);
	look_at = n > QMR_STATE_RECORDS ? 1 : n;
	for (int i = 0; i < look_at; i++) {
		if (is_known(state, groups[i].id))
			continue;
		if (!ret->panic)
			newest = groups[i].age;
		ret->panic = 1;
		if (newest - groups[i].age <= DUMP_S && groups[i].uptime_s > ret->crash_uptime_s)
			ret->crash_uptime_s = groups[i].uptime_s;
	}
	for (int i = n < QMR_STATE_RECORDS ? n - 1 : QMR_STATE_RECORDS - 1; i >= 0; i--)
		remember(state, groups[i].id);
}
