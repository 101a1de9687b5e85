/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "loader-entries.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "file.h"
#include "uki-section.h"

#define ARCHITECTURE "x64"
#define COUNTER_DIGITS_MAX 9

static int order(long a, long b)
{
	return (a > b) - (a < b);
}

static int is_valid(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("~-^.", c));
}

/* The rules that one character alone decides. Returns 1 and sets *ret, or 0 when both or neither have it. */
static int decided_by(char c, const char *a, const char *b, int *ret)
{
	if ((*a == c) == (*b == c))
		return 0;
	*ret = *a == c ? -1 : 1;
	return 1;
}

static int is_letter(char c)
{
	return isalpha((unsigned char)c);
}

static int is_digit(char c)
{
	return isdigit((unsigned char)c);
}

/* Compares runs of digits, or of letters, at the front of both, and steps over them. */
static int compare_runs(const char **a, const char **b)
{
	int digits = is_digit(**a) || is_digit(**b);
	int (*belongs)(char) = digits ? is_digit : is_letter;
	const char *a_end = *a, *b_end = *b;
	int r;

	while (belongs(*a_end))
		a_end++;
	while (belongs(*b_end))
		b_end++;
	if (digits && (a_end == *a || b_end == *b))
		return order(a_end != *a, b_end != *b); /* numbers are newer than letters */
	while (digits && **a == '0' && *a < a_end)
		(*a)++;
	while (digits && **b == '0' && *b < b_end)
		(*b)++;
	r = digits ? order(a_end - *a, b_end - *b) : 0;
	if (r == 0)
		r = strncmp(*a, *b, (size_t)(a_end - *a < b_end - *b ? a_end - *a : b_end - *b));
	if (r == 0)
		r = order(a_end - *a, b_end - *b);
	*a = a_end;
	*b = b_end;
	return r;
}

int qmr_loader_version_compare(const char *a, const char *b)
{
	int r;

	a = a ? a : "";
	b = b ? b : "";
	for (;;) {
		while (*a && !is_valid(*a))
			a++;
		while (*b && !is_valid(*b))
			b++;
		if (decided_by('~', a, b, &r))
			return r;
		if (*a != '~' && (!*a || !*b))
			return order(*a != '\0', *b != '\0');
		if (decided_by('-', a, b, &r) || decided_by('^', a, b, &r) || decided_by('.', a, b, &r))
			return r;
		if (strchr("~-^.", *a)) {
			a++;
			b++;
			continue;
		}
		r = compare_runs(&a, &b);
		if (r != 0)
			return r;
	}
}

int qmr_loader_entry_compare(const struct qmr_loader_entry *a, const struct qmr_loader_entry *b)
{
	int r = order(a->tries_left == 0, b->tries_left == 0);

	if (r == 0)
		r = order(!a->has_sort_key, !b->has_sort_key);
	if (r == 0 && a->has_sort_key) {
		r = strcmp(a->sort_key, b->sort_key);
		if (r == 0)
			r = strcmp(a->machine_id, b->machine_id);
		if (r == 0)
			r = -qmr_loader_version_compare(a->version, b->version);
	}
	if (r == 0)
		r = -qmr_loader_version_compare(a->id, b->id);
	if (r == 0 && a->tries_left >= 0 && b->tries_left >= 0) {
		r = -order(a->tries_left, b->tries_left);
		if (r == 0)
			r = order(a->tries_done, b->tries_done);
	}
	return r;
}

/* Reads a decimal number of the counter; -1 if there is none. */
static int counter_number(const char **text)
{
	int value = 0, digits = 0;

	for (; is_digit(**text); (*text)++) {
		if (++digits > COUNTER_DIGITS_MAX)
			return -1;
		value = value * 10 + (**text - '0');
	}
	return digits ? value : -1;
}

/* The counter is the last "+" before the suffix, and nothing else may stand there. */
int qmr_loader_name_parse(const char *file, const char *suffix, struct qmr_loader_name *ret_name)
{
	size_t length = strlen(file), suffix_length = strlen(suffix);
	struct qmr_loader_name name = {.left = -1, .done = -1};
	const char *plus, *p;
	int left, done = 0;

	if (length <= suffix_length || length >= QMR_LOADER_FILE || file[0] == '.' || strcasecmp(file + length - suffix_length, suffix))
		return -EINVAL;
	name.stem = name.end = (int)(length - suffix_length);
	plus = strrchr(file, '+');
	if (plus) {
		p = plus + 1;
		left = counter_number(&p);
		if (left >= 0 && *p == '-') {
			p++;
			done = counter_number(&p);
		}
		if (left >= 0 && done >= 0 && p == file + name.end) {
			name.stem = (int)(plus - file);
			name.left = left;
			name.done = done;
		}
	}
	*ret_name = name;
	return 0;
}

