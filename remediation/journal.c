/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "form.h"
#include "json.h"

#define PATH_BYTES_MAX 4000

static const char *const state_names[] = {"prepared", "committed", "undone"};
static const char *const forbidden[] = {"/proc", "/sys", "/dev", "/run", "/var/lib/qmr"};

const char *qmr_journal_state_name(int state)
{
	return state >= 0 && state < (int)(sizeof(state_names) / sizeof(*state_names))
		       ? state_names[state]
		       : "invalid";
}

uint64_t qmr_journal_undoes(const struct qmr_journal *journal)
{
	unsigned long long id;

	return sscanf(journal->plan, "undo-%llu", &id) == 1 ? id : 0;
}

void qmr_journal_done(struct qmr_journal *journal)
{
	for (size_t i = 0; i < journal->n_files; i++) {
		free(journal->files[i].path);
		qmr_node_done(&journal->files[i].old);
		qmr_node_done(&journal->files[i].new);
	}
	free(journal->files);
	memset(journal, 0, sizeof(*journal));
}

static int bad(struct qmr_error *err, const char *what)
{
	return qmr_error_set(err, -EBADMSG, "journal.json: %s", what);
}

int qmr_journal_path_is_allowed(const char *path)
{
	size_t length;

	if (!path || path[0] != '/' || strlen(path) > PATH_BYTES_MAX)
		return 0;
	for (const char *p = path; *p; p += length) {
		p++;
		length = strcspn(p, "/");
		if (length == 0 || length > 255 || !strncmp(p, "..", length > 2 ? length : 2) ||
		    (length == 1 && p[0] == '.'))
			return 0;
	}
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(*forbidden); i++) {
		length = strlen(forbidden[i]);
		if (!strncmp(path, forbidden[i], length) &&
		    (path[length] == '\0' || path[length] == '/'))
			return 0;
	}
	return 1;
}

int qmr_modules_has(const struct qmr_modules *modules, const char *name)
{
	for (size_t i = 0; i < modules->n; i++)
		if (!strcmp(modules->names[i], name))
			return 1;
	return 0;
}

int qmr_modules_equal(const struct qmr_modules *a, const struct qmr_modules *b)
{
	for (size_t i = 0; i < a->n; i++)
		if (!qmr_modules_has(b, a->names[i]))
			return 0;
	return a->n == b->n;
}

int qmr_modules_add(struct qmr_modules *modules, const char *name, struct qmr_error *err)
{
	char canonical[56];
	size_t length = strlen(name);

	if (length == 0 || length >= sizeof(canonical) ||
	    strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") !=
		    length)
		return qmr_error_set(err, -EINVAL, "'%s' is not a module's name", name);
	for (size_t i = 0; i <= length; i++)
		canonical[i] = name[i] == '-' ? '_' : name[i];
	if (qmr_modules_has(modules, canonical))
		return 0;
	if (modules->n == QMR_JOURNAL_MODULES_MAX)
		return qmr_error_set(err, -EINVAL, "more than %d blocked modules",
				     QMR_JOURNAL_MODULES_MAX);
	memcpy(modules->names[modules->n++], canonical, length + 1);
	return 0;
}

void qmr_modules_remove(struct qmr_modules *modules, const char *name)
{
	for (size_t i = 0; i < modules->n; i++) {
		if (strcmp(modules->names[i], name))
			continue;
		modules->n--;
		memmove(modules->names[i], modules->names[i + 1],
			(modules->n - i) * sizeof(*modules->names));
		return;
	}
}

static json_t *node_to_json(const struct qmr_node *node)
{
	if (node->type == QMR_NODE_FILE)
		return json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:s}", "type", "file", "mode",
				 (int)node->mode, "uid", (json_int_t)node->uid, "gid",
				 (json_int_t)node->gid, "size", (json_int_t)node->size, "mtime_ns",
				 (json_int_t)node->mtime_ns, "sha256", node->sha256);
	if (node->type == QMR_NODE_SYMLINK)
		return json_pack("{s:s, s:s, s:I, s:I}", "type", "symlink", "target", node->target,
				 "uid", (json_int_t)node->uid, "gid", (json_int_t)node->gid);
	return json_null();
}

