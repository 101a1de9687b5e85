/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_BOOT_STATE_H
#define QMR_BOOT_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* docs/boot-state.md: every byte of the encoded form and what the fields mean. */

#define QMR_STATE_BYTES 960
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
enum qmr_reason { QMR_REASON_NONE, QMR_REASON_DETECTOR, QMR_REASON_REQUESTED, QMR_REASON_MENU, QMR_REASON_BOOT_ORDER };
enum qmr_final_condition { QMR_END_NONE, QMR_END_NORMAL_BOOT, QMR_END_HALT, QMR_END_MENU };

#define QMR_ATTEMPT_RECOVER 0x1  /* recovery was asked for at this start */
#define QMR_ATTEMPT_OBSERVED 0x2 /* it would have been, but for mode observe */
#define QMR_ATTEMPT_PROBATION 0x4
#define QMR_ATTEMPT_RECOVERED 0x8 /* recovery ran since, and no boot was started */

#define QMR_RUNG_PLAN 0x1   /* bits of rungs */
#define QMR_RUNG_REVERT 0x2

struct qmr_attempt {
	uint64_t started_unix_s; /* for people only */
	uint32_t number;
	uint8_t outcome; /* enum qmr_outcome */
	uint8_t phase;   /* enum qmr_phase */
	uint16_t flags;
	uint32_t uptime_s;
	uint32_t kernel_crc32;
};

struct qmr_state {
	uint32_t flags;
	uint64_t sequence;
	uint8_t root[16];
	uint8_t incident[16];
	uint32_t boots;
	uint8_t stage, reason, switches, recovery_runs, final, rungs, failed_boots;
	uint8_t n_attempts;
	struct qmr_attempt attempts[QMR_STATE_ATTEMPTS]; /* newest first */
	uint32_t records[QMR_STATE_RECORDS];
	char modules[QMR_STATE_MODULES][QMR_MODULE_NAME];
	char remediation[64];
	char kernel[64];
	char note[88];
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
 * Reads the EFI variable. If it is missing, torn or belongs to another root than root (NULL: any), *ret_state is an
 * empty history and the reason is in err: -ENOENT, -EBADMSG, -ESTALE (another root), or what firmware said.
 */
int qmr_state_load(const uint8_t root[16], struct qmr_state *ret_state, struct qmr_error *err) QMR_MUST_CHECK;

/* Adds 1 to the sequence, writes the EFI variable, reads it back and compares (-EIO if it differs). */
int qmr_state_save(struct qmr_state *state, struct qmr_error *err) QMR_MUST_CHECK;

/* Deletes the EFI variable; a missing one is fine. */
int qmr_state_delete(struct qmr_error *err) QMR_MUST_CHECK;

/* Adds a module to the block list ('-' becomes '_'); present already is fine. -ENOSPC if the list is full. */
int qmr_state_block_module(struct qmr_state *state, const char *module, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Gives the newest attempt its outcome if it has none yet: panic says that it left a crash record. A crash record
 * after the attempt was healthy is noted as a panic in phase healthy, which is not counted.
 */
void qmr_state_close_last(struct qmr_state *state, int panic);

/*
 * Failed attempts in a row, docs/detector.md; on probation only those since the remediation.
 */
int qmr_state_failures(const struct qmr_state *state);

/* The words of docs/boot-state.md, "invalid" outside the range. */
const char *qmr_outcome_name(unsigned int outcome);
const char *qmr_phase_name(unsigned int phase);
const char *qmr_stage_name(unsigned int stage);
const char *qmr_reason_name(unsigned int reason);
const char *qmr_final_condition_name(unsigned int final);

#endif
