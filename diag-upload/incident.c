/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "incident.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "cleanup.h"
#include "crc32.h"
#include "file.h"
#include "json.h"
#include "notes.h"

#define SMALL_FILE_MAX 65536
#define CLOCK_SHIFT_S (26 * 3600) /* a hardware clock in local time, read as UTC, is off by up to 14 h; and some */

void qmr_incident_done(struct qmr_incident *incident)
{
	json_decref(incident->state);
	json_decref(incident->notes);
	json_decref(incident->recent_changes);
	qmr_records_done(&incident->records);
	qmr_dumps_done(&incident->dumps);
	free(incident->crashes);
	qmr_changes_done(&incident->changes);
	memset(incident, 0, sizeof(*incident));
}

static const json_t *attempt(const json_t *state, size_t i)
{
	return json_array_get(json_object_get(state, "attempts"), i);
}

static int has_outcome(const json_t *a, const char *outcome)
{
	const char *s = qmr_json_string(a, "outcome");

	return s && !strcmp(s, outcome);
}

uint64_t qmr_incident_oldest_s(const json_t *state)
{
	const json_t *a, *last = NULL;
	json_int_t started;

	for (size_t i = 0; (a = attempt(state, i)); i++) {
		last = a;
		if (has_outcome(a, "healthy"))
			break;
	}
	started = json_integer_value(json_object_get(last, "started_unix_s"));
	return started > CLOCK_SHIFT_S ? (uint64_t)started - CLOCK_SHIFT_S : 0;
}

/* Outcome of the newest attempt that failed, NULL if none did. */
static const char *failed_outcome(const struct qmr_incident *incident)
{
	static const char *const failures[] = {"panic", "hang", "emergency", "unknown"};
	const char *reason = qmr_json_string(incident->state, "reason");
	const json_t *a;

	for (size_t i = 0; (a = attempt(incident->state, i)); i++) {
		if (has_outcome(a, "healthy"))
			return NULL;
		/* Firmware or loader came here by itself: nobody has closed the attempt yet, and it did not end well. */
		if (i == 0 && has_outcome(a, "open") && reason && (!strcmp(reason, "boot-order") || !strcmp(reason, "loader")))
			return incident->n_crashes && incident->crashes[0].oops.panic ? "panic" : "unknown";
		for (size_t j = 0; j < sizeof(failures) / sizeof(*failures); j++)
			if (has_outcome(a, failures[j]))
				return failures[j];
	}
	return NULL;
}

const char *qmr_incident_kind(const struct qmr_incident *incident)
{
	const char *reason = qmr_json_string(incident->state, "reason");
	const char *outcome = failed_outcome(incident);
	json_int_t failed = json_integer_value(json_object_get(incident->state, "failed_boots"));

	if (reason && (!strcmp(reason, "requested") || !strcmp(reason, "menu")) && failed == 0)
		return "manual";
	if (outcome)
		return outcome;
	return incident->n_crashes && incident->crashes[0].oops.panic ? "panic" : "unknown";
}

/* The boot state holds a checksum of the release only; the names are the folders of the root's modules. */
static int find_kernel_by_crc(int root_fd, uint32_t crc, char ret_kernel[64])
{
	cleanup_closedir DIR *dir = qmr_file_open_dir_in_root(root_fd, "/usr/lib/modules");
	struct dirent *entry;
	int n = 0;

	if (!dir)
		dir = qmr_file_open_dir_in_root(root_fd, "/lib/modules");
	while (dir && (entry = readdir(dir)) && n++ < 1000) {
		size_t length = strlen(entry->d_name);

		if (length < 64 && qmr_crc32(0, entry->d_name, length) == crc) {
			memcpy(ret_kernel, entry->d_name, length + 1);
			return 1;
		}
	}
	return 0;
}

void qmr_incident_find_kernel(struct qmr_incident *incident, int root_fd)
{
	const char *healthy = qmr_json_string(incident->state, "kernel");
	uint32_t crc = (uint32_t)json_integer_value(json_object_get(attempt(incident->state, 0), "kernel_crc32"));

	for (size_t i = 0; i < incident->n_crashes; i++)
		if (incident->crashes[i].oops.kernel[0]) {
			snprintf(incident->kernel, sizeof(incident->kernel), "%s", incident->crashes[i].oops.kernel);
			return;
		}
	if (!crc)
		return;
	if (healthy && strlen(healthy) < 64 && qmr_crc32(0, healthy, strlen(healthy)) == crc)
		snprintf(incident->kernel, sizeof(incident->kernel), "%s", healthy);
	else if (root_fd >= 0)
		(void)find_kernel_by_crc(root_fd, crc, incident->kernel);
}

