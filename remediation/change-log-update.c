/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "change-log-update.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "change-log.h"
#include "cleanup.h"
#include "file.h"
#include "json.h"
#include "log.h"
#include "package-log.h"

int qmr_change_log_add(struct qmr_change_log_state *state, json_t *entry, struct qmr_error *err)
{
	if (!entry || json_object_set_new(entry, "restore_point", json_integer((json_int_t)state->run->newest)) < 0 ||
	    json_object_set_new(entry, "first_seen_unix_s", json_integer((json_int_t)time(NULL))) < 0 ||
	    json_object_set_new(entry, "healthy_boots_before", json_integer((json_int_t)state->boots)) < 0) {
		json_decref(entry);
		return qmr_error_set(err, -ENOMEM, "noting a change: out of memory");
	}
	if (json_array_size(state->found) >= QMR_CHANGE_LOG_ENTRIES_MAX) {
		(void)json_array_remove(state->found, 0); /* it has one */
		state->dropped++;
	}
	return json_array_append_new(state->found, entry) < 0 ? qmr_error_set(err, -ENOMEM, "noting a change: out of memory") : 0;
}

int qmr_change_log_set(struct qmr_change_log_state *state, const char *key, json_t *value, struct qmr_error *err)
{
	if (value && json_equal(value, json_object_get(state->where, key))) {
		json_decref(value);
		return 0;
	}
	state->changed = 1;
	return json_object_set_new(state->where, key, value) < 0 ? qmr_error_set(err, -ENOMEM, "noting %s: out of memory", key)
								 : 0;
}

static json_int_t number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* Loads the log once. If a cut came between it and where, its last entries are going to be found again: they go. */
static int need_log(struct qmr_change_log_state *state, struct qmr_error *err)
{
	json_t *entries;
	int r = state->log ? 0 : qmr_change_log_load(state->folder_fd, &state->log, err);

	if (r < 0 && !qmr_change_log_is_damage(r))
		return r;
	if (r < 0 && r != -ENOENT)
		qmr_warning("reading the change log: %s; it starts anew", err->text);
	if (r < 0)
		state->log = json_pack("{s:i, s:i, s:i, s:i, s:i, s:[]}", "schema", 1, "healthy_boots", 0, "generation", 0, "new", 0,
				       "dropped", 0, "entries");
	if (!state->log)
		return qmr_error_set(err, -ENOMEM, "reading the change log: out of memory");
	entries = json_object_get(state->log, "entries");
	if (json_object_get(state->where, "generation") && number(state->log, "generation") > number(state->where, "generation")) {
		for (json_int_t n = number(state->log, "new"); n > 0 && json_array_size(entries); n--)
			(void)json_array_remove(entries, json_array_size(entries) - 1); /* it has one */
		json_object_set(state->log, "generation", json_object_get(state->where, "generation"));
	}
	return 0;
}

static json_t *text_or_null(const char *text)
{
	return text && *text ? json_string(text) : json_null();
}

json_t *qmr_change_log_file(const char *what, const char *path, const char *change, const char *old_sha256,
			    const char *new_sha256)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:o}", "what", what, "path", path, "change", change, "old_sha256",
			 text_or_null(old_sha256), "new_sha256", text_or_null(new_sha256));
}


static int is_text(const json_t *entry, const char *key, const char *text)
{
	const char *value = qmr_json_string(entry, key);

	return !strcmp(value ? value : "", text);
}

static int is_noted(const json_t *entries, const struct qmr_package_change *change)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (entries, i, entry)
		if (is_text(entry, "time", change->time) && is_text(entry, "package", change->package) &&
		    is_text(entry, "change", change->action) && is_text(entry, "from", change->from) &&
		    is_text(entry, "to", change->to))
			return 1;
	return 0;
}

/* After its position was lost a log may give lines again: each is noted once. */
static int note_package(void *user, const struct qmr_package_change *change, struct qmr_error *err)
{
	struct qmr_change_log_state *state = user;
	int r = need_log(state, err);

	if (r < 0 || is_noted(json_object_get(state->log, "entries"), change) || is_noted(state->found, change))
		return r;
	return qmr_change_log_add(state,
				  json_pack("{s:s, s:s, s:s, s:o, s:o, s:s}", "what", "package", "package", change->package,
					    "change", change->action, "from", text_or_null(change->from), "to",
					    text_or_null(change->to), "time", change->time),
				  err);
}

static int note_packages(struct qmr_change_log_state *state, struct qmr_error *err)
{
	const json_t *known = json_object_get(state->where, "packages");
	cleanup_json json_t *positions = json_object();

	for (size_t i = 0; i < qmr_n_package_logs; i++) {
		const struct qmr_package_log *log = &qmr_package_logs[i];
		json_t *position = NULL;
		int r = qmr_package_log_read(state->run->root_fd, log, json_object_get(known, log->name), note_package,
					     state, &position, err);

		if (r < 0)
			return r;
		if (json_object_set_new(positions, log->name, position) < 0)
			return qmr_error_set(err, -ENOMEM, "noting '%s': out of memory", log->current);
	}
	return qmr_change_log_set(state, "packages", json_incref(positions), err);
}

