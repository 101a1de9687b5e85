/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "crc32.h"
#include "file.h"
#include "firmware.h"
#include "log.h"
#include "uuid.h"

/* What the commands of boot-guard, and qmrctl, share. */

#define CMDLINE_MAX 8192

char *qmr_guard_read_cmdline(void)
{
	char *text = NULL;
	size_t size;

	return qmr_file_read(AT_FDCWD, "/proc/cmdline", CMDLINE_MAX, &text, &size, NULL) < 0 ? NULL : text;
}

/* The length of the next word of text, which is moved to it; 0 at the end. */
static size_t next_word(const char **text)
{
	*text += strspn(*text, " \n");
	return strcspn(*text, " \n");
}

static int has_word(const char *text, const char *word)
{
	size_t length = strlen(word), n;

	for (; (n = next_word(&text)) > 0; text += n)
		if (n == length && !memcmp(text, word, n))
			return 1;
	return 0;
}

/* Of the last word that begins with key and fits. */
static int find_value(const char *text, const char *key, char *ret_value, size_t size)
{
	size_t length = strlen(key), n;
	int r = -ENOENT;

	for (; (n = next_word(&text)) > 0; text += n)
		if (n >= length && !memcmp(text, key, length) && n - length < size) {
			snprintf(ret_value, size, "%.*s", (int)(n - length), text + length);
			r = 0;
		}
	return r;
}

int qmr_guard_cmdline_has(const char *word)
{
	cleanup_free char *text = qmr_guard_read_cmdline();

	return text && has_word(text, word);
}

int qmr_guard_cmdline_get(const char *key, char *ret_value, size_t size)
{
	cleanup_free char *text = qmr_guard_read_cmdline();

	return text ? find_value(text, key, ret_value, size) : -ENOENT;
}

int qmr_guard_has_own_panic(char *ret_value, size_t size)
{
	cleanup_free char *all = qmr_guard_read_cmdline();
	const char *text = all ? all : "";
	int is_ours = 0, has_own = 0;
	size_t n;

	for (; (n = next_word(&text)) > 0; text += n) {
		if (n >= 6 && !memcmp(text, "panic=", 6)) {
			has_own = !is_ours && n > 6 && n - 6 < size;
			if (has_own)
				snprintf(ret_value, size, "%.*s", (int)(n - 6), text + 6);
		}
		is_ours = n == 9 && !memcmp(text, "qmr.panic", 9);
	}
	return has_own;
}

int qmr_guard_is_shell_wanted(void)
{
	/* initramfs-tools(7), systemd(1), kernel-command-line(7); an empty value: any */
	static const struct {
		const char *word, *value;
	} wanted[] = {
		{"break", NULL},     {"break=", ""},     {"rd.break", NULL}, {"rescue", NULL}, {"emergency", NULL}, {"single", NULL},
		{"s", NULL},         {"S", NULL},        {"1", NULL},        {"-s", NULL},     {"-b", NULL},        {"-z", NULL},
		{"systemd.unit=", "rescue.target"},      {"systemd.unit=", "emergency.target"},
		{"rd.systemd.unit=", "rescue.target"},   {"rd.systemd.unit=", "emergency.target"},
		{"init=", "/bin/sh"}, {"init=", "/bin/bash"}, {"init=", "/bin/dash"}, {"rdinit=", "/bin/sh"},
	};
	cleanup_free char *text = qmr_guard_read_cmdline();

	for (size_t i = 0; text && i < sizeof(wanted) / sizeof(*wanted); i++) {
		char value[64];

		if (!wanted[i].value && has_word(text, wanted[i].word))
			return 1;
		if (wanted[i].value && find_value(text, wanted[i].word, value, sizeof(value)) == 0 &&
		    (!*wanted[i].value || !strcmp(value, wanted[i].value)))
			return 1;
	}
	return 0;
}

void qmr_guard_root_id(const struct qmr_config *config, uint8_t ret_root[16])
{
	char value[512];
	const char *name = qmr_guard_cmdline_get("root=", value, sizeof(value)) == 0 ? value : "";

	/* What qmrctl install wrote into machine.conf: a wrong root= is a failure of this installation, not another one. */
	if (qmr_uuid_parse(config->root_uuid, ret_root) == 0)
		return;
	if (!strncmp(name, "UUID=", 5) && qmr_uuid_parse(name + 5, ret_root) == 0)
		return;
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t part = qmr_crc32(i, name, strlen(name));

		memcpy(ret_root + 4 * i, &part, 4);
	}
}

