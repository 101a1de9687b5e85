/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "collect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "evidence.h"
#include "file.h"
#include "incident.h"
#include "json.h"
#include "log.h"
#include "module-file.h"
#include "notes.h"
#include "recent-changes.h"
#include "restore-point.h"
#include "uuid.h"

#define STATE_BYTES_MAX (1U << 20)

static void read_state(struct qmr_incident *incident, const char *path)
{
	uint8_t uuid[16] = {0};
	struct qmr_error err = {0};
	const char *id;

	if (qmr_json_load(AT_FDCWD, path, STATE_BYTES_MAX, &incident->state, &err) < 0)
		qmr_note(incident->notes, "boot state: %s", err.text);
	id = qmr_json_string(incident->state, "incident");
	if (!id || qmr_uuid_parse(id, uuid) < 0 || qmr_uuid_is_null(uuid)) {
		qmr_uuid_random(uuid);
		qmr_note(incident->notes, "boot state: it names no incident; this one got a new id");
	}
	qmr_uuid_format(uuid, incident->id);
}

static int open_folder(const char *what, const char *path, json_t *notes)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		qmr_note(notes, "%s: opening '%s': %s", what, path, strerror(errno));
	return fd;
}

static int write_record(int out_fd, const struct qmr_record *record, struct qmr_error *err)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)record->time_unix_s}};
	char path[160];
	int r;

	snprintf(path, sizeof(path), "records/%s", record->name);
	r = qmr_file_replace(out_fd, path, record->data, record->size, 0600, err);
	/* Back ends without a time in their ids: the next run tells crashes apart by it. Only that is lost if it fails. */
	if (r == 0 && record->time_unix_s)
		(void)utimensat(out_fd, path, times, AT_SYMLINK_NOFOLLOW);
	return r;
}

static int write_records(struct qmr_incident *incident, int out_fd, struct qmr_error *err)
{
	int r = qmr_file_mkdirs(out_fd, "records", 0700, err);

	for (size_t i = 0; r == 0 && i < incident->records.n; i++)
		r = write_record(out_fd, &incident->records.items[i], err);
	return r;
}

/* dumps/001.txt is the oldest, so that numbers stay when a later run finds more. */
static int write_dumps(struct qmr_incident *incident, int out_fd, struct qmr_error *err)
{
	struct qmr_dumps *dumps = &incident->dumps;
	size_t first = dumps->n > QMR_DUMP_FILES_MAX ? dumps->n - QMR_DUMP_FILES_MAX : 0;
	int r = qmr_file_mkdirs(out_fd, "dumps", 0700, err);

	if (first)
		qmr_note(incident->notes, "dumps: the %zu oldest of %zu were left out", first, dumps->n);
	for (size_t i = first; r == 0 && i < dumps->n; i++) {
		char path[32];

		snprintf(path, sizeof(path), "dumps/%03zu.txt", i - first + 1);
		r = qmr_file_replace(out_fd, path, dumps->items[i].text, dumps->items[i].size, 0600, err);
		if (dumps->items[i].missing)
			qmr_note(incident->notes, "dump '%s': %u of its parts are missing", path,
				 dumps->items[i].missing);
	}
	return r;
}

static int parse_dumps(struct qmr_incident *incident, struct qmr_error *err)
{
	struct qmr_dumps *dumps = &incident->dumps;
	size_t first = dumps->n > QMR_DUMP_FILES_MAX ? dumps->n - QMR_DUMP_FILES_MAX : 0;
	size_t n = dumps->n < QMR_CRASHES_MAX ? dumps->n : QMR_CRASHES_MAX;

	incident->crashes = calloc(n + 1, sizeof(*incident->crashes));
	if (!incident->crashes)
		return qmr_error_set(err, -ENOMEM, "reading dumps: out of memory");
	for (size_t i = dumps->n; i-- > dumps->n - n;) {
		struct qmr_crash *crash = &incident->crashes[incident->n_crashes];
		struct qmr_error why = {0};
		int r;

		crash->dump = &dumps->items[i];
		snprintf(crash->file, sizeof(crash->file), "dumps/%03zu.txt", i - first + 1);
		crash->oops.uptime_ms = -1;
		r = qmr_oops_parse(dumps->items[i].text, dumps->items[i].size, &crash->oops, &why);
		if (r == -ENOMEM)
			return qmr_error_set(err, r, "%s", why.text);
		if (r < 0)
			qmr_note(incident->notes, "dump '%s': %s", crash->file, why.text);
		crash->oops.panic |= dumps->items[i].panic;
		incident->n_crashes++;
	}
	return 0;
}

