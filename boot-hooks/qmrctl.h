/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMRCTL_H
#define QMRCTL_H

#include <jansson.h>
#include <limits.h>
#include <stdint.h>

#include "boot-state.h"
#include "config.h"
#include "error.h"
#include "esp.h"
#include "firmware.h"
#include "loader-entries.h"

#define QMRCTL_STATE_FOLDER "/var/lib/qmr"
#define QMRCTL_PENDING QMRCTL_STATE_FOLDER "/register-pending"
#define QMRCTL_MACHINE_CONF "/etc/qmr/machine.conf" /* lib/config reads it beside the configuration */
#define QMRCTL_UNINSTALLED "/etc/qmr/uninstalled" /* keeps boot-guard out of the initramfs, initramfs-tools/hook */
#define QMRCTL_RELEASE 128                        /* a kernel release, with NUL */

/* What each of the two recovery images has. */
struct qmrctl_slot {
	const char *name;      /* for people, without an article */
	const char *image;     /* below the ESP */
	const char *firmware;  /* the same as firmware writes it */
	const char *last_test; /* docs/boot-state.md; recovery writes it */
	const char *note;      /* begins a note that holds the result of a test */
};
extern const struct qmrctl_slot qmrctl_slots[QMR_SLOTS]; /* qmrctl-image.c */

/* One run of the program: its options, and what was found out so far. */
struct qmrctl {
	const char *config_path;
	const char *argument; /* of mode, defer and undo */
	const char *reason, *slot;
	struct qmr_machine_known known;
	int config_given, no_variables, force, purge, json, now, next, collect_only, test;
	struct qmr_config config;
	struct qmr_machine machine;
	char said[512]; /* what the step that ended did, one line for people */
};

/* Steps and commands return 0 or a negative errno; a step leaves a line in said. */
typedef int qmrctl_step_fn(struct qmrctl *ctl, struct qmr_error *err);

struct qmrctl_step {
	const char *name;
	qmrctl_step_fn *run;
};

/* Runs steps in order, prints a line for each, and on failure says what was done before. */
int qmrctl_run_steps(struct qmrctl *ctl, const char *what, const struct qmrctl_step *steps, size_t n_steps,
		     struct qmr_error *err) QMR_MUST_CHECK;

