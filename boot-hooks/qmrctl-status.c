/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "boot-state-json.h"
#include "cleanup.h"
#include "file.h"
#include "guard.h"
#include "json.h"
#include "qmrctl.h"
#include "restore-point.h"
#include "uuid.h"

#define SPOOL QMRCTL_STATE_FOLDER "/spool"
#define INCIDENTS QMRCTL_STATE_FOLDER "/incidents"
#define ATTEMPTS_SHOWN 5

/* What is known, each part with the reason if it is not. */
struct status {
	struct qmr_state state;
	struct qmrctl_image images[QMR_SLOTS];
	struct qmr_firmware_entry entry;
	struct qmr_restore_point point;
	struct qmr_error config_error, state_error, image_errors[QMR_SLOTS], entry_error, point_error, remediations_error;
	int in_effect, undone; /* remediations */
	int spooled, incidents;
	uint64_t spooled_bytes;
	struct qmrctl_test tests[QMR_SLOTS];
};

static const char *const stage_words[] = {
	[QMR_STAGE_NONE] = "nothing is being done about failed boots",
	[QMR_STAGE_SWITCHING] = "the next boot goes into recovery",
	[QMR_STAGE_RECOVERING] = "recovery began and did not record how it ended",
	[QMR_STAGE_PROBATION] = "a remediation was applied; the machine has to prove healthy",
	[QMR_STAGE_GIVEN_UP] = "recovery could not start or could not help; a healthy boot begins anew",
	[QMR_STAGE_FINAL] = "recovery has ended for this incident; a healthy boot begins anew",
	[QMR_STAGE_HEALED] = "a remediation made the machine healthy",
};

/* Counts what a folder holds; a missing folder holds nothing. */
static void count_folder(const char *path, const char *suffix, int *ret_n, uint64_t *ret_bytes)
{
	cleanup_closedir DIR *dir = opendir(path);
	struct dirent *entry;
	struct stat st;

	while (dir && (entry = readdir(dir))) {
		size_t length = strlen(entry->d_name), suffix_length = strlen(suffix);

		if (entry->d_name[0] == '.' || length < suffix_length ||
		    strcmp(entry->d_name + length - suffix_length, suffix) ||
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		(*ret_n)++;
		*ret_bytes += (uint64_t)st.st_size;
	}
}

static void gather(struct qmrctl *ctl, struct status *s)
{
	cleanup_close int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_json json_t *remediations = NULL;
	struct qmr_error why = {0};
	uint64_t folder_bytes = 0;
	uint8_t root[16];
	int r;

	/* A part that cannot be found has its reason in its error, and the others are shown. */
	(void)!qmr_config_load(ctl->config_path, &ctl->config, &s->config_error);
	qmr_guard_root_id(&ctl->config, root);
	(void)!qmr_state_load(root, &s->state, &s->state_error);
	r = ctl->no_variables ? qmr_machine_find_built(&ctl->known, &ctl->machine, &why)
			      : qmr_machine_find_running(&ctl->known, &ctl->machine, &why);
	for (int slot = 0; slot < QMR_SLOTS; slot++) {
		s->image_errors[slot] = why;
		if (r == 0)
			(void)!qmrctl_image_examine(ctl, (enum qmr_slot)slot, &s->images[slot], &s->image_errors[slot]);
		qmrctl_test_load(&s->state, (enum qmr_slot)slot, &s->tests[slot]);
	}
	(void)!qmr_firmware_examine(&s->entry, &s->entry_error);
	(void)!qmr_restore_point_load_newest(root_fd, &s->point, &s->point_error);
	(void)!qmrctl_remediations_load(ctl, &remediations, &s->remediations_error);
	qmrctl_remediations_count(remediations, &s->in_effect, &s->undone);
	count_folder(SPOOL, ".tar.zst.cms", &s->spooled, &s->spooled_bytes);
	count_folder(INCIDENTS, "", &s->incidents, &folder_bytes);
}

void qmrctl_format_time(int64_t unix_s, char ret_text[32])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	if (!localtime_r(&t, &tm) || !strftime(ret_text, 32, "%Y-%m-%d %H:%M:%S", &tm))
		strcpy(ret_text, "?");
}

void qmrctl_clean(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
}

static void clean_all(struct status *s)
{
	qmrctl_clean(s->state.note);
	qmrctl_clean(s->state.remediation);
	for (int i = 0; i < QMR_STATE_MODULES; i++)
		qmrctl_clean(s->state.modules[i]);
	qmrctl_clean(s->point.kernel);
}

json_t *qmrctl_error_json(const struct qmr_error *error)
{
	return error->code ? json_string(error->text) : json_null();
}

