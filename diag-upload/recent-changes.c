/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "recent-changes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "change-log.h"
#include "cleanup.h"
#include "file.h"
#include "json.h"
#include "notes.h"

#define RECENT_MAX 200
#define DPKG_INFO "/var/lib/dpkg/info"
#define LIST_BYTES_MAX (8U << 20)       /* of one package */
#define LISTS_BYTES_MAX (64U << 20)     /* of all together */

/* Which of the logged packages the culprit's file belongs to. */
struct owners {
	int root_fd;
	const char *file; /* NULL: not known */
	size_t left_bytes;
	json_t *asked; /* owned; package name to boolean */
	json_t *notes;
};

static int has_line(char *text, const char *file)
{
	char *rest = text;

	for (char *line; (line = strsep(&rest, "\n"));)
		if (qmr_link_is_same_file(line, file))
			return 1;
	return 0;
}

static int list_has_file(struct owners *owners, const char *path)
{
	cleanup_close int fd = qmr_file_open_in_root(owners->root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, NULL);
	size_t max = owners->left_bytes < LIST_BYTES_MAX ? owners->left_bytes : LIST_BYTES_MAX, size;
	cleanup_free char *data = NULL;
	struct qmr_error err = {0};

	if (fd < 0)
		return 0; /* removed, or of the other form */
	if (qmr_file_read_fd(fd, path, max, &data, &size, &err) < 0) {
		qmr_note(owners->notes, "recent changes: %s", err.text);
		return 0;
	}
	owners->left_bytes -= size;
	return has_line(data, owners->file);
}

/* dpkg names the list after the package, with the architecture only where several can be installed at once (dpkg-query(1)). */
static int is_owner(struct owners *owners, const char *package)
{
	const json_t *known = json_object_get(owners->asked, package);
	char path[sizeof(DPKG_INFO) + 300];
	int is;

	if (!owners->file)
		return 0;
	if (known)
		return json_is_true(known);
	snprintf(path, sizeof(path), DPKG_INFO "/%s.list", package);
	is = list_has_file(owners, path);
	if (!is && strchr(package, ':')) {
		snprintf(path, sizeof(path), DPKG_INFO "/%.*s.list", (int)strcspn(package, ":"), package);
		is = list_has_file(owners, path);
	}
	(void)json_object_set_new(owners->asked, package, json_boolean(is)); /* without memory it is asked again */
	return is;
}

static enum qmr_link link_of(const json_t *entry, const struct qmr_linker *linker, struct owners *owners)
{
	const char *what = qmr_json_string(entry, "what"), *package = qmr_json_string(entry, "package");

	if (!strcmp(what, "file"))
		return qmr_linker_of_path(linker, qmr_json_string(entry, "path"));
	if (!strcmp(what, "package") && is_owner(owners, package))
		return QMR_LINK_PACKAGE_FILE;
	return QMR_LINK_NONE;
}

/* Only what is known is copied: the rest of an entry is whatever somebody wrote. */
static json_t *to_json(const json_t *entry, const struct qmr_logged_kind *kind, enum qmr_link link, uint64_t boots)
{
	uint64_t before = (uint64_t)json_integer_value(json_object_get(entry, "healthy_boots_before"));
	json_t *json = json_pack("{s:s}", "what", kind->what);

	for (size_t k = 0; json && kind->keys[k]; k++) {
		const char *value = qmr_json_string(entry, kind->keys[k]);

		json_object_set_new(json, kind->keys[k], value ? json_string(value) : json_null());
		if (!strcmp(kind->keys[k], "change"))
			json_object_set_new(json, "link", link ? json_string(qmr_link_name(link)) : json_null());
	}
	json_object_set(json, "restore_point", json_object_get(entry, "restore_point"));
	json_object_set(json, "first_seen_unix_s", json_object_get(entry, "first_seen_unix_s"));
	json_object_set_new(json, "healthy_boots_since", json_integer((json_int_t)(boots > before ? boots - before : 0)));
	return json;
}

/* Newest first. Those with a link have their place, the others what is left. */
static int choose(const json_t *entries, const struct qmr_linker *linker, struct owners *owners, uint64_t boots, json_t *list)
{
	size_t n = json_array_size(entries), n_linked = 0, n_unlinked = 0, places;
	cleanup_free unsigned char *links = calloc(n + 1, 1);
	int truncated = 0;

	if (!links)
		return 1;
	for (size_t i = 0; i < n; i++)
		if (qmr_logged_kind(json_array_get(entries, i))) {
			links[i] = (unsigned char)link_of(json_array_get(entries, i), linker, owners);
			n_linked += links[i] != QMR_LINK_NONE;
		}
	places = n_linked < RECENT_MAX ? RECENT_MAX - n_linked : 0;
	for (size_t i = n; i-- > 0;) {
		const json_t *entry = json_array_get(entries, i);
		const struct qmr_logged_kind *kind = qmr_logged_kind(entry);

		if (!kind)
			continue;
		if (json_array_size(list) >= RECENT_MAX || (!links[i] && n_unlinked++ >= places))
			truncated = 1;
		else if (json_array_append_new(list, to_json(entry, kind, links[i], boots)) < 0)
			truncated = 1;
	}
	return truncated;
}

json_t *qmr_recent_changes(int root_fd, const struct qmr_linker *linker, json_t *notes, int *ret_truncated)
{
	cleanup_close int folder_fd = qmr_file_open_in_root(root_fd, QMR_CHANGE_LOG_FOLDER, O_RDONLY | O_DIRECTORY, 0, NULL);
	struct owners owners = {.root_fd = root_fd,
				.file = qmr_linker_module_file(linker),
				.left_bytes = LISTS_BYTES_MAX,
				.asked = json_object(),
				.notes = notes};
	cleanup_json json_t *log = NULL, *state = NULL;
	json_t *list = json_array();
	struct qmr_error err = {0};
	int r = folder_fd < 0 ? -ENOENT : qmr_change_log_load(folder_fd, &log, &err);

	/* Without it the log's own number of boots counts. */
	if (r == 0 && qmr_change_log_load_state(folder_fd, &state, &err) < 0)
		qmr_note(notes, "recent changes: %s", err.text);
	if (r == 0 && list)
		*ret_truncated = choose(json_object_get(log, "entries"), linker, &owners,
					qmr_change_log_boots(state, log), list);
	else if (r != -ENOENT)
		qmr_note(notes, "recent changes: %s", err.text);
	json_decref(owners.asked);
	return list;
}
