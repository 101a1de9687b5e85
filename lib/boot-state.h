/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_BOOT_STATE_H
#define QMR_BOOT_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "floor.h"

/* docs/boot-state.md: every byte of the encoded form and what the fields mean. */

#define QMR_STATE_BYTES 992
#define QMR_STATE_BYTES_MIN 960 /* of earlier programs: without a floor */
#define QMR_STATE_BYTES_MAX 1024
#define QMR_STATE_VERSION 1
#define QMR_STATE_ATTEMPTS 16
#define QMR_STATE_RECORDS 16
#define QMR_STATE_MODULES 4
#define QMR_MODULE_NAME 56 /* the kernel's MODULE_NAME_LEN on 64 bit, with NUL */

enum qmr_outcome { QMR_OPEN, QMR_HEALTHY, QMR_CLEAN_SHUTDOWN, QMR_PANIC, QMR_HANG, QMR_EMERGENCY, QMR_UNKNOWN };
enum qmr_phase { QMR_PHASE_INITRAMFS, QMR_PHASE_USERSPACE, QMR_PHASE_WAITING, QMR_PHASE_HEALTHY, QMR_PHASE_SHUTDOWN };
enum qmr_stage {
	QMR_STAGE_NONE,
	QMR_STAGE_SWITCHING,
	QMR_STAGE_RECOVERING,
	QMR_STAGE_PROBATION,
	QMR_STAGE_GIVEN_UP,
	QMR_STAGE_FINAL,
	QMR_STAGE_HEALED
};
enum qmr_reason {
	QMR_REASON_NONE,
	QMR_REASON_DETECTOR,
	QMR_REASON_REQUESTED,
	QMR_REASON_MENU,
	QMR_REASON_BOOT_ORDER,
	QMR_REASON_LOADER
};
enum qmr_final_condition { QMR_END_NONE, QMR_END_NORMAL_BOOT, QMR_END_HALT, QMR_END_MENU };

#define QMR_STATE_OBSERVED 0x1        /* bits of the state's flags: observe would have recovered */
#define QMR_STATE_WATCHDOG_STICKY 0x2 /* the watchdog's reset reason stays set over orderly restarts: it says nothing */
#define QMR_STATE_COLLECT_ONLY 0x4    /* the run of recovery that was asked for changes nothing, whatever the mode */
#define QMR_STATE_TEST 0x8            /* recovery was asked for to see whether its image works: no incident, nothing collected */
#define QMR_STATE_WATCHDOG_SEEN 0x10  /* the watchdog's reset reason was set in a boot that had an orderly end */
#define QMR_STATE_SECOND 0x20         /* the test is one of the second image; under /run/qmr: this run is of it */
/* What is asked of one run of recovery and of no later one. */
#define QMR_STATE_REQUESTS ((uint32_t)(QMR_STATE_COLLECT_ONLY | QMR_STATE_TEST | QMR_STATE_SECOND))

#define QMR_ATTEMPT_RECOVER 0x1  /* recovery was asked for at this start */
#define QMR_ATTEMPT_OBSERVED 0x2 /* it would have been, but for mode observe */
#define QMR_ATTEMPT_PROBATION 0x4
#define QMR_ATTEMPT_RECOVERED 0x8 /* recovery ran since, and no boot was started */
#define QMR_ATTEMPT_SOON 0x10     /* it crashed within the window after it had been healthy */
#define QMR_ATTEMPT_ATTENDED 0x20 /* somebody was at it: neither counts nor resets */
#define QMR_ATTEMPT_OOPS 0x40     /* the kernel oopsed and went on */
#define QMR_ATTEMPT_HIBERNATED 0x80 /* it was written to disk: the next start may be its resume */

/* What an outcome was judged by. */
enum qmr_evidence_source {
	QMR_BY_NONE,
	QMR_BY_CRASH_RECORD,
	QMR_BY_WATCHDOG,
	QMR_BY_INITRAMFS_SHELL,
	QMR_BY_EMERGENCY_TARGET,
	QMR_BY_REQUIRED_CHECK,
	QMR_BY_DEADLINE
};

/* Begin a note that holds the result of a test of the first or the second image, where the root could not be written. */
#define QMR_NOTE_TESTED "recovery image tested "
#define QMR_NOTE_TESTED_SECOND "second recovery image tested "

#define QMR_RUNG_PLAN 0x1   /* bits of rungs */
#define QMR_RUNG_REVERT 0x2
#define QMR_RUNG_SIGNED_ONLY 0x4 /* not tried but a limit: without a signed plan nothing may change */
#define QMR_RUNG_UNVACCINATE 0x8 /* what a healthy machine was given, and did not prove healthy with, was undone */

struct qmr_attempt {
	uint64_t started_unix_s; /* for people only */
	uint32_t number;
	uint8_t outcome; /* enum qmr_outcome */
	uint8_t phase;   /* enum qmr_phase */
	uint8_t flags;
	uint8_t evidence; /* enum qmr_evidence_source */
	uint32_t uptime_s;
	uint32_t kernel_crc32;
};

/* What the start of a boot finds of the one before. */
struct qmr_evidence {
	int panic;              /* it left a crash record that was not counted before */
	int64_t crash_uptime_s; /* seconds since that kernel started, -1: the record does not say */
};

struct qmr_state {
	uint32_t flags;
	uint64_t sequence;
	uint8_t root[16];
	uint8_t incident[16];
	uint32_t boots;
	uint8_t stage, reason, switches, recovery_runs, final, rungs, failed_boots;
	uint8_t n_attempts;
	uint32_t machine; /* qmr_state_machine_id(), 0 not known; the file store sets it */
	struct qmr_attempt attempts[QMR_STATE_ATTEMPTS]; /* newest first */
	uint32_t records[QMR_STATE_RECORDS];
	char modules[QMR_STATE_MODULES][QMR_MODULE_NAME];
	char remediation[64];
	char kernel[64];
	char note[88];
	struct qmr_floor floor;
};