/* First line of a small file, without blanks around it; 0 if there is none. */
static int read_line(int root_fd, const char *path, char *line, size_t room)
{
	cleanup_close int fd = qmr_file_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, NULL);
	cleanup_free char *data = NULL;
	size_t size, n;

	if (fd < 0 || qmr_file_read_fd(fd, path, SMALL_FILE_MAX, &data, &size, NULL) < 0)
		return 0;
	n = strcspn(data, "\n");
	while (n && isspace((unsigned char)data[n - 1]))
		n--;
	snprintf(line, room, "%.*s", (int)n, data);
	return n > 0;
}

/* Value of KEY=value in os-release(5); quotes are dropped. */
static int os_release_value(const char *data, const char *key, char *value, size_t room)
{
	size_t length = strlen(key);

	for (const char *line = data; line; line = strchr(line, '\n')) {
		size_t n;

		line += *line == '\n';
		if (strncmp(line, key, length) || line[length] != '=')
			continue;
		line += length + 1;
		if (*line == '"' || *line == '\'')
			line++;
		n = strcspn(line, "\"'\n");
		snprintf(value, room, "%.*s", (int)n, line);
		return n > 0;
	}
	return 0;
}

static void add_os_release(json_t *machine, int root_fd, json_t *notes)
{
	static const char *const paths[] = {"/etc/os-release", "/usr/lib/os-release"};
	char value[128];

	for (size_t i = 0; i < 2; i++) {
		cleanup_close int fd =
			qmr_file_open_in_root(root_fd, paths[i], O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, NULL);
		cleanup_free char *data = NULL;
		size_t size;

		if (fd < 0 || qmr_file_read_fd(fd, paths[i], SMALL_FILE_MAX, &data, &size, NULL) < 0)
			continue;
		if (os_release_value(data, "ID", value, sizeof(value)))
			json_object_set_new(machine, "os_id", qmr_json_text(value));
		if (os_release_value(data, "VERSION_ID", value, sizeof(value)))
			json_object_set_new(machine, "os_version", qmr_json_text(value));
		return;
	}
	qmr_note(notes, "os-release: there is none that can be read");
}

/* The firmware's word (SMBIOS) on what machine this is; read by everybody. */
static void add_dmi(json_t *machine)
{
	static const struct {
		const char *path, *key;
	} files[] = {
		{"/sys/class/dmi/id/sys_vendor", "dmi_vendor"},
		{"/sys/class/dmi/id/product_name", "dmi_product"},
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		cleanup_free char *data = NULL;
		size_t size, n;

		if (qmr_file_read(AT_FDCWD, files[i].path, SMALL_FILE_MAX, &data, &size, NULL) < 0)
			continue; /* there is no such firmware: absent says so */
		n = strcspn(data, "\n");
		while (n && isspace((unsigned char)data[n - 1]))
			n--;
		data[n] = '\0';
		if (n)
			json_object_set_new(machine, files[i].key, qmr_json_text(data));
	}
}

static json_t *machine_to_json(int root_fd, json_t *notes)
{
	json_t *machine = json_object();
	struct utsname uts;
	char line[256];

	if (root_fd >= 0) {
		if (read_line(root_fd, "/etc/machine-id", line, sizeof(line)))
			json_object_set_new(machine, "machine_id", qmr_json_text(line));
		else
			qmr_note(notes, "/etc/machine-id: there is none that can be read");
		if (read_line(root_fd, "/etc/hostname", line, sizeof(line)))
			json_object_set_new(machine, "hostname", qmr_json_text(line));
		add_os_release(machine, root_fd, notes);
	}
	add_dmi(machine);
	if (uname(&uts) == 0)
		json_object_set_new(machine, "architecture", qmr_json_text(uts.machine));
	return machine;
}

