/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "loader-tries.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"

#define TRIES_MAX 99 /* of a name that says more nobody has made it by counting */

static const struct {
	const char *folder, *suffix;
} places[] = {{"loader/entries", ".conf"}, {"EFI/Linux", ".efi"}}; /* by struct qmr_loader_entry.unified */

static const char *suffix_of(const char *file)
{
	size_t length = strlen(file);

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++)
		if (length > strlen(places[i].suffix) && !strcasecmp(file + length - strlen(places[i].suffix), places[i].suffix))
			return places[i].suffix;
	return NULL;
}

int qmr_loader_name_count(const char *file, int left, int done, char ret_name[QMR_LOADER_FILE])
{
	struct qmr_loader_name name;
	const char *suffix = suffix_of(file);
	char counter[32] = "";
	int r = suffix ? qmr_loader_name_parse(file, suffix, &name) : -EINVAL;

	if (r < 0)
		return r;
	if (left >= 0 && done > 0)
		snprintf(counter, sizeof(counter), "+%d-%d", left, done);
	else if (left >= 0)
		snprintf(counter, sizeof(counter), "+%d", left);
	if (snprintf(ret_name, QMR_LOADER_FILE, "%.*s%s%s", name.stem, file, counter, file + name.end) >= QMR_LOADER_FILE)
		return -ENAMETOOLONG;
	return 0;
}

int qmr_loader_entry_is_recovery(const struct qmr_loader_entry *entry)
{
	return !strncasecmp(entry->id, QMR_LOADER_RECOVERY, strlen(QMR_LOADER_RECOVERY));
}

int qmr_loader_entry_is_own(const struct qmr_loader_entry *entry, const struct qmr_loader_own *own)
{
	if (qmr_loader_entry_is_recovery(entry))
		return 0;
	if (*own->booted && !strcasecmp(entry->id, own->booted))
		return 1;
	return !entry->unified && *own->machine_id && !strcasecmp(entry->machine_id, own->machine_id);
}

/* The same path, whatever slashes it is written with; FAT ignores case. Ends at a blank. */
static int is_same_path(const char *a, const char *b)
{
	a += strspn(a, "/\\");
	b += strspn(b, "/\\");
	for (; *a && !isspace((unsigned char)*a) && *b && !isspace((unsigned char)*b); a++, b++) {
		char from = *a == '\\' ? '/' : *a, to = *b == '\\' ? '/' : *b;

		if (tolower((unsigned char)from) != tolower((unsigned char)to))
			return 0;
	}
	return (!*a || isspace((unsigned char)*a)) && (!*b || isspace((unsigned char)*b));
}

int qmr_loader_entry_is_on_cmdline(const struct qmr_loader_entry *entry, const char *cmdline)
{
	static const char key[] = "initrd=";

	if (entry->unified || !entry->initrd[0] || qmr_loader_entry_is_recovery(entry))
		return 0;
	for (const char *word = cmdline; (word = strstr(word, key)); word += sizeof(key) - 1)
		if ((word == cmdline || isspace((unsigned char)word[-1])) && is_same_path(word + sizeof(key) - 1, entry->initrd))
			return 1;
	return 0;
}

static int open_folder(int top, const char *folder, struct qmr_error *err)
{
	int fd = qmr_file_open_in_root(top, folder, O_RDONLY | O_DIRECTORY, 0, NULL);

	return fd < 0 ? qmr_error_errno(err, fd, "opening '%s' of the ESP", folder) : fd;
}

static int has_same_text(int fd, const char *a, const char *b)
{
	cleanup_free char *a_text = NULL, *b_text = NULL;
	size_t a_size, b_size;

	return qmr_file_read(fd, a, QMR_LOADER_TEXT_MAX, &a_text, &a_size, NULL) == 0 &&
	       qmr_file_read(fd, b, QMR_LOADER_TEXT_MAX, &b_text, &b_size, NULL) == 0 && a_size == b_size && a_size &&
	       !memcmp(a_text, b_text, a_size);
}

/* 1 renamed, 0 it has that name already. */
static int set_counter(int fd, const char *file, int left, int done, struct qmr_error *err)
{
	char name[QMR_LOADER_FILE];
	int r = qmr_loader_name_count(file, left, done, name);

	if (r < 0)
		return qmr_error_errno(err, r, "counting '%s'", file);
	if (!strcmp(file, name))
		return 0;
	r = qmr_file_rename_on_fat(fd, file, name, err);
	if (r != -EEXIST || !has_same_text(fd, file, name))
		return r < 0 ? r : 1;
	/* kernel-install(8) writes a kernel's entry anew under its full count and does not look for a used one. */
	if (unlinkat(fd, file, 0) < 0 || fsync(fd) < 0)
		return qmr_error_errno(err, -errno, "removing '%s', which '%s' stands for", file, name);
	return 1;
}

/* "\loader\entries\FILE" or "\EFI\Linux\FILE": which of places it is, and the file; -1 if it is none. */
static int parse_path(const char *path, const char **ret_file, struct qmr_loader_name *ret_name)
{
	const char *file = strrchr(path, '\\');

	for (int i = 0; file && *path == '\\' && i < (int)(sizeof(places) / sizeof(*places)); i++) {
		char folder[32];

		snprintf(folder, sizeof(folder), "%.*s", (int)(file - path > 0 ? file - path - 1 : 0), path + 1);
		for (char *p = folder; *p; p++)
			if (*p == '\\')
				*p = '/';
		if (strcasecmp(folder, places[i].folder) || strchr(file, '/') ||
		    qmr_loader_name_parse(file + 1, places[i].suffix, ret_name) < 0 || ret_name->left < 0)
			continue;
		*ret_file = file + 1;
		return i;
	}
	return -1;
}