/* An empty history for a root. */
void qmr_state_init(struct qmr_state *state, const uint8_t root[16]);

/* Encodes into exactly QMR_STATE_BYTES bytes; text is cut and NUL-padded. */
void qmr_state_encode(const struct qmr_state *state, uint8_t ret_bytes[QMR_STATE_BYTES]);

/*
 * -EBADMSG if it is not a state of this version, is torn or holds values outside their range; the message says
 * which. *ret_state is untouched then.
 */
int qmr_state_decode(const void *bytes, size_t size, struct qmr_state *ret_state, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Where this process may keep the state if the EFI variable cannot be used: the EFI system partition, as a block device (opened only
 * when it is needed, by a mount of its own that nobody else sees, and closed again before the call that needed it returns) or as a folder. NULL:
 * nowhere, which is so from the start. in_doubt 0: only if the variable holds no state or cannot be written; 1: something says that the file is
 * in use, and both are looked at. The path is copied and not looked at here; one longer than 255 bytes is cut. For programs with one thread.
 */
void qmr_state_set_place(const char *path, int in_doubt);

/*
 * From now on a save that goes to the file tries the EFI variable too, and the state moves back into it if that works. It can take seconds where
 * the firmware's memory is nearly full, so it is not for where somebody waits.
 */
void qmr_state_move_back(void);

/* As qmr_state_set_place() by the file system's UUID, as udev names it below /dev/disk/by-uuid; empty or not a UUID: nowhere. */
void qmr_state_set_place_uuid(const char *uuid, int in_doubt);

/* What was set, NULL: nowhere. */
const char *qmr_state_get_place(void);

/* Whether this process last found or put the state in the file: 1, in the variable: 0, -1 if neither was done. */
int qmr_state_is_in_file(void);

/*
 * Reads the newest state from the store that holds it (docs/boot-state.md, "Stores"). If it is missing, torn or belongs to another root than
 * root (NULL: any), *ret_state is an empty history and the reason is in err: -ENOENT, -EBADMSG, -ESTALE (another root or machine),
 * -EOPNOTSUPP (no variables, and no place), or what firmware or disk said.
 */
int qmr_state_load(const uint8_t root[16], struct qmr_state *ret_state, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Adds at least 1 to the sequence and writes the EFI variable, which is read back and compared (-EIO if it differs), else the file. Durable.
 * If it goes from one to the other, it is taken away where it was.
 */
int qmr_state_save(struct qmr_state *state, struct qmr_error *err) QMR_MUST_CHECK;

/* Deletes the EFI variable; a missing one is fine. */
int qmr_state_delete(struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Makes the slots of the file that are missing, empty and at their full size, and their folder. Returns how many; -EUCLEAN: something else
 * is in their place. place: device or folder as above.
 */
int qmr_state_files_create(const char *place, struct qmr_error *err) QMR_MUST_CHECK;

/* Removes the slots, and their folder if nothing else is in it; missing is fine. */
int qmr_state_files_remove(const char *place, struct qmr_error *err) QMR_MUST_CHECK;

/* What stands for a machine in its state, from the text of its product UUID: 0 if that says nothing (malformed, all 0, all f). */
uint32_t qmr_state_machine_id(const char *uuid);

/* Adds a module to the block list ('-' becomes '_'); present already is fine. -ENOSPC if the list is full. */
int qmr_state_block_module(struct qmr_state *state, const char *module, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Gives the newest attempt its outcome at the start of the next one: crash record before what the attempt itself recorded
 * (emergency, failed check, orderly end) before unknown. A record of a crash that came earlier in the life of its kernel than this attempt was
 * healthy or left on purpose is another system's, and says nothing. A crash after the attempt was healthy is noted in phase healthy, which is
 * not counted unless it is within window_s seconds of uptime after it.
 */
void qmr_state_close_last(struct qmr_state *state, const struct qmr_evidence *evidence, int window_s);

/*
 * 1 if a hibernated system may still lie on this machine's disk: an attempt went there, and no boot has come as far as to use its swap space
 * since. Recovery writes nothing under it.
 */
int qmr_state_is_hibernated(const struct qmr_state *state);

/* From here on it is not: a boot uses the swap space again. */
void qmr_state_forget_hibernation(struct qmr_state *state);

/* The run of attempts that ends with the newest and has no good boot in it; on probation only those since the remediation. */
struct qmr_run {
	int failures; /* panic, hang or emergency before healthy */
	int crashes;  /* after healthy, within the window */
	int unknowns; /* without evidence */
};

/* docs/detector.md, "What counts". */
struct qmr_run qmr_state_run(const struct qmr_state *state);

/* failures + crashes of that run: boots that evidence says have failed. */
int qmr_state_failures(const struct qmr_state *state);

/*
 * The number of the newest boot that was good (docs/detector.md, "What counts"); where none is known, that of the oldest known one, and 0
 * where there was none at all.
 */
uint32_t qmr_state_last_good_boot(const struct qmr_state *state);

/* The words of docs/boot-state.md for the enums above, each "invalid" outside its range. */
const char *qmr_outcome_name(unsigned int outcome);
const char *qmr_phase_name(unsigned int phase);
const char *qmr_evidence_name(unsigned int evidence);
const char *qmr_stage_name(unsigned int stage);
const char *qmr_reason_name(unsigned int reason);
const char *qmr_final_condition_name(unsigned int final);

#endif