static int note_kernel(struct qmr_change_log_state *state, struct qmr_error *err)
{
	const json_t *known = json_object_get(state->where, "kernel");
	const char *release = qmr_json_string(known, "release"), *build = qmr_json_string(known, "build");
	struct utsname system = {0};
	int r = 0;

	(void)uname(&system); /* cannot fail with a valid pointer */
	if (release && build && (strcmp(release, system.release) || strcmp(build, system.version)))
		r = qmr_change_log_add(state,
				       json_pack("{s:s, s:s, s:s, s:s, s:s}", "what", "kernel", "change", "modified", "from",
						 release, "to", system.release, "build", system.version),
				       err);
	return r < 0 ? r
		     : qmr_change_log_set(state, "kernel",
					  json_pack("{s:s, s:s}", "release", system.release, "build", system.version), err);
}

static json_t *watch_list(const struct qmr_config *config)
{
	json_t *list = json_array();

	for (size_t i = 0; i < config->n_watch; i++) {
		json_t *path = json_string(config->watch[i]);

		if (json_array_append_new(list, path ? path : json_null()) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static int is_same_content(const struct qmr_saved_file *a, const struct qmr_saved_file *b)
{
	return !a->target == !b->target && (a->target ? !strcmp(a->target, b->target) : !strcmp(a->sha256, b->sha256));
}

/* Both are sorted by path. with_names: the same paths were watched, so that what is in one alone came or went. */
static int compare_points(struct qmr_change_log_state *state, const struct qmr_restore_point *old,
			  const struct qmr_restore_point *new, int with_names, struct qmr_error *err)
{
	for (size_t i = 0, j = 0; i < old->n_files || j < new->n_files;) {
		const struct qmr_saved_file *was = i < old->n_files ? &old->files[i] : NULL;
		const struct qmr_saved_file *is = j < new->n_files ? &new->files[j] : NULL;
		int order = !was ? 1 : !is ? -1 : strcmp(was->path, is->path), r = 0;

		i += order <= 0;
		j += order >= 0;
		if (order == 0 && !is_same_content(was, is))
			r = qmr_change_log_add(
				state, qmr_change_log_file("file", is->path, "modified", was->sha256, is->sha256), err);
		else if (order < 0 && with_names && !qmr_restore_point_was_skipped(new, was->path))
			r = qmr_change_log_add(state, qmr_change_log_file("file", was->path, "removed", was->sha256, NULL),
					       err);
		else if (order > 0 && with_names && !qmr_restore_point_was_skipped(old, is->path))
			r = qmr_change_log_add(state, qmr_change_log_file("file", is->path, "added", NULL, is->sha256), err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* From the restore point that the log knows, also if a cut came between the one after it and the log. */
static int compare_with(struct qmr_change_log_state *state, uint64_t known, int with_names, struct qmr_error *err)
{
	const struct qmr_restore_point *previous = state->run->previous;
	struct qmr_restore_point old = {0}, new = {0};
	int r = 0;

	if (known != previous->id)
		r = qmr_restore_point_load(state->run->root_fd, known, &old, err);
	if (r == 0)
		r = qmr_restore_point_load(state->run->root_fd, state->run->newest, &new, err);
	if (r == 0)
		r = compare_points(state, known == previous->id ? previous : &old, &new, with_names, err);
	qmr_restore_point_done(&old);
	qmr_restore_point_done(&new);
	return r;
}

static int note_files(struct qmr_change_log_state *state, struct qmr_error *err)
{
	const json_t *point = json_object_get(state->where, "restore_point");
	uint64_t known = json_is_integer(point) ? (uint64_t)json_integer_value(point) : state->run->previous->id;
	cleanup_json json_t *watch = watch_list(state->run->config);
	int r = 0;

	if (!watch)
		return qmr_error_set(err, -ENOMEM, "noting the watched paths: out of memory");
	if (!state->run->newest)
		return 0;
	if (known && known != state->run->newest)
		r = compare_with(state, known, json_equal(watch, json_object_get(state->where, "watch")), err);
	if (r < 0 && !qmr_change_log_is_damage(r))
		return r;
	if (r < 0)
		qmr_warning("comparing restore points %llu and %llu: %s; what changed between them is not in the change log",
			    (unsigned long long)known, (unsigned long long)state->run->newest, err->text);
	r = qmr_change_log_set(state, "restore_point", json_integer((json_int_t)state->run->newest), err);
	return r < 0 ? r : qmr_change_log_set(state, "watch", json_incref(watch), err);
}

/* In the order in which the oldest entries give way to newer ones. */
static const struct {
	const char *name;
	int (*note)(struct qmr_change_log_state *state, struct qmr_error *err);
} parts[] = {
	{"packages", note_packages},
	{"initramfs images", qmr_change_log_images},
	{"the kernel", note_kernel},
	{"watched files", note_files},
};

static int load(struct qmr_change_log_state *state, struct qmr_error *err)
{
	int r = qmr_change_log_load_state(state->folder_fd, &state->where, err);

	if (r < 0 && !qmr_change_log_is_damage(r))
		return r;
	if (r < 0 && r != -ENOENT)
		qmr_warning("reading where the change log stands: %s; what changed meanwhile is not in it", err->text);
	if (r < 0) {
		/* The number of boots goes on from what the log knows, at the least. */
		r = need_log(state, err);
		if (r < 0)
			return r;
		state->where = json_pack("{s:i}", "schema", 1);
		state->changed = 1;
	}
	state->found = json_array();
	state->boots = qmr_change_log_boots(state->where, state->log);
	return state->where && state->found ? 0 : qmr_error_set(err, -ENOMEM, "reading the change log: out of memory");
}

static int save_log(struct qmr_change_log_state *state, uint64_t boots, struct qmr_error *err)
{
	json_t *entries;
	json_int_t dropped, generation;
	int r = need_log(state, err);

	if (r < 0)
		return r;
	entries = json_object_get(state->log, "entries");
	dropped = number(state->log, "dropped") + state->dropped;
	generation = number(state->log, "generation");
	if (generation < number(state->where, "generation")) /* the log was lost */
		generation = number(state->where, "generation");
	if (json_array_extend(entries, state->found) < 0)
		return qmr_error_set(err, -ENOMEM, "writing the change log: out of memory");
	for (; json_array_size(entries) > QMR_CHANGE_LOG_ENTRIES_MAX; dropped++)
		(void)json_array_remove(entries, 0); /* it has one */
	if (json_object_set_new(state->log, "healthy_boots", json_integer((json_int_t)boots)) < 0 ||
	    json_object_set_new(state->log, "generation", json_integer(generation + 1)) < 0 ||
	    json_object_set_new(state->log, "new", json_integer((json_int_t)json_array_size(state->found))) < 0 ||
	    json_object_set_new(state->log, "dropped", json_integer(dropped)) < 0)
		return qmr_error_set(err, -ENOMEM, "writing the change log: out of memory");
	r = qmr_json_save(state->folder_fd, QMR_CHANGE_LOG_FILE, state->log, 0600, err);
	return r < 0 ? r : qmr_change_log_set(state, "generation", json_integer(generation + 1), err);
}

/* The log first: where is behind it then, never before it. */
static int save(struct qmr_change_log_state *state, struct qmr_error *err)
{
	const char *boot = state->run->boot, *last = qmr_json_string(state->where, "boot");
	int counts = boot && (!last || strcmp(boot, last)), r = 0;
	uint64_t boots = state->boots + (uint64_t)counts;

	if (json_array_size(state->found))
		r = save_log(state, boots, err);
	if (r == 0 && !json_object_get(state->where, "generation"))
		r = qmr_change_log_set(state, "generation", json_integer(number(state->log, "generation")), err);
	if (r == 0)
		r = qmr_change_log_set(state, "healthy_boots", json_integer((json_int_t)boots), err);
	if (r == 0 && counts)
		r = qmr_change_log_set(state, "boot", json_string(boot), err);
	return r < 0 || !state->changed
		       ? r
		       : qmr_json_save(state->folder_fd, QMR_CHANGE_LOG_STATE_FILE, state->where, 0600, err);
}

/* As a whole or not at all: what was half looked at is looked at again. */
static int note_part(struct qmr_change_log_state *state, size_t i, struct qmr_error *err)
{
	json_t *where = json_copy(state->where), *found = json_copy(state->found);
	json_int_t dropped = state->dropped;
	struct qmr_error why = {0};

	if (where && found && parts[i].note(state, &why) < 0) {
		qmr_warning("looking for changes of %s: %s; the next run looks again", parts[i].name, why.text);
		json_decref(state->where);
		json_decref(state->found);
		state->where = where;
		state->found = found;
		state->dropped = dropped;
		return 0;
	}
	json_decref(where);
	json_decref(found);
	return where && found ? 0 : qmr_error_set(err, -ENOMEM, "looking for changes of %s: out of memory", parts[i].name);
}

int qmr_change_log_update(const struct qmr_change_log_run *run, struct qmr_error *err)
{
	cleanup_close int folder_fd =
		qmr_file_open_in_root(run->root_fd, QMR_CHANGE_LOG_FOLDER, O_RDONLY | O_DIRECTORY, 0, err);
	struct qmr_change_log_state state = {.run = run, .folder_fd = folder_fd};
	int r = folder_fd < 0 ? folder_fd : load(&state, err);

	for (size_t i = 0; r == 0 && i < sizeof(parts) / sizeof(*parts); i++)
		r = note_part(&state, i, err);
	if (r == 0)
		r = save(&state, err);
	json_decref(state.where);
	json_decref(state.found);
	json_decref(state.log);
	return r;
}