static void find_culprit(struct qmr_incident *incident, int root_fd)
{
	const char *kernel;
	struct qmr_error err = {0};
	int r;

	qmr_culprit_find(incident->crashes, incident->n_crashes, &incident->culprit);
	if (incident->culprit.basis == QMR_BASIS_NONE)
		return;
	kernel = incident->culprit.kernel[0] ? incident->culprit.kernel : incident->kernel;
	if (root_fd >= 0 && qmr_module_file_find(root_fd, kernel, incident->culprit.module,
						 incident->culprit_file, &err) < 0)
		qmr_note(incident->notes, "culprit: %s", err.text);
	if (!incident->culprit_file[0])
		return;
	r = qmr_module_version_load(root_fd, incident->culprit_file, incident->culprit_version, &err);
	if (r < 0 && r != -ENOENT)
		qmr_note(incident->notes, "culprit: %s", err.text);
}

static void find_changes(struct qmr_incident *incident, int root_fd, const char *config_path, const struct qmr_linker *linker)
{
	struct qmr_restore_point point = {0};
	cleanup_free struct qmr_config *config = calloc(1, sizeof(*config));
	struct qmr_error err = {0};
	int r;

	if (!config)
		return;
	qmr_config_defaults(config);
	if (qmr_config_load(config_path, config, &err) < 0)
		qmr_note(incident->notes, "configuration: %s", err.text);
	r = qmr_restore_point_load_newest(root_fd, &point, &err);
	if (r < 0) {
		qmr_note(incident->notes, "changes: %s", err.text);
		return;
	}
	r = qmr_changes_find(root_fd, config, &point, incident->notes, &incident->changes, &err);
	if (r < 0) {
		qmr_note(incident->notes, "changes: %s", err.text);
	} else {
		incident->restore_point = point.id;
		qmr_changes_link(&incident->changes, linker);
	}
	qmr_restore_point_done(&point);
}

static void find_all_changes(struct qmr_incident *incident, int root_fd, const char *config_path)
{
	const char *module = incident->culprit.basis != QMR_BASIS_NONE ? incident->culprit.module : NULL;
	const char *file = incident->culprit_file[0] ? incident->culprit_file : NULL;
	struct qmr_linker *linker;

	if (root_fd < 0)
		return;
	linker = qmr_linker_new(root_fd, module, file, incident->notes);
	find_changes(incident, root_fd, config_path, linker);
	incident->recent_changes =
		qmr_recent_changes(root_fd, linker, incident->notes, &incident->recent_changes_truncated);
	qmr_linker_free(linker);
}

static int collect_into(struct qmr_incident *incident, const struct qmr_collect_options *options, int out_fd,
			struct qmr_error *err)
{
	cleanup_close int root_fd = open_folder("root", options->root, incident->notes);
	cleanup_close int pstore_fd = open_folder("pstore", options->pstore, incident->notes);
	struct qmr_evidence_places places = {
		.root_fd = root_fd,
		.pstore_fd = pstore_fd,
		.incident = incident->id,
		.oldest_unix_s = qmr_incident_oldest_s(incident->state),
	};
	cleanup_json json_t *json = NULL;
	int r = qmr_evidence_read(&places, &incident->records, incident->notes, err);

	if (r == 0)
		r = qmr_dumps_join(&incident->records, &incident->dumps, err);
	if (r == 0)
		r = write_records(incident, out_fd, err);
	if (r == 0)
		r = write_dumps(incident, out_fd, err);
	if (r == 0)
		r = parse_dumps(incident, err);
	if (r == 0 && incident->state)
		r = qmr_json_save(out_fd, "state.json", incident->state, 0600, err);
	if (r < 0)
		return r;
	qmr_incident_find_kernel(incident, root_fd);
	find_culprit(incident, root_fd);
	find_all_changes(incident, root_fd, options->config);
	json = qmr_incident_to_json(incident, root_fd);
	if (!json)
		return qmr_error_set(err, -ENOMEM, "writing incident.json: out of memory");
	return qmr_json_save(out_fd, "incident.json", json, 0600, err);
}

static void report(const struct qmr_incident *incident)
{
	if (incident->culprit.basis != QMR_BASIS_NONE)
		qmr_notice("incident %s: %zu records, %zu crashes; culprit is module '%s' (by %s)", incident->id,
			   incident->records.n, incident->n_crashes, incident->culprit.module,
			   qmr_basis_name(incident->culprit.basis));
	else
		qmr_notice("incident %s: %zu records, %zu crashes; nothing points at a module", incident->id,
			   incident->records.n, incident->n_crashes);
}

int qmr_collect(const struct qmr_collect_options *options, struct qmr_error *err)
{
	struct qmr_incident incident = {.notes = json_array()};
	cleanup_close int out_fd = -1;
	int r = qmr_file_mkdirs(AT_FDCWD, options->out, 0700, err);

	if (r == 0) {
		out_fd = open(options->out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (out_fd < 0)
			r = qmr_error_errno(err, -errno, "opening '%s'", options->out);
	}
	if (r == 0) {
		read_state(&incident, options->state);
		r = collect_into(&incident, options, out_fd, err);
	}
	if (r == 0)
		report(&incident);
	qmr_incident_done(&incident);
	return r;
}
