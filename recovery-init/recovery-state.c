/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <efivar/efivar.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uchar.h>
#include <unistd.h>

#include "acknowledge.h"
#include "boot-state-json.h"
#include "cleanup.h"
#include "esp-mount.h"
#include "file.h"
#include "json.h"
#include "loader-once.h"
#include "log.h"
#include "records.h"
#include "uuid.h"
#include "watchdog.h"

/*
 * What recovery does to the boot state, as a program of its own: firmware may hang or crash its caller, and libefivar looks
 * only once, when it is loaded, whether there are variables, which is too early in PID 1.
 */

#define LOAD_OPTION_ACTIVE 1 /* UEFI 2.10, 3.1.3 */
#define LOAD_OPTION_CATEGORY 0x1f /* of the second byte: not 0 is an application */
#define ENTRY_NAME u"Quick machine recovery" /* that of the second image begins with it */
#define ENTRY_NAME_BYTES (sizeof(ENTRY_NAME) - sizeof(char16_t))
#define ENTRY_NAME_SECOND ENTRY_NAME u", second image"

static const char usage[] =
	"Usage: recovery-state acknowledge [--esp PATH]\n"
	"       recovery-state loader\n"
	"       recovery-state end --stage NAME [--final NAME] [--rung N] [--remediation ID] [--note TEXT]\n"
	"                      [--floor FLOOR]\n"
	"Tells the boot state that recovery runs, and how it ended.\n"
	"\n"
	"  --stage NAME      a word of docs/boot-state.md\n"
	"  --final NAME      final condition: none, normal-boot, halt or menu\n"
	"  --rung N          bits to add to the rungs that were tried\n"
	"  --remediation ID  plan that was applied\n"
	"  --boot-other RUN  let the firmware start another entry than ours next, if need be\n"
	"  --floor FLOOR     highest versions of the repository that were seen\n"
	"  --note TEXT       one line for people\n"
	"  --esp PATH        EFI system partition, device or folder: the boot state may be in the\n"
	"                    file there\n"
	"  --config FILE     configuration (default " QMR_CONFIG_PATH ")\n"
	"  --help            this text\n"
	"  --version         the version\n";

static int get_variable(const char *name, uint8_t **ret_data, size_t *ret_size)
{
	uint32_t attributes;

	if (efi_get_variable(EFI_GLOBAL_GUID, name, ret_data, ret_size, &attributes) == 0)
		return 0;
	*ret_data = NULL;
	efi_error_clear();
	return -1;
}

/*
 * Whether the name of the entry that the firmware started begins so. A load option is 4 bytes of attributes, 2 of a length, then the
 * description in UTF-16 (UEFI 2.10, 3.1.3).
 */
static int is_started_by(const void *name_begin, size_t bytes)
{
	cleanup_free uint8_t *current = NULL, *option = NULL;
	size_t size = 0;
	char name[9];

	if (get_variable("BootCurrent", &current, &size) < 0 || size < 2)
		return 0;
	snprintf(name, sizeof(name), "Boot%04X", (unsigned int)(current[0] | current[1] << 8));
	return get_variable(name, &option, &size) == 0 && size >= 6 + bytes && !memcmp(option + 6, name_begin, bytes);
}

/* What the first of two calls left for PID 1. */
static int read_file(struct qmr_state *ret_state)
{
	cleanup_free char *bytes = NULL;
	size_t size;
	int r = qmr_file_read(AT_FDCWD, QMR_STATE_FILE, QMR_STATE_BYTES_MAX, &bytes, &size, NULL);

	return r < 0 ? r : qmr_state_decode(bytes, size, ret_state, NULL);
}

/*
 * The state of this image's root. Another system's is never acted on: its root is not the one that this image repairs. Returns 1 if this run
 * of recovery is in it already: with the file in reach, it is the second look.
 */
static int load(const uint8_t root[16], struct qmr_state *ret_state, int *ret_is_lost)
{
	uint8_t bytes[QMR_STATE_BYTES], seen_bytes[QMR_STATE_BYTES];
	struct qmr_error err = {0};
	struct qmr_state seen;
	int has_seen = qmr_state_get_place() && read_file(&seen) == 0;
	int r = qmr_state_load(root, ret_state, &err);

	*ret_is_lost = r < 0 && r != -EBADMSG && r != -ESTALE;
	if (has_seen)
		seen.flags &= ~QMR_STATE_REQUESTS; /* of this run alone, and in no store any more */
	if (r == 0 && has_seen) {
		qmr_state_encode(ret_state, bytes);
		qmr_state_encode(&seen, seen_bytes);
		return !memcmp(bytes, seen_bytes, sizeof(bytes));
	}
	/* No store has it: the first call has begun an empty history and could not keep it. */
	if (r < 0 && has_seen) {
		*ret_state = seen;
		return 1;
	}
	if (r < 0)
		qmr_warning("%s; beginning with an empty history", err.text);
	return 0;
}