static json_t *symbol_to_json(const struct qmr_oops_symbol *symbol, int with_offset)
{
	json_t *json;

	if (!symbol->function[0])
		return json_null();
	json = json_pack("{s:o, s:o}", "function", qmr_json_text(symbol->function), "module",
			 qmr_json_text(symbol->module));
	if (json && with_offset) {
		json_object_set_new(json, "offset", json_integer((json_int_t)symbol->offset));
		json_object_set_new(json, "size", json_integer((json_int_t)symbol->size));
	}
	return json;
}

static json_t *crash_to_json(const struct qmr_crash *crash)
{
	const struct qmr_oops *oops = &crash->oops;
	json_t *trace = json_array(), *modules = json_array();

	for (size_t i = 0; i < oops->n_trace; i++)
		if (!oops->trace[i].unreliable)
			json_array_append_new(trace, symbol_to_json(&oops->trace[i], 0));
	for (size_t i = 0; i < oops->n_modules; i++)
		json_array_append_new(modules, qmr_json_text(oops->modules[i].name));
	return json_pack("{s:s, s:o, s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "group", crash->dump->group,
			 "time_unix_s",
			 crash->dump->time_unix_s ? json_integer((json_int_t)crash->dump->time_unix_s) : json_null(),
			 "source", crash->dump->source, "dump", crash->file, "kind", qmr_oops_kind_name(oops->kind),
			 "panic", oops->panic, "summary", qmr_json_text(oops->summary), "ip",
			 symbol_to_json(&oops->ip, 1), "trace", trace, "tainting_modules", modules, "kernel",
			 qmr_json_text(oops->kernel), "uptime_s",
			 oops->uptime_ms >= 0 ? json_real((double)oops->uptime_ms / 1000) : json_null());
}

static json_t *crashes_to_json(const struct qmr_incident *incident)
{
	json_t *list = json_array();

	for (size_t i = 0; i < incident->n_crashes; i++)
		json_array_append_new(list, crash_to_json(&incident->crashes[i]));
	return list;
}

static json_t *culprit_to_json(const struct qmr_incident *incident)
{
	const struct qmr_culprit *culprit = &incident->culprit;

	if (culprit->basis == QMR_BASIS_NONE)
		return json_null();
	return json_pack("{s:o, s:o, s:s, s:o, s:o, s:i}", "module", qmr_json_text(culprit->module), "function",
			 qmr_json_text(culprit->function), "basis", qmr_basis_name(culprit->basis), "module_file",
			 qmr_json_text(incident->culprit_file), "module_version", qmr_json_text(incident->culprit_version),
			 "crashes", (int)culprit->crashes);
}

json_t *qmr_incident_to_json(const struct qmr_incident *incident, int root_fd)
{
	const char *reason = qmr_json_string(incident->state, "reason");
	const json_t *failed = json_object_get(incident->state, "failed_boots");
	int truncated = 0;
	json_t *changes = qmr_changes_to_json(&incident->changes, &truncated);
	json_t *json;

	if (!incident->restore_point && changes) {
		json_decref(changes);
		changes = json_array();
	}
	json = json_pack("{s:i, s:s, s:o, s:s, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:O}", "schema", 1, "id",
			 incident->id, "reason", qmr_json_text(reason), "kind", qmr_incident_kind(incident),
			 "failed_boots",
			 json_is_integer(failed) ? json_integer(json_integer_value(failed)) : json_null(),
			 "created_unix_s", (json_int_t)time(NULL), "machine",
			 machine_to_json(root_fd, incident->notes), "kernel", qmr_json_text(incident->kernel),
			 "crashes", crashes_to_json(incident), "culprit", culprit_to_json(incident), "changes",
			 changes, "restore_point",
			 incident->restore_point ? json_integer((json_int_t)incident->restore_point) : json_null(),
			 "recent_changes",
			 incident->recent_changes ? json_incref(incident->recent_changes) : json_array(), "notes", incident->notes);
	if (json && truncated)
		json_object_set_new(json, "changes_truncated", json_true());
	if (json && incident->recent_changes_truncated)
		json_object_set_new(json, "recent_changes_truncated", json_true());
	return json;
}

json_t *qmr_machine_facts(int root_fd)
{
	json_t *notes = json_array(), *machine = machine_to_json(root_fd, notes);
	struct utsname uts = {0};

	(void)uname(&uts); /* cannot fail with a valid pointer */
	return json_pack("{s:i, s:s, s:o, s:o, s:o}", "schema", 1, "kind", "none", "machine", machine, "kernel", qmr_json_text(uts.release), "notes", notes);
}