static json_t *image_json(const struct qmrctl *ctl, const struct status *s, enum qmr_slot slot)
{
	const struct qmrctl_image *image = &s->images[slot];
	char path[PATH_MAX];

	if (s->image_errors[slot].code || qmrctl_image_path(ctl, slot, path, NULL) < 0)
		return json_null();
	return json_pack("{s:s, s:I, s:I, s:s}", "path", path, "bytes", (json_int_t)image->bytes, "modified_unix_s",
			 (json_int_t)image->modified_unix_s, "kernel", image->kernel);
}

static json_t *entry_json(const struct status *s)
{
	char number[8];

	if (s->entry_error.code)
		return json_null();
	snprintf(number, sizeof(number), "%04X", s->entry.number);
	return json_pack("{s:s, s:i, s:i, s:b, s:b}", "number", number, "boot_order_place", s->entry.position,
			 "boot_order_entries", s->entry.n_order, "after_current", s->entry.after_current, "boot_next",
			 s->entry.is_next);
}

static json_t *test_json(const struct qmrctl_test *test)
{
	json_t *text = json_string(test->text); /* NULL if it is no UTF-8 */

	return json_pack("{s:s, s:I, s:o}", "result", qmrctl_test_name(test->result), "unix_s", (json_int_t)test->unix_s, "text",
			 text ? text : json_string(""));
}

static json_t *remediations_json(const struct status *s)
{
	if (s->remediations_error.code)
		return json_null();
	return json_pack("{s:i, s:i}", "in_effect", s->in_effect, "undone", s->undone);
}

static json_t *point_json(const struct status *s)
{
	if (s->point_error.code)
		return json_null();
	return json_pack("{s:I, s:I, s:s, s:I}", "id", (json_int_t)s->point.id, "taken_unix_s",
			 (json_int_t)s->point.taken_unix_s, "kernel", s->point.kernel, "files", (json_int_t)s->point.n_files);
}

int qmrctl_print_json(const json_t *json, struct qmr_error *err)
{
	int r = json ? json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : -1;

	if (r < 0 || putchar('\n') == EOF)
		return qmr_error_set(err, -EIO, "writing JSON to standard output failed");
	return 0;
}

static int print_status_json(const struct qmrctl *ctl, const struct status *s, struct qmr_error *err)
{
	json_t *errors = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "config", qmrctl_error_json(&s->config_error), "state",
				   qmrctl_error_json(&s->state_error), "image", qmrctl_error_json(&s->image_errors[QMR_SLOT_FIRST]),
				   "second_image", qmrctl_error_json(&s->image_errors[QMR_SLOT_SECOND]), "entry",
				   qmrctl_error_json(&s->entry_error), "restore_point", qmrctl_error_json(&s->point_error), "remediations",
				   qmrctl_error_json(&s->remediations_error));
	cleanup_json json_t *json = json_pack(
		"{s:i, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:i, s:I}, s:i, s:o, s:o, s:o}", "schema", 1, "mode",
		qmr_mode_name(ctl->config.mode), "stage", qmr_stage_name(s->state.stage), "stage_text",
		stage_words[s->state.stage], "state", qmr_state_to_json(&s->state), "image", image_json(ctl, s, QMR_SLOT_FIRST),
		"second_image", image_json(ctl, s, QMR_SLOT_SECOND), "entry", entry_json(s), "restore_point", point_json(s),
		"remediations", remediations_json(s), "spool", "bundles", s->spooled, "bytes", (json_int_t)s->spooled_bytes, "incidents", s->incidents, "test", test_json(&s->tests[QMR_SLOT_FIRST]),
		"second_test", test_json(&s->tests[QMR_SLOT_SECOND]), "errors", errors);

	return qmrctl_print_json(json, err);
}

/* "none", with the reason unless it is that there has not been one yet. */
static void print_none(const char *label, const struct qmr_error *why)
{
	if (why->code == -ENOENT)
		printf("%-14s none yet\n", label);
	else
		printf("%-14s none (%s)\n", label, why->text);
}