uint32_t qmr_guard_uptime_s(void)
{
	struct timespec up = {0};

	(void)clock_gettime(CLOCK_BOOTTIME, &up);
	return (uint32_t)up.tv_sec;
}

static int mark_path(const struct qmr_guard *guard, const char *name, char ret_path[PATH_MAX], struct qmr_error *err)
{
	if (snprintf(ret_path, PATH_MAX, "%s/%s", guard->run, name) >= PATH_MAX - 16)
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", guard->run);
	return 0;
}

int qmr_guard_mark(const struct qmr_guard *guard, const char *name, const char *text, struct qmr_error *err)
{
	char path[PATH_MAX];
	int r = mark_path(guard, name, path, err);

	if (r == 0)
		r = qmr_file_mkdirs(AT_FDCWD, guard->run, 0755, err);
	return r < 0 ? r : qmr_file_replace(AT_FDCWD, path, text, strlen(text), 0644, err);
}

int qmr_guard_is_marked(const struct qmr_guard *guard, const char *name)
{
	char path[PATH_MAX];

	return mark_path(guard, name, path, NULL) == 0 && access(path, F_OK) == 0;
}

void qmr_guard_unmark(const struct qmr_guard *guard, const char *name)
{
	char path[PATH_MAX];

	if (mark_path(guard, name, path, NULL) == 0)
		(void)unlink(path); /* it was read; a second look finds it and does the same again */
}

/* The number that start left; -ESRCH if it did not. */
static int read_number(const struct qmr_guard *guard, uint32_t *ret_number, struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	char path[PATH_MAX];
	size_t size;
	int r = mark_path(guard, QMR_MARK_ATTEMPT, path, err);

	if (r == 0 && qmr_file_read(AT_FDCWD, path, 64, &text, &size, err) < 0)
		r = qmr_error_set(err, -ESRCH, "this boot was not counted at its start ('%s' is missing)", path);
	if (r == 0)
		*ret_number = (uint32_t)strtoul(text, NULL, 10);
	return r;
}

static int is_attempt(const struct qmr_state *state, uint32_t number)
{
	return state->n_attempts > 0 && state->attempts[0].number == number;
}

int qmr_guard_is_own(const struct qmr_guard *guard, const struct qmr_state *state)
{
	uint32_t number;

	return read_number(guard, &number, NULL) == 0 && is_attempt(state, number);
}

int qmr_guard_load_own(const struct qmr_guard *guard, struct qmr_state *ret_state, struct qmr_error *err)
{
	struct qmr_state state;
	uint32_t number;
	uint8_t root[16];
	int r = read_number(guard, &number, err);

	if (r < 0)
		return r;
	qmr_guard_root_id(guard->config, root);
	r = qmr_state_load(root, &state, err);
	if (r < 0)
		return r;
	if (!is_attempt(&state, number))
		return qmr_error_set(err, -ESRCH, "the newest attempt of the boot state is not this boot's");
	*ret_state = state;
	return 0;
}

int qmr_guard_may_restart(const struct qmr_guard *guard, const struct qmr_state *state)
{
	return guard->config->mode >= QMR_MODE_COLLECT && state->stage != QMR_STAGE_GIVEN_UP && state->stage != QMR_STAGE_FINAL;
}

void qmr_guard_set_note(struct qmr_state *state, const char *text)
{
	snprintf(state->note, sizeof(state->note), "%s", text);
}

/* How the next start is made to be recovery's. */
struct way {
	int is_loaders; /* systemd-boot's entry with one try, for the first image; else BootNext */
	uint16_t entry;
};

/*
 * The second image, if there is one, where the first was asked for and did not start, or started and did not record how it ended. Only the
 * detector, at the start of a boot, can know that: for whoever asks in the running system a switch is still to come.
 */
static enum qmr_slot choose_slot(const struct qmr_state *state, enum qmr_reason reason)
{
	int has_failed = (state->stage == QMR_STAGE_SWITCHING && state->switches > 0) || state->stage == QMR_STAGE_RECOVERING;
	uint16_t entry;

	return reason == QMR_REASON_DETECTOR && has_failed && qmr_firmware_find_entry(QMR_SLOT_SECOND, &entry, NULL) == 0 ? QMR_SLOT_SECOND
															   : QMR_SLOT_FIRST;
}

