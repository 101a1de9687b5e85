/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "history.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "uuid.h"

#define LINE_BYTES 400
#define FOLDER_BYTES 512

/* All of it is numbers and words of ours: nothing has to be quoted. Returns the length of the part that tells the attempt from others. */
static size_t format_line(const uint8_t root[16], const struct qmr_attempt *a, char ret_line[LINE_BYTES])
{
	char id[QMR_UUID_TEXT];
	int key;

	qmr_uuid_format(root, id);
	key = snprintf(ret_line, LINE_BYTES, "{\"schema\":1,\"root\":\"%s\",\"number\":%" PRIu32 ",\"started_unix_s\":%" PRIu64 ",", id,
		       a->number, a->started_unix_s);
	snprintf(ret_line + key, LINE_BYTES - (size_t)key,
		 "\"outcome\":\"%s\",\"phase\":\"%s\",\"evidence\":\"%s\",\"flags\":%d,\"uptime_s\":%" PRIu32 ",\"kernel_crc32\":%" PRIu32
		 "}\n", qmr_outcome_name(a->outcome), qmr_phase_name(a->phase), qmr_evidence_name(a->evidence), a->flags, a->uptime_s,
		 a->kernel_crc32);
	return (size_t)key;
}

static const char *next_line(const char *line)
{
	const char *end = strchr(line, '\n');

	return end ? end + 1 : line + strlen(line);
}

static int has_line(const char *text, const char *begin, size_t length)
{
	for (const char *line = text; *line; line = next_line(line))
		if (!strncmp(line, begin, length))
			return 1;
	return 0;
}

/* The end of text that begins a line and has at most n lines. */
static const char *last_lines(const char *text, size_t n)
{
	size_t lines = 0;

	for (const char *line = text; *line; line = next_line(line))
		lines++;
	for (; lines > n; lines--)
		text = next_line(text);
	return text;
}

static int make_folder(const char *path, struct qmr_error *err)
{
	const char *slash = strrchr(path, '/');
	char folder[FOLDER_BYTES];

	if (!slash || slash == path)
		return 0;
	if (snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path) >= (int)sizeof(folder))
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", path);
	return qmr_file_mkdirs(AT_FDCWD, folder, 0700, err);
}

static int write_all(const char *path, const char *old, const char *added, size_t n_added, struct qmr_error *err)
{
	const char *kept = last_lines(old, QMR_HISTORY_LINES - n_added);
	cleanup_free char *all = NULL;
	int r = make_folder(path, err), n;

	if (r < 0)
		return r;
	/* Whoever edited it may have left the last line without its end. */
	n = asprintf(&all, "%s%s%s", kept, *kept && kept[strlen(kept) - 1] != '\n' ? "\n" : "", added);
	if (n < 0) {
		all = NULL;
		return qmr_error_set(err, -ENOMEM, "writing '%s': out of memory", path);
	}
	return qmr_file_replace(AT_FDCWD, path, all, (size_t)n, 0600, err);
}

int qmr_history_append(const char *path, const struct qmr_state *state, struct qmr_error *err)
{
	char added[QMR_STATE_ATTEMPTS * LINE_BYTES] = "", line[LINE_BYTES];
	cleanup_free char *old = NULL;
	size_t size, n_added = 0;
	int r = qmr_file_read(AT_FDCWD, path, QMR_HISTORY_BYTES_MAX, &old, &size, err);

	if (r < 0 && r != -ENOENT && r != -EFBIG)
		return r;
	for (int i = state->n_attempts - 1; i > 0; i--) {
		size_t key = format_line(state->root, &state->attempts[i], line);

		if (old && has_line(old, line, key))
			continue;
		strcat(added, line);
		n_added++;
	}
	return n_added ? write_all(path, old ? old : "", added, n_added, err) : 0;
}