/* Tells who comes later in this run that the file counts, or may. */
static void mark(int is_in_file)
{
	struct qmr_error err = {0};

	if (!is_in_file)
		(void)unlink(QMR_STATE_IN_FILE); /* with it the file is looked at without need */
	else if (qmr_file_replace(AT_FDCWD, QMR_STATE_IN_FILE, "", 0, 0600, &err) < 0)
		qmr_warning("%s; a boot state on the disk is not seen", err.text);
}

/* For PID 1, and as JSON for crash-collect; both have no business with firmware. */
static int write_files(const struct qmr_state *state, struct qmr_error *err)
{
	cleanup_json json_t *json = qmr_state_to_json(state);
	uint8_t bytes[QMR_STATE_BYTES];
	int r;

	if (!json)
		return qmr_error_set(err, -ENOMEM, "writing '" QMR_STATE_JSON "': out of memory");
	r = qmr_json_save(AT_FDCWD, QMR_STATE_JSON, json, 0600, err);
	qmr_state_encode(state, bytes);
	return r < 0 ? r : qmr_file_replace(AT_FDCWD, QMR_STATE_FILE, bytes, sizeof(bytes), 0600, err);
}

/* The reset may have led here directly: no boot-guard has seen its reason. */
static void judge_watchdog(const struct qmr_config *config, struct qmr_state *state)
{
	cleanup_close int class_fd = open(QMR_WATCHDOG_CLASS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct qmr_watchdog watchdog;

	if (class_fd >= 0 && qmr_watchdog_is_allowed(config) && qmr_watchdog_find(class_fd, &watchdog, NULL) == 0)
		(void)qmr_watchdog_judge(state, 0, watchdog.was_reset); /* the state is saved in any case */
}

/* Of a test nothing is noted: crash records are counted by the boot that follows. */
static void take_notice(const struct qmr_config *config, int is_test, struct qmr_state *state)
{
	cleanup_close int pstore = open(QMR_PSTORE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct qmr_evidence evidence = {.crash_uptime_s = -1};

	if (is_test) {
		if (!strncmp(state->note, QMR_NOTE_TESTED, strlen(QMR_NOTE_TESTED)) ||
		    !strncmp(state->note, QMR_NOTE_TESTED_SECOND, strlen(QMR_NOTE_TESTED_SECOND)))
			state->note[0] = '\0'; /* that of the test before */
		return;
	}
	judge_watchdog(config, state);
	if (pstore >= 0)
		qmr_records_find_new(pstore, state, &evidence);
	(void)qmr_acknowledge(state, &evidence, config->crash_window_s, is_started_by(ENTRY_NAME, ENTRY_NAME_BYTES));
	snprintf(state->note, sizeof(state->note), "recovery runs");
}

/* The entry that this run may have been started by has done what it was for; it must never do so again. */
static void clear_once(void)
{
	struct qmr_error err = {0};
	cleanup_close int fd = qmr_esp_mount(qmr_state_get_place(), 0, &err);
	int n = fd < 0 ? fd : qmr_loader_once_remove(fd, &err);

	if (n < 0)
		qmr_warning("%s; the boot entry that starts recovery once may still be there", err.text);
}

static int acknowledge(const struct qmr_config *config, struct qmr_error *err)
{
	struct qmr_error write_err = {0};
	uint8_t root[16] = {0};
	struct qmr_state state, before;
	uint32_t request = qmr_state_get_place() && read_file(&before) == 0 ? before.flags & QMR_STATE_REQUESTS : 0;
	int is_again, is_lost, saved = 0, r;

	if (qmr_uuid_parse(config->root_uuid, root) < 0)
		memset(root, 0, sizeof(root)); /* an image without a machine.conf recovers nothing, but it says so */
	is_again = load(root, &state, &is_lost);
	if (!is_again) {
		request |= qmr_acknowledge_take_request(&state);
		if (is_started_by(ENTRY_NAME_SECOND, sizeof(ENTRY_NAME_SECOND)))
			request |= QMR_STATE_SECOND;
		take_notice(config, (request & QMR_STATE_TEST) != 0, &state);
	}
	if (!is_again || is_lost)
		saved = qmr_state_save(&state, err);
	if (qmr_state_get_place())
		clear_once();
	mark(qmr_state_get_place() ? qmr_state_is_in_file() == 1 : is_lost || saved < 0);
	state.flags |= request; /* of this run, which the files are for */
	r = write_files(&state, &write_err); /* recovery goes on without variables, but not without these */
	if (r < 0)
		qmr_error_log("%s", write_err.text);
	return saved < 0 ? saved : r;
}

/* What looked like a choice in the menu was the loader's own: it had nothing else left. */
static int set_reason_loader(struct qmr_error *err)
{
	struct qmr_state state;
	int r = qmr_state_load(NULL, &state, err);

	if (r < 0)
		return r;
	state.reason = QMR_REASON_LOADER;
	r = qmr_state_save(&state, err);
	return r < 0 ? r : write_files(&state, err);
}

struct ending_words {
	const char *stage, *final, *rung, *remediation, *note, *boot_other, *floor;
};

/* Whether a device path has a node that is no disk or file on one: firmware's own programs, the network, a legacy BIOS. */
static int has_other_device(const uint8_t *path, size_t size)
{
	static const struct {
		uint8_t type, subtype; /* UEFI 2.10, 10.3; subtype 0: any */
	} others[] = {
		{3, 11}, {3, 12}, {3, 13}, {3, 24}, /* MAC, IPv4, IPv6, URI */
		{4, 6},	 {4, 7},		    /* a file in the firmware's volume */
		{5, 0},				    /* BIOS boot */
	};

	for (size_t at = 0; at + 4 <= size;) {
		size_t length = path[at + 2] | (size_t)path[at + 3] << 8;

		if (length < 4 || length > size - at)
			return 1; /* damaged */
		for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
			if (path[at] == others[i].type && (!others[i].subtype || path[at + 1] == others[i].subtype))
				return 1;
		at += length;
	}
	return 0;
}

/* Whether an entry starts something from a disk: active, no application of the firmware (setup, shell, memory test). */
static int is_system(const uint8_t *number)
{
	cleanup_free uint8_t *option = NULL;
	size_t size = 0, at = 6, path_size;
	char name[9];

	snprintf(name, sizeof(name), "Boot%04X", (unsigned int)(number[0] | number[1] << 8));
	if (get_variable(name, &option, &size) < 0 || size < 8 || !(option[0] & LOAD_OPTION_ACTIVE) ||
	    option[1] & LOAD_OPTION_CATEGORY)
		return 0;
	path_size = option[4] | (size_t)option[5] << 8;
	while (at + 1 < size && (option[at] || option[at + 1]))
		at += 2;
	at += 2;
	return at <= size && path_size >= 4 && path_size <= size - at && !has_other_device(option + at, path_size);
}

static int set_next(const uint8_t number[2], struct qmr_error *err)
{
	uint8_t data[2] = {number[0], number[1]};

	if (efi_set_variable(EFI_GLOBAL_GUID, "BootNext", data, sizeof(data),
			     EFI_VARIABLE_NON_VOLATILE | EFI_VARIABLE_BOOTSERVICE_ACCESS | EFI_VARIABLE_RUNTIME_ACCESS,
			     0644) == 0)
		return 0;
	efi_error_clear();
	return qmr_error_errno(err, errno > 0 ? -errno : -EIO, "writing EFI variable 'BootNext'");
}

/*
 * The firmware came here by BootOrder: perhaps it moved the system's own entry behind ours when a device changed, and a plain restart would
 * lead back here. Then the entries behind ours are started once each, one in a run, as the firmware would have done without us. Where
 * entries stand before ours, BootNext may have been set from outside, and the first run restarts plainly.
 */
static int boot_other(int run, struct qmr_error *err)
{
	cleanup_free uint8_t *order = NULL, *current = NULL;
	size_t size = 0, current_size = 0;
	int is_behind = 0, n = run;

	if (get_variable("BootOrder", &order, &size) < 0 || get_variable("BootCurrent", &current, &current_size) < 0 ||
	    current_size < 2)
		return qmr_error_set(err, -ENOENT, "the firmware names no order of boot entries");
	for (size_t at = 0; at + 1 < size; at += 2) {
		if (!memcmp(order + at, current, 2))
			is_behind = 1;
		else if (is_system(order + at) && !is_behind && n == run && --n == 0)
			return 0;
		else if (is_behind && is_system(order + at) && --n == 0)
			return set_next(order + at, err);
	}
	return qmr_error_set(err, -ENOENT, "the firmware has no other boot entry to try");
}

static int find_word(const char *word, const char *(*name)(unsigned int), unsigned int n)
{
	for (unsigned int i = 0; word && i < n; i++)
		if (!strcmp(name(i), word))
			return (int)i;
	return -EINVAL;
}

/* Into the state as it is now: remediation-apply writes it too. */
static int end(const struct ending_words *words, struct qmr_error *err)
{
	int stage = find_word(words->stage, qmr_stage_name, QMR_STAGE_HEALED + 1);
	int final = find_word(words->final, qmr_final_condition_name, QMR_END_MENU + 1);
	struct qmr_state state;
	int r;

	if (stage < 0 || final < 0)
		return qmr_error_set(err, -EINVAL, "end needs a --stage and a --final that exist");
	r = qmr_state_load(NULL, &state, err);
	if (r < 0)
		return r;
	if (words->boot_other && boot_other(atoi(words->boot_other), err) < 0)
		qmr_warning("%s; the next start may lead here again", err->text);
	state.stage = (uint8_t)stage;
	state.final = (uint8_t)final;
	state.rungs |= (uint8_t)atoi(words->rung);
	if (words->remediation)
		snprintf(state.remediation, sizeof(state.remediation), "%s", words->remediation);
	if (words->floor && qmr_floor_parse(words->floor, &state.floor, err) < 0)
		qmr_warning("--floor: %s; what was seen is not remembered", err->text);
	if (words->note)
		snprintf(state.note, sizeof(state.note), "%s", words->note);
	return qmr_state_save(&state, err);
}

static int run(const char *command, const char *config_path, const struct ending_words *words)
{
	struct qmr_error err = {0};
	struct qmr_config config;
	int r;

	if (qmr_config_load(config_path, &config, &err) < 0)
		qmr_warning("%s; going on with safe defaults", err.text);
	if (!strcmp(command, "acknowledge"))
		r = acknowledge(&config, &err);
	else if (!strcmp(command, "loader"))
		r = set_reason_loader(&err);
	else if (!strcmp(command, "end"))
		r = end(words, &err);
	else
		r = qmr_error_set(&err, -EINVAL, "unknown command '%s'", command);
	if (r < 0)
		qmr_error_log("%s; %s", err.text, !strcmp(command, "acknowledge") && !qmr_state_get_place()
							  ? "the file on the disk is looked at later"
							  : "the next boot will not know of this");
	return r == -EINVAL ? QMR_EXIT_USAGE : r < 0 ? QMR_EXIT_FAILURE : QMR_EXIT_OK;
}

int main(int argc, char **argv)
{
	struct ending_words words = {.final = "none", .rung = "0"};
	const char *config_path = QMR_CONFIG_PATH, *esp = NULL;
	const struct option options[] = {
		{"stage", required_argument, NULL, 's'}, {"final", required_argument, NULL, 'f'},
		{"rung", required_argument, NULL, 'r'},	 {"remediation", required_argument, NULL, 'm'},
		{"note", required_argument, NULL, 'n'},	 {"config", required_argument, NULL, 'c'},
		{"boot-other", required_argument, NULL, 'b'}, {"floor", required_argument, NULL, 'l'}, {"esp", required_argument, NULL, 'e'},
		{"help", no_argument, NULL, 'h'},	 {"version", no_argument, NULL, 'V'},
		{0},
	};
	int option;

	qmr_log_open("recovery-state", 1);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'h':
			return fputs(usage, stdout) < 0;
		case 'V':
			return puts("recovery-state " QMR_VERSION) < 0;
		case '?':
			return QMR_EXIT_USAGE;
		default:
			*(option == 's'	  ? &words.stage
			  : option == 'f' ? &words.final
			  : option == 'r' ? &words.rung
			  : option == 'm' ? &words.remediation
			  : option == 'n' ? &words.note
			  : option == 'b' ? &words.boot_other
			  : option == 'l' ? &words.floor
			  : option == 'e' ? &esp
					  : &config_path) = optarg;
		}
	qmr_state_set_place(esp, 1);
	if (optind + 1 == argc)
		return run(argv[optind], config_path, &words);
	fputs(usage, stderr);
	return QMR_EXIT_USAGE;
}