/* Looked at before anything is written. Where there are variables and no entry, somebody has taken recovery away. */
static int find_way(const struct qmr_guard *guard, enum qmr_slot slot, struct way *ret_way, struct qmr_error *err)
{
	struct way way = {.is_loaders = !qmr_firmware_has_variables()};
	struct qmr_error why = {0};
	int r = way.is_loaders ? qmr_guard_once_examine(guard, &why) : qmr_firmware_find_entry(slot, &way.entry, err);

	if (r < 0 && way.is_loaders)
		return qmr_error_set(err, r, "there are no EFI variables, and no other way: %s", why.text);
	if (r == 0 && way.is_loaders && slot != QMR_SLOT_FIRST)
		return qmr_error_set(err, -EOPNOTSUPP, "there are no EFI variables, and systemd-boot starts the first image only");
	if (r == 0)
		*ret_way = way;
	return r;
}

/* The variable is read back where it is written; the file here. */
static int require_saved(const struct qmr_state *state, struct qmr_error *err)
{
	struct qmr_state back;
	int r = qmr_state_load(state->root, &back, err);

	if (r == 0 && (back.sequence != state->sequence || back.stage != state->stage || back.switches != state->switches ||
		       back.flags != state->flags))
		r = qmr_error_set(err, -EIO, "the boot state reads back other than it was written");
	return r;
}

static int start_once(const struct qmr_state *state, struct qmr_error *err)
{
	int r = require_saved(state, err);

	return r < 0 ? r : qmr_guard_once_set(err);
}

/* state is saved. */
static int go(const struct qmr_guard *guard, const struct way *way, const struct qmr_state *state, struct qmr_error *err)
{
	struct qmr_error why = {0};
	int r;

	if (way->is_loaders)
		return start_once(state, err);
	r = qmr_firmware_set_next(way->entry, err);
	if (r < 0 && qmr_guard_once_examine(guard, &why) == 0) {
		qmr_notice("%s; systemd-boot starts recovery instead", err->text);
		return start_once(state, err);
	}
	return r;
}

int qmr_guard_request(const struct qmr_guard *guard, struct qmr_state *state, enum qmr_reason reason, uint8_t limit, const char *note,
		      struct qmr_error *err)
{
	struct way way;
	int r = find_way(guard, choose_slot(state, reason), &way, err);

	if (r < 0)
		return r;
	if (state->stage == QMR_STAGE_NONE || state->stage == QMR_STAGE_HEALED || state->stage == QMR_STAGE_FINAL ||
	    state->stage == QMR_STAGE_GIVEN_UP || qmr_uuid_is_null(state->incident)) {
		qmr_uuid_random(state->incident);
		state->failed_boots = (uint8_t)qmr_state_failures(state);
		state->recovery_runs = 0;
		state->switches = 0;
		state->rungs = 0;
		state->final = QMR_END_NONE;
		state->remediation[0] = '\0';
	}
	if (state->stage != QMR_STAGE_SWITCHING) {
		state->reason = (uint8_t)reason;
		state->rungs = (uint8_t)((state->rungs & ~QMR_RUNG_SIGNED_ONLY) | limit);
	}
	/* Whoever asks again in the running system replaces a request that had not begun. */
	state->switches = reason == QMR_REASON_DETECTOR ? (uint8_t)(state->switches + 1) : 1;
	state->stage = QMR_STAGE_SWITCHING;
	qmr_guard_set_note(state, note);
	r = qmr_state_save(state, err);
	return r < 0 ? r : go(guard, &way, state, err);
}

int qmr_guard_request_test(const struct qmr_guard *guard, struct qmr_state *state, enum qmr_slot slot, struct qmr_error *err)
{
	struct way way;
	int r;

	if (state->stage == QMR_STAGE_SWITCHING)
		return qmr_error_set(err, -EBUSY, "a switch to recovery is pending; 'qmrctl cancel' takes it back");
	r = find_way(guard, slot, &way, err);
	if (r < 0)
		return r;
	state->flags |= slot == QMR_SLOT_SECOND ? QMR_STATE_TEST | QMR_STATE_SECOND : QMR_STATE_TEST;
	r = qmr_state_save(state, err);
	return r < 0 ? r : go(guard, &way, state, err);
}
