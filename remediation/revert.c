/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "engine.h"
#include "file.h"
#include "json.h"
#include "log.h"
#include "restore-point.h"


struct revert {
	int root_fd;
	struct qmr_restore_point point;
	struct qmr_changes *changes;
	size_t n_linked;
};

static int load_point(struct revert *revert, const json_t *incident, struct qmr_error *err)
{
	const json_t *id = json_object_get(incident, "restore_point");

	if (!json_is_integer(id) || json_integer_value(id) <= 0)
		return qmr_error_set(err, -EBADMSG, "the incident names no restore point");
	return qmr_restore_point_load(revert->root_fd, (uint64_t)json_integer_value(id),
				      &revert->point, err);
}

/* A remediation's own block list is no part of the fault, though its text names the culprit. */
static int is_own(const char *path)
{
	static const char prefix[] = "/etc/modprobe.d/qmr-block-";

	return !strncmp(path, prefix, sizeof(prefix) - 1);
}

static int remove_added(struct revert *revert, const char *path, const char *sha256,
			struct qmr_error *err)
{
	struct qmr_node now, nothing = {0};
	int r, other;

	if (qmr_restore_point_was_skipped(&revert->point, path)) {
		qmr_warning(
			"reverting '%s': the restore point left it out, so it is not new; it stays",
			path);
		return 0;
	}
	if (qmr_restore_point_find(&revert->point, path))
		return qmr_error_set(err, -EBADMSG,
				     "'%s' is 'added', but the restore point holds it", path);
	r = qmr_node_read(revert->root_fd, path, &now, err);
	if (r < 0)
		return r;
	other = sha256 && now.type == QMR_NODE_FILE && strcmp(now.sha256, sha256);
	qmr_node_done(&now);
	if (other)
		return qmr_error_set(err, -EBADMSG, "'%s' is not what the incident saw any more",
				     path);
	revert->n_linked++;
	return qmr_changes_add(revert->changes, path, &nothing, NULL, NULL, err);
}

static int bring_back(struct revert *revert, const char *path, const char *sha256,
		      struct qmr_error *err)
{
	const struct qmr_saved_file *file = qmr_restore_point_find(&revert->point, path);

	if (!file)
		return qmr_error_set(err, -EBADMSG, "restore point %llu does not hold '%s'",
				     (unsigned long long)revert->point.id, path);
	if (sha256 && file->sha256[0] && strcmp(sha256, file->sha256))
		return qmr_error_set(
			err, -EBADMSG,
			"restore point %llu holds '%s' with another hash than the incident says",
			(unsigned long long)revert->point.id, path);
	revert->n_linked++;
	return qmr_engine_add_saved(revert->point.id, file, revert->changes, err);
}

static int revert_one(struct revert *revert, const json_t *entry, struct qmr_error *err)
{
	const char *path = qmr_json_string(entry, "path"),
		   *change = qmr_json_string(entry, "change");

	if (!qmr_json_string(entry, "link") || (path && is_own(path)))
		return 0;
	if (!path || !change)
		return qmr_error_set(err, -EBADMSG, "changes: a linked one has no path or kind");
	if (!strcmp(change, "added"))
		return remove_added(revert, path, qmr_json_string(entry, "new_sha256"), err);
	if (!strcmp(change, "modified") || !strcmp(change, "removed"))
		return bring_back(revert, path, qmr_json_string(entry, "old_sha256"), err);
	return qmr_error_set(err, -EBADMSG, "changes: '%s' of '%s' is unknown", change, path);
}

static int has_linked(const json_t *changes)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (changes, i, entry)
		if (qmr_json_string(entry, "link"))
			return 1;
	return 0;
}

int qmr_revert_plan(int root_fd, const json_t *incident, struct qmr_changes *changes,
		    struct qmr_error *err)
{
	const json_t *list = json_object_get(incident, "changes"), *entry;
	struct revert revert = {.root_fd = root_fd, .changes = changes};
	size_t i;
	int r;

	if (!has_linked(list))
		return qmr_error_set(err, -ENOENT, "no change is linked to the culprit");
	r = load_point(&revert, incident, err);
	if (r == -ENOENT)
		r = qmr_error_set(err, -EBADMSG, "the restore point of the incident is gone");
	json_array_foreach (list, i, entry)
		if (r == 0)
			r = revert_one(&revert, entry, err);
	if (r == 0 && !revert.n_linked)
		r = qmr_error_set(err, -ENOENT,
				  "no change that is linked to the culprit can be reverted");
	qmr_restore_point_done(&revert.point);
	return r;
}
