/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "systemd-files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"

#define FILE_BYTES_MAX 65536
#define DROPINS_MAX 64
#define SPACE " \t\r"

const char *const qmr_systemd_folders[QMR_SYSTEMD_FOLDERS] = {"/etc/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd",
							      "/lib/systemd"};

static int is_comment(const char *line)
{
	line += strspn(line, SPACE);
	return *line == '#' || *line == ';';
}

/* Makes one of a line that ends with a backslash and those that continue it; a comment between them is taken out. Returns its end. */
static char *join(char *line)
{
	char *end = line + strcspn(line, "\n");

	while (end > line && end[-1] == '\\' && *end) {
		end[-1] = ' ';
		do {
			size_t length = strcspn(end + 1, "\n");

			*end++ = ' ';
			if (!is_comment(end))
				break;
			memset(end, ' ', length);
			end += length;
		} while (*end);
		end += strcspn(end, "\n");
	}
	return end;
}

static char *strip(char *text)
{
	size_t length;

	text += strspn(text, SPACE);
	for (length = strlen(text); length > 0 && strchr(SPACE, text[length - 1]); length--)
		text[length - 1] = '\0';
	return text;
}

void qmr_systemd_parse_settings(char *text, qmr_systemd_setting *take, void *data)
{
	char section[64] = "", *line, *value;
	int is_last = 0;

	for (char *end; !is_last && *text; text = end + 1) {
		end = is_comment(text) ? text + strcspn(text, "\n") : join(text);
		is_last = !*end;
		*end = '\0';
		line = strip(text);
		value = strchr(line, '=');
		if (*line == '[') {
			line[strcspn(line, "]")] = '\0';
			snprintf(section, sizeof(section), "%s", line + 1);
		} else if (value && !is_comment(line)) {
			*value++ = '\0';
			take(data, section, strip(line), strip(value));
		}
	}
}

int qmr_systemd_has_suffix(const char *name, const char *suffix)
{
	size_t length = strlen(name), n = strlen(suffix);

	return length > n && name[0] != '.' && !strcmp(name + length - n, suffix);
}

/* Returns 1 if there was one. */
static int parse_file(int root_fd, const char *path, qmr_systemd_setting *take, void *data, struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	cleanup_close int fd = qmr_file_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, err);
	size_t size;
	int r;

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? 0 : fd;
	r = qmr_file_read_fd(fd, path, FILE_BYTES_MAX, &text, &size, err);
	if (r == -EINVAL)
		return 1; /* /dev/null hides what comes behind it */
	if (r == 0)
		qmr_systemd_parse_settings(text, take, data);
	return r < 0 ? r : 1;
}

struct dropin {
	char name[NAME_MAX + 1];
	size_t folder;
};

static int add_dropins(int root_fd, const char *name, size_t folder, struct dropin *dropins, size_t *n)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s.d", qmr_systemd_folders[folder], name);
	dir = qmr_file_open_dir_in_root(root_fd, path);
	while (dir && (entry = readdir(dir))) {
		size_t i = 0;

		while (i < *n && strcmp(dropins[i].name, entry->d_name))
			i++;
		if (i < *n || !qmr_systemd_has_suffix(entry->d_name, ".conf"))
			continue;
		if (*n == DROPINS_MAX)
			return -E2BIG;
		snprintf(dropins[*n].name, sizeof(dropins[*n].name), "%s", entry->d_name);
		dropins[(*n)++].folder = folder;
	}
	return 0;
}

static int compare_dropins(const void *a, const void *b)
{
	return strcmp(((const struct dropin *)a)->name, ((const struct dropin *)b)->name);
}

int qmr_systemd_read_settings(int root_fd, const char *name, qmr_systemd_setting *take, void *data, struct qmr_error *err)
{
	cleanup_free struct dropin *dropins = calloc(DROPINS_MAX, sizeof(*dropins));
	char path[PATH_MAX];
	size_t n = 0;
	int r = 0;

	if (!dropins)
		return qmr_error_set(err, -ENOMEM, "reading systemd's '%s': out of memory", name);
	for (size_t i = 0; i < QMR_SYSTEMD_FOLDERS && r == 0; i++) {
		snprintf(path, sizeof(path), "%s/%s", qmr_systemd_folders[i], name);
		r = parse_file(root_fd, path, take, data, err);
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < QMR_SYSTEMD_FOLDERS; i++)
		if (add_dropins(root_fd, name, i, dropins, &n) < 0)
			return qmr_error_set(err, -E2BIG, "systemd's '%s' has more than %d drop-ins", name, DROPINS_MAX);
	qsort(dropins, n, sizeof(*dropins), compare_dropins);
	for (size_t i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s.d/%s", qmr_systemd_folders[dropins[i].folder], name, dropins[i].name);
		r = parse_file(root_fd, path, take, data, err);
		if (r < 0)
			return r;
	}
	return 0;
}