static int parse_name(const char *file, const char *suffix, struct qmr_loader_entry *entry)
{
	struct qmr_loader_name name;

	if (qmr_loader_name_parse(file, suffix, &name) < 0)
		return -EINVAL;
	strcpy(entry->file, file);
	snprintf(entry->id, sizeof(entry->id), "%.*s%s", name.stem, file, file + name.end);
	for (char *p = entry->id; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	entry->tries_left = name.left;
	entry->tries_done = name.done;
	return 0;
}

/* Copies a value without blanks and quotes around it; too long is as if it were not there. */
static int copy_value(const char *from, size_t length, char *to, size_t size)
{
	while (length && isspace((unsigned char)from[length - 1]))
		length--;
	while (length && isspace((unsigned char)*from)) {
		from++;
		length--;
	}
	if (length >= 2 && (*from == '"' || *from == '\'') && from[length - 1] == *from) {
		from++;
		length -= 2;
	}
	if (length == 0 || length >= size)
		return -ENOENT;
	memcpy(to, from, length);
	to[length] = '\0';
	return 0;
}

/* Finds "key<separators>value" at the beginning of a line. The last one counts. */
static int get_value(const char *text, const char *key, const char *separators, char *to, size_t size)
{
	size_t key_length = strlen(key);
	int found = -ENOENT;

	for (size_t length; *text; text += length + (text[length] != '\0')) {
		const char *line = text;
		size_t rest;

		length = rest = strcspn(text, "\r\n");
		while (rest && (*line == ' ' || *line == '\t')) {
			line++;
			rest--;
		}
		if (rest <= key_length || strncmp(line, key, key_length) || !strchr(separators, line[key_length]))
			continue;
		if (copy_value(line + key_length + 1, rest - key_length - 1, to, size) == 0)
			found = 0;
	}
	return found;
}

int qmr_loader_os_release_get(const char *text, const char *key, char *ret_value, size_t size)
{
	return get_value(text, key, "=", ret_value, size);
}

int qmr_loader_entry_parse(const char *file, const char *text, struct qmr_loader_entry *ret_entry)
{
	struct qmr_loader_entry e = {0};
	const struct {
		const char *key;
		char *to;
		size_t size;
	} fields[] = {
		{"sort-key", e.sort_key, sizeof(e.sort_key)},
		{"machine-id", e.machine_id, sizeof(e.machine_id)},
		{"version", e.version, sizeof(e.version)},
		{"architecture", e.architecture, sizeof(e.architecture)},
		{"initrd", e.initrd, sizeof(e.initrd)},
	};

	if (parse_name(file, ".conf", &e) < 0 || !strncmp(file, "auto-", 5))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		(void)get_value(text, fields[i].key, " \t", fields[i].to, fields[i].size); /* all are optional */
	if (get_value(text, "linux", " \t", e.program, sizeof(e.program)) < 0 &&
	    get_value(text, "efi", " \t", e.program, sizeof(e.program)) < 0)
		return -EINVAL;
	if (e.architecture[0] && strcasecmp(e.architecture, ARCHITECTURE))
		return -EINVAL;
	e.has_sort_key = e.sort_key[0] != '\0';
	*ret_entry = e;
	return 0;
}

/* The first of several keys that is there. */
static int get_first(const char *text, const char *const keys[], size_t n_keys, char *to, size_t size)
{
	int r = -ENOENT;

	for (size_t i = 0; r < 0 && i < n_keys; i++)
		r = qmr_loader_os_release_get(text, keys[i], to, size);
	return r;
}

int qmr_loader_unified_parse(const char *file, const char *os_release, struct qmr_loader_entry *ret_entry)
{
	static const char *const ids[] = {"IMAGE_ID", "ID"};
	static const char *const titles[] = {"PRETTY_NAME", "NAME"};
	static const char *const versions[] = {"IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"};
	struct qmr_loader_entry e = {.unified = 1};
	char title[128];

	if (parse_name(file, ".efi", &e) < 0)
		return -EINVAL;
	e.has_sort_key = get_first(os_release, ids, 2, e.sort_key, sizeof(e.sort_key)) == 0;
	if (!e.has_sort_key && get_first(os_release, titles, 2, title, sizeof(title)) < 0)
		return -EINVAL; /* it would have no name in the menu */
	if (get_first(os_release, versions, 4, e.version, sizeof(e.version)) < 0)
		e.version[0] = '\0';
	*ret_entry = e;
	return 0;
}

char *qmr_loader_entry_add_sort_key(const char *text, const char *sort_key)
{
	const char *title = !strncmp(text, "title", 5) && isspace((unsigned char)text[5]) ? text : strstr(text, "\ntitle ");
	size_t head = 0;
	char *result;

	if (title) {
		title += *title == '\n';
		head = (size_t)(title - text) + strcspn(title, "\n");
		head += text[head] == '\n';
	}
	if (asprintf(&result, "%.*s%ssort-key %s\n%s", (int)head, text, head && text[head - 1] != '\n' ? "\n" : "", sort_key,
		     text + head) < 0)
		return NULL;
	return result;
}

static int add(struct qmr_loader_menu *menu, const struct qmr_loader_entry *entry, int place, struct qmr_error *err)
{
	if (menu->n_entries == QMR_LOADER_ENTRIES_MAX)
		return qmr_error_set(err, -E2BIG, "the boot loader has more than %d entries", QMR_LOADER_ENTRIES_MAX);
	menu->entries[menu->n_entries] = *entry;
	menu->entries[menu->n_entries++].place = place;
	return 0;
}

/* The program's path may be written with either slash; the file systems that matter ignore case. */
static int program_exists(int top, const char *program)
{
	char path[256];
	int fd;

	strcpy(path, program);
	for (char *p = path; *p; p++)
		if (*p == '\\')
			*p = '/';
	fd = qmr_file_open_in_root(top, path, O_PATH, 0, NULL);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int add_entry_file(struct qmr_loader_menu *menu, int top, int folder, const char *name, int place,
			  struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	struct qmr_loader_entry entry;
	size_t size;

	if (qmr_file_read(folder, name, QMR_LOADER_TEXT_MAX, &text, &size, NULL) < 0 ||
	    qmr_loader_entry_parse(name, text, &entry) < 0 || !program_exists(top, entry.program))
		return 0;
	return add(menu, &entry, place, err);
}

static int add_unified_file(struct qmr_loader_menu *menu, int top, int folder, const char *name, int place,
			    struct qmr_error *err)
{
	cleanup_close int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	cleanup_free char *text = NULL;
	struct qmr_loader_entry entry;

	if (fd < 0 || qmr_uki_section_read(fd, ".osrel", QMR_LOADER_TEXT_MAX, &text) < 0 ||
	    qmr_loader_unified_parse(name, text, &entry) < 0)
		return 0;
	return add(menu, &entry, place, err);
}

static int add_folder(struct qmr_loader_menu *menu, int top, const char *path, int place,
		      int (*add_file)(struct qmr_loader_menu *, int, int, const char *, int, struct qmr_error *),
		      struct qmr_error *err)
{
	cleanup_closedir DIR *dir = qmr_file_open_dir_in_root(top, path);
	struct dirent *entry;
	int r = 0;

	while (dir && r == 0 && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			r = add_file(menu, top, dirfd(dir), entry->d_name, place, err);
	return r;
}

int qmr_loader_menu_add(struct qmr_loader_menu *menu, int dirfd, int place, int loader_conf, struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	size_t size;
	int r;

	if (loader_conf && qmr_file_read(dirfd, "loader/loader.conf", QMR_LOADER_TEXT_MAX, &text, &size, NULL) == 0)
		(void)get_value(text, "default", " \t", menu->preferred, sizeof(menu->preferred));
	r = add_folder(menu, dirfd, "loader/entries", place, add_entry_file, err);
	return r < 0 ? r : add_folder(menu, dirfd, "EFI/Linux", place, add_unified_file, err);
}

int qmr_loader_menu_read(int top, int loader_conf, struct qmr_loader_menu **ret_menu, struct qmr_error *err)
{
	struct qmr_loader_menu *menu = calloc(1, sizeof(*menu));
	int r = menu ? qmr_loader_menu_add(menu, top, 0, loader_conf, err) : qmr_error_set(err, -ENOMEM, "reading boot entries: out of memory");

	if (r < 0)
		free(menu);
	else
		*ret_menu = menu;
	return r;
}

static int compare(const void *a, const void *b)
{
	return qmr_loader_entry_compare(a, b);
}

static const struct qmr_loader_entry *match(const struct qmr_loader_menu *menu, const char *pattern)
{
	for (size_t i = 0; pattern && *pattern && i < menu->n_entries; i++)
		if (fnmatch(pattern, menu->entries[i].id, FNM_CASEFOLD) == 0) /* it folds the pattern, ids are folded */
			return &menu->entries[i];
	return NULL;
}

const struct qmr_loader_entry *qmr_loader_menu_default(struct qmr_loader_menu *menu, const char *preferred)
{
	const struct qmr_loader_entry *entry;

	qsort(menu->entries, menu->n_entries, sizeof(menu->entries[0]), compare);
	entry = match(menu, preferred);
	if (!entry)
		entry = match(menu, menu->preferred);
	return entry || !menu->n_entries ? entry : &menu->entries[0];
}
