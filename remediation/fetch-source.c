/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "url.h"

static const struct {
	const char *begin;
	enum qmr_fetch_kind kind;
} kinds[] = {
	{"https://", QMR_FETCH_HTTPS},
	{"file:/", QMR_FETCH_FILE},
	{"media:", QMR_FETCH_MEDIA},
};

static const char *judge_folder_name(const char *name)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._";

	return !*name || name[0] == '.' || name[strspn(name, plain)]
		       ? "it names no folder of letters, digits, '-', '.' and '_'"
		       : NULL;
}

int qmr_fetch_source_parse(const char *text, enum qmr_fetch_kind *ret_kind, struct qmr_error *err)
{
	const char *why = "only https is used, file:/PATH and media:FOLDER";

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		size_t size = strlen(kinds[i].begin);

		if (strncmp(text, kinds[i].begin, size))
			continue;
		why = kinds[i].kind == QMR_FETCH_FILE ? NULL : qmr_url_judge_characters(text);
		if (!why && kinds[i].kind == QMR_FETCH_HTTPS)
			why = qmr_url_judge_server(text + size);
		if (!why && kinds[i].kind == QMR_FETCH_MEDIA)
			why = judge_folder_name(text + size);
		if (why)
			break;
		*ret_kind = kinds[i].kind;
		return 0;
	}
	return qmr_error_set(err, -EINVAL, "[repository] url '%s': %s", text, why);
}

static struct qmr_fetch_source *add(struct qmr_fetch_source *sources, size_t *n, const char *url,
				    enum qmr_fetch_kind kind)
{
	struct qmr_fetch_source *source = sources + *n;

	if (*n == QMR_FETCH_SOURCES_MAX)
		return NULL;
	memset(source, 0, sizeof(*source));
	snprintf(source->url, sizeof(source->url), "%s", url);
	source->kind = kind;
	source->folder_fd = -1;
	++*n;
	return source;
}

/* Nothing is there to be verified: as a server that does not answer. */
static void mark_missing(struct qmr_fetch_source *source, int code, const char *what)
{
	source->is_tried = source->is_out = 1;
	(void)qmr_error_set(&source->result, -ETIMEDOUT, "opening '%s': %s", what, strerror(-code));
}

static void add_folder(struct qmr_fetch_source *sources, size_t *n, const char *url)
{
	struct qmr_fetch_source *source = add(sources, n, url, QMR_FETCH_FILE);
	const char *path = url + strlen("file:");

	if (!source)
		return;
	source->folder_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (source->folder_fd < 0)
		mark_missing(source, -errno, path);
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* What lies on a stick is not trusted: the folder must be one, not a link. */
static void add_medium(struct qmr_fetch_source *sources, size_t *n, const char *media,
		       const char *name, const char *folder)
{
	cleanup_close int media_fd = open(media, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int top =
		openat(media_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int fd = top < 0 ? -1
			 : openat(top, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct qmr_fetch_source *source;
	char url[QMR_FETCH_SOURCE_BYTES];

	if (fd < 0)
		return; /* most media have no such folder */
	snprintf(url, sizeof(url), "media:%s (%.255s)", folder, name);
	source = add(sources, n, url, QMR_FETCH_MEDIA);
	if (source)
		source->folder_fd = fd;
	else
		close(fd);
}

static void add_media(struct qmr_fetch_source *sources, size_t *n, const char *url,
		      const char *media)
{
	const char *folder = url + strlen("media:");
	struct dirent **entries = NULL;
	int n_entries = scandir(media, &entries, is_visible, alphasort);
	struct qmr_fetch_source *source;
	size_t before = *n;

	for (int i = 0; i < n_entries; i++) {
		add_medium(sources, n, media, entries[i]->d_name, folder);
		free(entries[i]);
	}
	free(entries);
	if (*n > before)
		return;
	source = add(sources, n, url, QMR_FETCH_MEDIA);
	if (source) {
		mark_missing(source, -ENOENT, folder);
		(void)qmr_error_set(&source->result, -ETIMEDOUT,
				    "no file system below '%s' holds a folder '%s'", media, folder);
	}
}

int qmr_fetch_source_add(const char *url, const char *media,
			 struct qmr_fetch_source sources[QMR_FETCH_SOURCES_MAX], size_t *n,
			 struct qmr_error *err)
{
	enum qmr_fetch_kind kind;
	int r = qmr_fetch_source_parse(url, &kind, err);

	if (r < 0)
		return r;
	switch (kind) {
	case QMR_FETCH_HTTPS:
		(void)add(sources, n, url, kind); /* the configuration has fewer than fit */
		break;
	case QMR_FETCH_FILE:
		add_folder(sources, n, url);
		break;
	case QMR_FETCH_MEDIA:
		add_media(sources, n, url, media);
		break;
	}
	return 0;
}

void qmr_fetch_sources_done(struct qmr_fetch_source *sources, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (sources[i].folder_fd >= 0)
			close(sources[i].folder_fd);
}