/* Puts a step's one line into said, cut at the end if it does not fit. */
void qmrctl_say(struct qmrctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Runs a program to its end; any other exit code than 0 is an error. Its standard output is dropped. */
int qmrctl_run_program(char *const argv[], int deadline_s, struct qmr_error *err) QMR_MUST_CHECK;

/* 1 if the files hold the same bytes, 0 if not, or if one cannot be read. */
int qmrctl_same_file(const char *a, const char *b);

/* 0 if there is no such regular file. */
uint64_t qmrctl_file_bytes(const char *path);

/* The commands of qmrctl(8). Each prints its own result; err is logged by the caller. */

/* Sets everything up; what is as it should be is not touched. */
int qmrctl_install(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Makes the boot entries of a running machine; -EINVAL with --no-variables. */
int qmrctl_register(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Takes everything away again, incidents and restore points only with --purge. */
int qmrctl_uninstall(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Records a switch to recovery, or a test of an image, and reboots unless --next was given. */
int qmrctl_recover(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Takes a switch or a test back. -ENODATA: none was pending. */
int qmrctl_cancel(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Puts a restart off that somebody is told of. -ENODATA: none is waited for. */
int qmrctl_defer(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Records this boot as healthy, and starts the units that follow a healthy boot. */
int qmrctl_healthy(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Prints what is installed, recorded and pending; what cannot be read is named there, and is no error. */
int qmrctl_status(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Prints the attempts of the boot state and those that healthy boots wrote down. */
int qmrctl_history(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Prints what recovery and vaccinations changed on this system, newest first. */
int qmrctl_remediations(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Takes one of them back. -ENODATA: there is none of that number. */
int qmrctl_undo(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Writes the mode down, and makes anew what depends on it where recovery is installed. */
int qmrctl_mode(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Looks at everything that install sets up, and changes nothing. -EBADMSG: findings were printed. */
int qmrctl_check(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* qmrctl-test.c: what is known of the last test of a recovery image. */
enum qmrctl_test_result { QMRCTL_TEST_NONE, QMRCTL_TEST_WAITING, QMRCTL_TEST_NO_ANSWER, QMRCTL_TEST_OK, QMRCTL_TEST_FAILED };
struct qmrctl_test {
	enum qmrctl_test_result result;
	int64_t unix_s; /* when it was, or was asked for; 0: not known */
	char text[320]; /* what failed */
};
/* The word of status --json. */
const char *qmrctl_test_name(enum qmrctl_test_result result);
/* state: as loaded; an empty one where it could not be. What cannot be read is no test. */
void qmrctl_test_load(const struct qmr_state *state, enum qmr_slot slot, struct qmrctl_test *ret_test);
/* Notes that a test was asked for; recovery replaces the note by its result. */
int qmrctl_test_begin(enum qmr_slot slot, struct qmr_error *err) QMR_MUST_CHECK;
/* Takes back what of it was asked for in state and has not begun: else it would be taken for a test that did not answer. */
void qmrctl_test_forget(const struct qmr_state *state);

/* qmrctl-status.c: json (NULL: out of memory) to standard output. */
int qmrctl_print_json(const json_t *json, struct qmr_error *err) QMR_MUST_CHECK;
/* The error's text (new reference), JSON's null where there is none; NULL: out of memory. */
json_t *qmrctl_error_json(const struct qmr_error *error);
/* For people. Control characters become '?': what is printed of a variable, an image or a file steers no terminal. */
void qmrctl_clean(char *text);
/* Local time, "2026-01-02 03:04:05"; "?" where there is none. */
void qmrctl_format_time(int64_t unix_s, char ret_text[32]);

/* qmrctl-remediations.c: what `remediation-apply list` prints; the caller owns *ret_json. */
int qmrctl_remediations_load(const struct qmrctl *ctl, json_t **ret_json, struct qmr_error *err) QMR_MUST_CHECK;
/* How many of them there are; json NULL: none. Undoing is not counted. */
void qmrctl_remediations_count(const json_t *json, int *ret_in_effect, int *ret_undone);

/* qmrctl-history.c: one line. */
void qmrctl_print_attempt(const struct qmr_attempt *attempt);

/* Steps that several commands share; one whose work is done already says so and writes nothing. */

/* The configuration is well-formed, and the files that it names are there and what they should be. */
int qmrctl_step_config(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Finds ctl->machine: root and EFI system partition. -EOPNOTSUPP, without --force: a root that recovery cannot reach. */
int qmrctl_step_machine(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* State folder and watched paths lie on the root. --force lets the latter be elsewhere, not the former. */
int qmrctl_step_paths(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Has every initramfs carry boot-guard. */
int qmrctl_step_initramfs(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Builds the first recovery image, for the kernel that runs (--no-variables: the newest), and puts it on the ESP durably. */
int qmrctl_step_image(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * The second one, with a kernel that this machine was healthy on, or a copy of the first. Where there is no room for it, it is removed, which is no
 * error.
 */
int qmrctl_step_second_image(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Keeps recovery from being what systemd-boot starts every day. */
int qmrctl_step_loader(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Makes the firmware's boot entries; with --no-variables leaves that to the first boot. */
int qmrctl_step_register(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Says which watchdog guards what; one that a program of this system holds is left to it by a drop-in of the configuration. */
int qmrctl_step_watchdog(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Enables the units, and has systemd-pstore leave crash records alone. */
int qmrctl_step_units(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Gives the entries of this system boot counters, or takes them off, as the mode wants it. */
int qmrctl_step_tries(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* Adds panic= to the kernel command line, or takes it off, as the mode wants it. */
int qmrctl_step_panic(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* qmrctl-initramfs.c: 0 if every initramfs, *ret_images of them, carries boot-guard as it should; the message says which does not, and why. */
int qmrctl_initramfs_examine(int *ret_images, struct qmr_error *err) QMR_MUST_CHECK;
/* Has initramfs-tools make all of them anew; -EOPNOTSUPP where it is not installed. */
int qmrctl_initramfs_update(struct qmr_error *err) QMR_MUST_CHECK;
/* 1 if the file is a copy of one of them, 0 if of none. */
int qmrctl_initramfs_is_copy(const char *path);

/* qmrctl-image.c */
struct qmrctl_image {
	uint64_t bytes;
	int64_t modified_unix_s;
	char kernel[QMRCTL_RELEASE]; /* empty if the file does not say */
};
/* Where the slot's image is, or would be, below the ESP that the machine step found; -ENAMETOOLONG. */
int qmrctl_image_path(const struct qmrctl *ctl, enum qmr_slot slot, char ret_path[PATH_MAX], struct qmr_error *err) QMR_MUST_CHECK;
/* -ENOENT if there is none. What it says of its kernel is looked at, no more. */
int qmrctl_image_examine(const struct qmrctl *ctl, enum qmr_slot slot, struct qmrctl_image *ret_image, struct qmr_error *err) QMR_MUST_CHECK;
/* What a power cut left beside path of writing it. -EUCLEAN if both have the same blocks. A missing one is fine. */
int qmrctl_image_remove_leftover(const char *path, struct qmr_error *err) QMR_MUST_CHECK;
/* -EEXIST: there is one. */
int qmrctl_image_examine_leftover(const struct qmrctl *ctl, enum qmr_slot slot, struct qmr_error *err) QMR_MUST_CHECK;
/* Builds with that kernel and compares with the slot's image: 1 same, 0 other. */
int qmrctl_image_compare(const struct qmrctl *ctl, enum qmr_slot slot, const char *kernel, struct qmr_error *err) QMR_MUST_CHECK;
/* Builds one for that kernel (NULL: the newest) as QMRCTL_BUILT; the caller unlinks it. */
int qmrctl_image_build(const struct qmrctl *ctl, const char *kernel, struct qmr_error *err) QMR_MUST_CHECK;
#define QMRCTL_BUILT QMRCTL_STATE_FOLDER "/recovery-image.new"
/*
 * Durably makes the slot's image the same as the file source. 1 if it was already, 0 if it was written. Where there is no room for it beside
 * the old one, the second image makes way, whichever slot it is for, if there is a first one. On any failure the old first one stays.
 */
int qmrctl_image_put(const struct qmrctl *ctl, enum qmr_slot slot, const char *source, struct qmr_error *err) QMR_MUST_CHECK;
/* Removes the slot's image and what a power cut left of writing it: 1 if there was one, 0 if not. */
int qmrctl_image_remove(const struct qmrctl *ctl, enum qmr_slot slot, struct qmr_error *err) QMR_MUST_CHECK;
/* Bytes of the slot's image, 0 if there is none. */
uint64_t qmrctl_image_bytes(const struct qmrctl *ctl, enum qmr_slot slot);
/* Bytes that are free on the EFI system partition. */
int qmrctl_esp_free(const struct qmrctl *ctl, uint64_t *ret_bytes, struct qmr_error *err) QMR_MUST_CHECK;

/* qmrctl-install.c: 1 if that boot entry starts the slot's image, 0 if something else. */
int qmrctl_entry_starts(const struct qmrctl *ctl, enum qmr_slot slot, uint16_t number, struct qmr_error *err) QMR_MUST_CHECK;

/* qmrctl-second.c: -ENOSPC if a second image of so many bytes would leave less free than has to stay; the figures are in the message. */
int qmrctl_second_require_room(const struct qmrctl *ctl, uint64_t bytes, struct qmr_error *err) QMR_MUST_CHECK;

/* qmrctl-loader.c: 0 if recovery is not what systemd-boot boots every day, or if it is not used. */
int qmrctl_loader_examine(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;
/* 1 if its program, loader.conf or a folder of entries is on the ESP or the extended boot loader partition. */
int qmrctl_loader_is_used(const struct qmrctl *ctl);
int qmrctl_loader_is_systemd_boot(const struct qmrctl *ctl); /* 1 if its program is on the ESP */
/* All entries of the ESP (place 0) and the extended boot loader partition (place 1). */
int qmrctl_loader_read_menu(const struct qmrctl *ctl, struct qmr_loader_menu *menu, struct qmr_error *err) QMR_MUST_CHECK;

/* qmrctl-tries.c: boot counters on the ESP's entries. */
struct qmrctl_tries {
	int count;        /* of each entry of this system's, 0: none */
	int is_file_ours; /* /etc/kernel/tries is, or will be */
};
/* What the mode, [loader] tries and kernel-install's own file ask for. */
struct qmrctl_tries qmrctl_tries_wanted(const struct qmrctl *ctl);
/*
 * 0 if the counters are as wanted. -ENOENT: entries of this system have none; -EEXIST: a default that does not look at them, or counters that are
 * still there and should not be.
 */
int qmrctl_tries_examine(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;
/* Takes away what is no longer wanted and was ours: how many entries. The mode of ctl->config decides, here and below. */
int qmrctl_tries_take_back(const struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* qmrctl-panic.c: panic= on the kernel command line. 1 if ours is on one of them, or the step will put it there. */
int qmrctl_panic_is_ours(const struct qmrctl *ctl);
/* 0 if it is as the mode and [policy] panic_timeout want it, -ENOENT with one file where it is not. */
int qmrctl_panic_examine(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;
/* Takes ours off again where the mode does not want it: from how many files. */
int qmrctl_panic_take_back(const struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* qmrctl-machine.c: machine.conf says what the machine step found. */
int qmrctl_step_machine_conf(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;
/* 0 if the file is as the step would write it, -ESTALE if it is missing or another. */
int qmrctl_machine_conf_examine(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;
int qmrctl_machine_conf_remove(struct qmr_error *err) QMR_MUST_CHECK; /* a missing one is fine */

/* qmrctl-keys.c: -EPERM, without --force, if a TPM keeps a disk's key bound to what install changes: boot entries, initramfs, command line. */
int qmrctl_step_keys(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* The same of what register changes: boot entries. */
int qmrctl_step_keys_entries(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* The same of what mode changes: initramfs and command line. */
int qmrctl_step_keys_initramfs(struct qmrctl *ctl, struct qmr_error *err) QMR_MUST_CHECK;

/* The keys that install, mode or register change something for, and how many are bound to other registers; a list of the first ones. */
void qmrctl_keys_find(size_t *ret_n, size_t *ret_others, char *ret_list, size_t size);

/* qmrctl-units.c: 0 if all units are enabled; the message names one that is not. */
int qmrctl_units_examine(struct qmr_error *err) QMR_MUST_CHECK;
/* Disables them, and gives crash records back to systemd-pstore. */
int qmrctl_units_disable(struct qmr_error *err) QMR_MUST_CHECK;

#endif