int qmr_loader_path_left(const char *path)
{
	struct qmr_loader_name name;
	const char *file;

	return parse_path(path, &file, &name) < 0 ? -1 : name.left;
}

int qmr_loader_renew(int top, const char *path, int tries, struct qmr_error *err)
{
	cleanup_close int fd = -1;
	struct qmr_loader_name name;
	char full[QMR_LOADER_FILE];
	const char *file = NULL;
	int place = parse_path(path, &file, &name);

	if (place < 0 || qmr_loader_name_count(file, tries, 0, full) < 0)
		return qmr_error_set(err, -EINVAL, "the firmware names '%s' as the counted entry, which is none", path);
	fd = open_folder(top, places[place].folder, err);
	if (fd < 0)
		return fd;
	if (faccessat(fd, file, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && faccessat(fd, full, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return set_counter(fd, file, tries, 0, err);
}

/* What an entry's counter should be; left -1 without, both as they are where nothing is to be changed. */
typedef void plan_counter(const struct qmr_loader_entry *entry, const void *context, int *left, int *done);

/* Only looks where ret_file is given: the number of entries that are not as planned, and one of them. */
static int go_through(int top, plan_counter *plan, const void *context, char *ret_file, struct qmr_error *err)
{
	cleanup_free struct qmr_loader_menu *menu = NULL;
	int changed = 0, r = qmr_loader_menu_read(top, 0, &menu, err);

	for (size_t i = 0; r >= 0 && i < menu->n_entries; i++) {
		const struct qmr_loader_entry *e = &menu->entries[i];
		int left = e->tries_left, done = e->tries_done;
		cleanup_close int fd = -1;

		plan(e, context, &left, &done);
		if (qmr_loader_entry_is_recovery(e) || (left == e->tries_left && done == e->tries_done))
			continue;
		if (ret_file) {
			snprintf(ret_file, QMR_LOADER_FILE, "%s", e->file);
			changed++;
			continue;
		}
		fd = open_folder(top, places[e->unified].folder, err);
		r = fd < 0 ? fd : set_counter(fd, e->file, left, done, err);
		changed += r > 0;
	}
	return r < 0 ? r : changed;
}

struct counting {
	const struct qmr_loader_own *own;
	int tries;
};

static void plan_counting(const struct qmr_loader_entry *entry, const void *context, int *left, int *done)
{
	const struct counting *c = context;

	/* What is used up stays last: a kernel that does not start must not become the everyday one because the counters are taken away or renewed. */
	if (*left == 0)
		return;
	/* Of another full count is what was made by another configuration. */
	if (qmr_loader_entry_is_own(entry, c->own) && (c->tries == 0 || *left < 0 || *left + *done != c->tries)) {
		*left = c->tries ? c->tries : -1;
		*done = c->tries ? 0 : -1;
	}
}

int qmr_loader_count_entries(int top, const struct qmr_loader_own *own, int tries, struct qmr_error *err)
{
	const struct counting context = {own, tries};

	return go_through(top, plan_counting, &context, NULL, err);
}

int qmr_loader_count_missing(int top, const struct qmr_loader_own *own, int tries, char ret_file[QMR_LOADER_FILE],
			     struct qmr_error *err)
{
	const struct counting context = {own, tries};

	return go_through(top, plan_counting, &context, ret_file, err);
}

struct started {
	const char *cmdline;
	int tries;
};

static void plan_started(const struct qmr_loader_entry *entry, const void *context, int *left, int *done)
{
	const struct started *s = context;

	if (*done > 0 && qmr_loader_entry_is_on_cmdline(entry, s->cmdline)) {
		*left = s->tries;
		*done = 0;
	}
}

int qmr_loader_renew_started(int top, const char *cmdline, int tries, struct qmr_error *err)
{
	const struct started context = {cmdline, tries};

	return go_through(top, plan_started, &context, NULL, err);
}

static int is_exhausted(const struct qmr_loader_menu *menu)
{
	for (size_t i = 0; i < menu->n_entries; i++)
		if (!qmr_loader_entry_is_recovery(&menu->entries[i]) && menu->entries[i].tries_left != 0)
			return 0;
	return 1;
}

int qmr_loader_is_exhausted(int top, struct qmr_error *err)
{
	cleanup_free struct qmr_loader_menu *menu = NULL;
	int r = qmr_loader_menu_read(top, 0, &menu, err);

	return r < 0 ? r : is_exhausted(menu);
}

static int full_count(const struct qmr_loader_entry *entry, int tries)
{
	int said = entry->tries_left > TRIES_MAX || entry->tries_done > TRIES_MAX ? TRIES_MAX : entry->tries_left + entry->tries_done;

	return tries > 0 ? tries : said;
}

static void plan_full(const struct qmr_loader_entry *entry, const void *context, int *left, int *done)
{
	if (*left >= 0 && *done > 0) {
		*left = full_count(entry, *(const int *)context);
		*done = 0;
	}
}

/* The sum stays what it was: nobody has to remember it. */
static void plan_one(const struct qmr_loader_entry *entry, const void *context, int *left, int *done)
{
	if (*left == 0) {
		*left = 1;
		*done = full_count(entry, *(const int *)context) - 1;
	}
}

int qmr_loader_restore(int top, int tries, int is_last, struct qmr_error *err)
{
	int r = is_last ? qmr_loader_is_exhausted(top, err) : 1;

	return r <= 0 ? r : go_through(top, is_last ? plan_one : plan_full, &tries, NULL, err);
}