static json_t *modules_to_json(const struct qmr_modules *modules)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < modules->n; i++)
		if (json_array_append_new(list, json_string(modules->names[i])) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

json_t *qmr_journal_to_json(const struct qmr_journal *journal)
{
	json_t *files = json_array();

	for (size_t i = 0; files && i < journal->n_files; i++) {
		const struct qmr_journal_file *file = &journal->files[i];
		json_t *entry =
			json_pack("{s:i, s:s, s:o, s:o}", "n", (int)file->n, "path", file->path,
				  "old", node_to_json(&file->old), "new", node_to_json(&file->new));

		if (json_array_append_new(files, entry) < 0) {
			json_decref(files);
			return NULL;
		}
	}
	/* Without a boot, and where it is not proven, there is no such key. */
	return json_pack("{s:i, s:I, s:s, s:s?, s:o*, s:o*, s:s, s:o, s:o, s:o}", "schema", 1, "id", (json_int_t)journal->id, "plan", journal->plan,
			 "incident", journal->incident[0] ? journal->incident : NULL, "boot",
			 journal->boot ? json_integer(journal->boot) : NULL, "proven", journal->is_proven ? json_true() : NULL, "state",
			 qmr_journal_state_name(journal->state), "files", files,
			 "block_modules", modules_to_json(&journal->block), "old_block_modules", modules_to_json(&journal->old_block));
}

static int parse_regular(const json_t *json, struct qmr_node *node, struct qmr_error *err)
{
	const char *sha256 = qmr_json_string(json, "sha256");
	json_int_t mode, size, mtime;

	if (!sha256 || !qmr_form_is_sha256(sha256))
		return bad(err, "files: sha256 is not 64 lower-case hexadecimal digits");
	if (qmr_json_get_integer(json, "mode", 0, 07777, &mode) < 0 ||
	    qmr_json_get_integer(json, "size", 0, INT64_MAX, &size) < 0 ||
	    qmr_json_get_integer(json, "mtime_ns", INT64_MIN, INT64_MAX, &mtime) < 0)
		return bad(err, "files: mode, size or mtime_ns is missing or out of range");
	node->type = QMR_NODE_FILE;
	node->mode = (uint32_t)mode;
	node->size = (uint64_t)size;
	node->mtime_ns = mtime;
	strcpy(node->sha256, sha256);
	return 0;
}

static int parse_node(const json_t *json, struct qmr_node *node, struct qmr_error *err)
{
	const char *type = qmr_json_string(json, "type"), *target = qmr_json_string(json, "target");
	json_int_t uid, gid;

	if (json_is_null(json))
		return 0;
	if (qmr_json_get_integer(json, "uid", 0, UINT32_MAX - 1, &uid) < 0 ||
	    qmr_json_get_integer(json, "gid", 0, UINT32_MAX - 1, &gid) < 0)
		return bad(err, "files: uid or gid is missing or out of range");
	node->uid = (uint32_t)uid;
	node->gid = (uint32_t)gid;
	if (type && !strcmp(type, "file"))
		return parse_regular(json, node, err);
	if (!type || strcmp(type, "symlink") || !target || !*target || strlen(target) > 4095)
		return bad(err, "files: type is neither 'file' nor 'symlink' with a target");
	node->type = QMR_NODE_SYMLINK;
	node->target = strdup(target);
	return node->target ? 0
			    : qmr_error_set(err, -ENOMEM, "reading journal.json: out of memory");
}

static int parse_file(const json_t *json, size_t index, struct qmr_journal_file *file,
		      struct qmr_error *err)
{
	const char *path = qmr_json_string(json, "path");
	json_int_t n;
	int r;

	if (qmr_json_get_integer(json, "n", (json_int_t)index + 1, (json_int_t)index + 1, &n) < 0)
		return bad(err, "files: n does not count from 1");
	if (!qmr_journal_path_is_allowed(path))
		return bad(err, "files: path is not one that a transaction may change");
	file->n = (unsigned int)n;
	file->path = strdup(path);
	if (!file->path)
		return qmr_error_set(err, -ENOMEM, "reading journal.json: out of memory");
	r = parse_node(json_object_get(json, "old"), &file->old, err);
	return r < 0 ? r : parse_node(json_object_get(json, "new"), &file->new, err);
}

static int parse_modules(const json_t *json, struct qmr_modules *modules, struct qmr_error *err)
{
	if (!json_is_array(json))
		return bad(err, "block_modules or old_block_modules is not a list");
	for (size_t i = 0; i < json_array_size(json); i++) {
		const char *name = json_string_value(json_array_get(json, i));

		if (!name || qmr_modules_add(modules, name, NULL) < 0)
			return bad(err,
				   "block_modules or old_block_modules does not hold module names");
	}
	return 0;
}

static int parse_head(const json_t *json, struct qmr_journal *journal, struct qmr_error *err)
{
	const char *plan = qmr_json_string(json, "plan"),
		   *incident = qmr_json_string(json, "incident");
	const char *state = qmr_json_string(json, "state");
	json_int_t number;

	if (qmr_json_get_integer(json, "schema", 1, 1, &number) < 0)
		return bad(err, "schema: not 1");
	if (qmr_json_get_integer(json, "id", 1, INT64_MAX, &number) < 0)
		return bad(err, "id: not a positive number");
	journal->id = (uint64_t)number;
	if (!plan || !*plan || strlen(plan) >= sizeof(journal->plan))
		return bad(err, "plan: missing or too long");
	strcpy(journal->plan, plan);
	if (incident && strlen(incident) >= sizeof(journal->incident))
		return bad(err, "incident: too long");
	strcpy(journal->incident, incident ? incident : "");
	number = 0;
	if (json_object_get(json, "boot") && qmr_json_get_integer(json, "boot", 1, UINT32_MAX, &number) < 0)
		return bad(err, "boot: not the number of a boot");
	journal->boot = (uint32_t)number;
	journal->is_proven = json_is_true(json_object_get(json, "proven"));
	for (journal->state = 0; journal->state <= QMR_JOURNAL_UNDONE; journal->state++)
		if (state && !strcmp(state, state_names[journal->state]))
			return 0;
	return bad(err, "state: not 'prepared', 'committed' or 'undone'");
}

static int parse_journal(const json_t *json, struct qmr_journal *journal, struct qmr_error *err)
{
	const json_t *files = json_object_get(json, "files");
	size_t n = json_array_size(files);
	int r = parse_head(json, journal, err);

	if (r < 0)
		return r;
	if (!json_is_array(files) || n > QMR_JOURNAL_FILES_MAX)
		return bad(err, "files: not a list, or too long");
	journal->files = calloc(n ? n : 1, sizeof(*journal->files));
	if (!journal->files)
		return qmr_error_set(err, -ENOMEM, "reading journal.json: out of memory");
	journal->n_files = n;
	for (size_t i = 0; i < n; i++) {
		r = parse_file(json_array_get(files, i), i, &journal->files[i], err);
		if (r < 0)
			return r;
	}
	r = parse_modules(json_object_get(json, "block_modules"), &journal->block, err);
	return r < 0 ? r
		     : parse_modules(json_object_get(json, "old_block_modules"),
				     &journal->old_block, err);
}

int qmr_journal_from_json(const json_t *json, struct qmr_journal *ret_journal,
			  struct qmr_error *err)
{
	struct qmr_journal journal = {0};
	int r = parse_journal(json, &journal, err);

	if (r < 0)
		qmr_journal_done(&journal);
	else
		*ret_journal = journal;
	return r;
}

int qmr_journal_load(int folder_fd, uint64_t id, struct qmr_journal *ret_journal,
		     struct qmr_error *err)
{
	cleanup_json json_t *json = NULL;
	int r = qmr_json_load(folder_fd, "journal.json", QMR_JOURNAL_BYTES_MAX, &json, err);

	if (r == -EINVAL || r == -EFBIG || r == -ELOOP)
		return err ? err->code = -EBADMSG : -EBADMSG;
	if (r < 0)
		return r;
	r = qmr_journal_from_json(json, ret_journal, err);
	if (r == 0 && ret_journal->id != id) {
		qmr_journal_done(ret_journal);
		return bad(err, "id: not that of the folder");
	}
	return r;
}

int qmr_journal_save(int folder_fd, const struct qmr_journal *journal, struct qmr_error *err)
{
	cleanup_json json_t *json = qmr_journal_to_json(journal);

	if (!json)
		return qmr_error_set(err, -ENOMEM,
				     "writing journal.json: out of memory, or a name is not UTF-8");
	return qmr_json_save(folder_fd, "journal.json", json, 0600, err);
}