static void print_state(const struct status *s)
{
	char incident[QMR_UUID_TEXT];

	if (s->state_error.code)
		print_none("state:", &s->state_error);
	printf("stage:         %s: %s\n", qmr_stage_name(s->state.stage), stage_words[s->state.stage]);
	if (s->state.note[0])
		printf("note:          %s\n", s->state.note);
	if (!qmr_uuid_is_null(s->state.incident)) {
		qmr_uuid_format(s->state.incident, incident);
		printf("incident:      %s (%s), %d recovery runs\n", incident, qmr_reason_name(s->state.reason),
		       s->state.recovery_runs);
	}
	if (s->state.remediation[0])
		printf("remediation:   %s\n", s->state.remediation);
	for (int i = 0; i < QMR_STATE_MODULES; i++)
		if (s->state.modules[i][0])
			printf("blocked:       %s\n", s->state.modules[i]);
	printf("boots:         %" PRIu32 "\n", s->state.boots);
	for (int i = 0; i < s->state.n_attempts && i < ATTEMPTS_SHOWN; i++)
		qmrctl_print_attempt(&s->state.attempts[i]);
}

static void print_image(const struct qmrctl *ctl, const struct status *s, enum qmr_slot slot)
{
	static const char *const labels[QMR_SLOTS] = {"image:", "second image:"};
	const struct qmrctl_image *image = &s->images[slot];
	char when[32];

	if (s->image_errors[slot].code) {
		printf("%-14s none (%s)\n", labels[slot], s->image_errors[slot].text);
		return;
	}
	qmrctl_format_time(image->modified_unix_s, when);
	printf("%-14s %s/%s, kernel %s, %.1f MB, of %s\n", labels[slot], ctl->machine.esp_path, qmrctl_slots[slot].image, image->kernel,
	       (double)image->bytes / 1e6, when);
}

static void print_test(const struct status *s, enum qmr_slot slot)
{
	static const char *const labels[QMR_SLOTS] = {"tested:", "second tested:"};
	const struct qmrctl_test *test = &s->tests[slot];
	char when[32];

	qmrctl_format_time(test->unix_s, when);
	if (test->result == QMRCTL_TEST_NONE)
		printf("%-14s never\n", labels[slot]);
	else if (test->result == QMRCTL_TEST_WAITING)
		printf("%-14s at the next reboot\n", labels[slot]);
	else if (test->result == QMRCTL_TEST_NO_ANSWER)
		printf("%-14s asked for on %s; the %s did not answer\n", labels[slot], when, qmrctl_slots[slot].name);
	else
		printf("%-14s %s last tested: %s, %s\n", labels[slot], qmrctl_slots[slot].name, when,
		       test->result == QMRCTL_TEST_OK ? "ok" : test->text);
}

static void print_rest(const struct qmrctl *ctl, const struct status *s)
{
	char when[32];

	for (int slot = 0; slot < QMR_SLOTS; slot++)
		print_image(ctl, s, (enum qmr_slot)slot);
	if (s->entry_error.code)
		printf("boot entry:    none (%s)\n", s->entry_error.text);
	else
		printf("boot entry:    %04X, place %d of %d in BootOrder%s%s\n", s->entry.number, s->entry.position,
		       s->entry.n_order, s->entry.after_current ? ", directly after the running system's" : "",
		       s->entry.is_next ? ", and the next one to be booted" : "");
	for (int slot = 0; slot < QMR_SLOTS; slot++)
		print_test(s, (enum qmr_slot)slot);
	if (s->point_error.code) {
		print_none("restore point:", &s->point_error);
	} else {
		qmrctl_format_time(s->point.taken_unix_s, when);
		printf("restore point: %" PRIu64 " of %s, kernel %s, %zu files\n", s->point.id, when, s->point.kernel,
		       s->point.n_files);
	}
	if (s->remediations_error.code)
		printf("remediations:  unknown (%s)\n", s->remediations_error.text);
	else
		printf("remediations:  %d in effect, %d undone%s\n", s->in_effect, s->undone, s->in_effect ? " (qmrctl remediations)" : "");
	printf("incidents:     %d kept, %d bundles wait to be sent (%.1f MB)\n", s->incidents, s->spooled,
	       (double)s->spooled_bytes / 1e6);
}

int qmrctl_status(struct qmrctl *ctl, struct qmr_error *err)
{
	struct status s = {0};
	int r = 0;

	gather(ctl, &s);
	if (s.state.stage >= sizeof(stage_words) / sizeof(*stage_words))
		s.state.stage = QMR_STAGE_NONE;
	if (ctl->json) {
		r = print_status_json(ctl, &s, err);
	} else {
		clean_all(&s);
		printf("mode:          %s%s\n", qmr_mode_name(ctl->config.mode),
		       qmr_guard_cmdline_has("qmr=off") ? ", and qmr=off on the kernel command line" : "");
		if (s.config_error.code)
			printf("config:        malformed, safe defaults count (%s)\n", s.config_error.text);
		print_state(&s);
		print_rest(ctl, &s);
	}
	qmr_restore_point_done(&s.point);
	return r;
}
