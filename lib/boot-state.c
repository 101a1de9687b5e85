/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot-state.h"

#include <errno.h>
#include <string.h>

#include "crc32.h"

/* The one place that knows offsets; docs/boot-state.md is the table. */
enum {
	AT_MAGIC = 0, AT_VERSION = 4, AT_SIZE = 6, AT_CRC = 8, AT_FLAGS = 12, AT_SEQUENCE = 16, AT_ROOT = 24,
	AT_INCIDENT = 40, AT_BOOTS = 56, AT_BYTES = 60, AT_MACHINE = 68, AT_RING = 72, AT_RECORDS = 456, AT_MODULES = 520,
	AT_REMEDIATION = 744, AT_KERNEL = 808, AT_NOTE = 872, AT_FLOOR = 960, ATTEMPT_BYTES = 24
};

static const char magic[4] = {'Q', 'M', 'R', 'S'};

static void put(uint8_t *p, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *p, int bytes)
{
	uint64_t value = 0;

	for (int i = bytes - 1; i >= 0; i--)
		value = value << 8 | p[i];
	return value;
}

/* The bytes after the text stay zero; the last one always is. */
static void put_text(uint8_t *p, const char *text, size_t size)
{
	memcpy(p, text, strnlen(text, size - 1));
}

void qmr_state_init(struct qmr_state *state, const uint8_t root[16])
{
	memset(state, 0, sizeof(*state));
	if (root)
		memcpy(state->root, root, 16);
}

void qmr_state_encode(const struct qmr_state *state, uint8_t ret_bytes[QMR_STATE_BYTES])
{
	const uint8_t bytes[] = {state->stage, state->reason, state->switches, state->recovery_runs,
				 state->final, state->rungs, state->n_attempts, state->failed_boots};

	memset(ret_bytes, 0, QMR_STATE_BYTES);
	memcpy(ret_bytes + AT_MAGIC, magic, 4);
	put(ret_bytes + AT_VERSION, QMR_STATE_VERSION, 2);
	put(ret_bytes + AT_SIZE, QMR_STATE_BYTES, 2);
	put(ret_bytes + AT_FLAGS, state->flags, 4);
	put(ret_bytes + AT_SEQUENCE, state->sequence, 8);
	memcpy(ret_bytes + AT_ROOT, state->root, 16);
	memcpy(ret_bytes + AT_INCIDENT, state->incident, 16);
	put(ret_bytes + AT_BOOTS, state->boots, 4);
	memcpy(ret_bytes + AT_BYTES, bytes, sizeof(bytes));
	put(ret_bytes + AT_MACHINE, state->machine, 4);
	for (int i = 0; i < state->n_attempts && i < QMR_STATE_ATTEMPTS; i++) {
		const struct qmr_attempt *a = &state->attempts[i];
		uint8_t *p = ret_bytes + AT_RING + i * ATTEMPT_BYTES;

		put(p, a->started_unix_s, 8);
		put(p + 8, a->number, 4);
		p[12] = a->outcome;
		p[13] = a->phase;
		p[14] = a->flags;
		p[15] = a->evidence;
		put(p + 16, a->uptime_s, 4);
		put(p + 20, a->kernel_crc32, 4);
	}
	for (int i = 0; i < QMR_STATE_RECORDS; i++)
		put(ret_bytes + AT_RECORDS + 4 * i, state->records[i], 4);
	for (int i = 0; i < QMR_STATE_MODULES; i++)
		put_text(ret_bytes + AT_MODULES + i * QMR_MODULE_NAME, state->modules[i], QMR_MODULE_NAME);
	put_text(ret_bytes + AT_REMEDIATION, state->remediation, sizeof(state->remediation));
	put_text(ret_bytes + AT_KERNEL, state->kernel, sizeof(state->kernel));
	put_text(ret_bytes + AT_NOTE, state->note, sizeof(state->note));
	put(ret_bytes + AT_FLOOR, state->floor.trust, 8);
	put(ret_bytes + AT_FLOOR + 8, state->floor.keys, 8);
	put(ret_bytes + AT_FLOOR + 16, state->floor.root, 4);
	put(ret_bytes + AT_FLOOR + 20, state->floor.timestamp, 4);
	put(ret_bytes + AT_FLOOR + 24, state->floor.snapshot, 4);
	put(ret_bytes + AT_FLOOR + 28, state->floor.targets, 4);
	put(ret_bytes + AT_CRC, qmr_crc32(0, ret_bytes, QMR_STATE_BYTES), 4);
}

static uint32_t checksum(const uint8_t *bytes, size_t size)
{
	static const uint8_t zero[4];
	uint32_t crc = qmr_crc32(0, bytes, AT_CRC);

	crc = qmr_crc32(crc, zero, 4);
	return qmr_crc32(crc, bytes + AT_CRC + 4, size - AT_CRC - 4);
}

static int check_header(const uint8_t *bytes, size_t size, struct qmr_error *err)
{
	if (size < QMR_STATE_BYTES_MIN || size > QMR_STATE_BYTES_MAX)
		return qmr_error_set(err, -EBADMSG, "boot state has %zu bytes instead of %d", size, QMR_STATE_BYTES);
	if (memcmp(bytes, magic, 4))
		return qmr_error_set(err, -EBADMSG, "boot state has a wrong magic");
	if (get(bytes + AT_VERSION, 2) != QMR_STATE_VERSION)
		return qmr_error_set(err, -EBADMSG, "boot state has version %u, this program reads %d",
				     (unsigned int)get(bytes + AT_VERSION, 2), QMR_STATE_VERSION);
	if (get(bytes + AT_SIZE, 2) != size)
		return qmr_error_set(err, -EBADMSG, "boot state says another size than it has");
	if (get(bytes + AT_CRC, 4) != checksum(bytes, size))
		return qmr_error_set(err, -EBADMSG, "boot state has a wrong checksum");
	return 0;
}

#define MODULE_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

static int check_ranges(const struct qmr_state *s, struct qmr_error *err)
{
	if (s->stage > QMR_STAGE_HEALED || s->reason > QMR_REASON_LOADER || s->final > QMR_END_MENU ||
	    s->n_attempts > QMR_STATE_ATTEMPTS)
		return qmr_error_set(err, -EBADMSG, "boot state holds a value outside its range");
	for (int i = 0; i < s->n_attempts; i++)
		if (s->attempts[i].outcome > QMR_UNKNOWN || s->attempts[i].phase > QMR_PHASE_SHUTDOWN ||
		    s->attempts[i].evidence > QMR_BY_DEADLINE)
			return qmr_error_set(err, -EBADMSG, "boot state: attempt %d holds a value outside its range", i);
	/*
	 * They go into modprobe.d, where "install x COMMAND" runs a command as root: who can write EFI variables (another system, a
	 * UEFI shell) must not become root by them.
	 */
	for (int i = 0; i < QMR_STATE_MODULES; i++)
		if (s->modules[i][strspn(s->modules[i], MODULE_CHARACTERS)])
			return qmr_error_set(err, -EBADMSG, "boot state: blocked module %d has no module's name", i);
	return 0;
}

static void get_text(char *ret, const uint8_t *p, size_t size)
{
	memcpy(ret, p, size - 1);
	ret[size - 1] = '\0';
}

int qmr_state_decode(const void *data, size_t size, struct qmr_state *ret_state, struct qmr_error *err)
{
	const uint8_t *bytes = data;
	struct qmr_state s = {0};
	int r = check_header(bytes, size, err);

	if (r < 0)
		return r;
	s.flags = (uint32_t)get(bytes + AT_FLAGS, 4);
	s.sequence = get(bytes + AT_SEQUENCE, 8);
	memcpy(s.root, bytes + AT_ROOT, 16);
	memcpy(s.incident, bytes + AT_INCIDENT, 16);
	s.boots = (uint32_t)get(bytes + AT_BOOTS, 4);
	s.stage = bytes[AT_BYTES];
	s.reason = bytes[AT_BYTES + 1];
	s.switches = bytes[AT_BYTES + 2];
	s.recovery_runs = bytes[AT_BYTES + 3];
	s.final = bytes[AT_BYTES + 4];
	s.rungs = bytes[AT_BYTES + 5];
	s.n_attempts = bytes[AT_BYTES + 6];
	s.failed_boots = bytes[AT_BYTES + 7];
	s.machine = (uint32_t)get(bytes + AT_MACHINE, 4);
	for (int i = 0; i < s.n_attempts && i < QMR_STATE_ATTEMPTS; i++) {
		const uint8_t *p = bytes + AT_RING + i * ATTEMPT_BYTES;

		s.attempts[i] = (struct qmr_attempt){
			.started_unix_s = get(p, 8), .number = (uint32_t)get(p + 8, 4), .outcome = p[12], .phase = p[13],
			.flags = p[14], .evidence = p[15], .uptime_s = (uint32_t)get(p + 16, 4),
			.kernel_crc32 = (uint32_t)get(p + 20, 4)};
	}
	for (int i = 0; i < QMR_STATE_RECORDS; i++)
		s.records[i] = (uint32_t)get(bytes + AT_RECORDS + 4 * i, 4);
	for (int i = 0; i < QMR_STATE_MODULES; i++)
		get_text(s.modules[i], bytes + AT_MODULES + i * QMR_MODULE_NAME, QMR_MODULE_NAME);
	get_text(s.remediation, bytes + AT_REMEDIATION, sizeof(s.remediation));
	get_text(s.kernel, bytes + AT_KERNEL, sizeof(s.kernel));
	get_text(s.note, bytes + AT_NOTE, sizeof(s.note));
	if (size >= AT_FLOOR + 32)
		s.floor = (struct qmr_floor){.trust = get(bytes + AT_FLOOR, 8), .keys = get(bytes + AT_FLOOR + 8, 8),
					     .root = (uint32_t)get(bytes + AT_FLOOR + 16, 4),
					     .timestamp = (uint32_t)get(bytes + AT_FLOOR + 20, 4),
					     .snapshot = (uint32_t)get(bytes + AT_FLOOR + 24, 4),
					     .targets = (uint32_t)get(bytes + AT_FLOOR + 28, 4)};
	r = check_ranges(&s, err);
	if (r == 0)
		*ret_state = s;
	return r;
}

int qmr_state_block_module(struct qmr_state *state, const char *module, struct qmr_error *err)
{
	char name[QMR_MODULE_NAME] = "";
	int free_slot = -1;

	if (!*module || strlen(module) >= sizeof(name))
		return qmr_error_set(err, -EINVAL, "'%s' is not a module name", module);
	for (size_t i = 0; module[i]; i++)
		name[i] = module[i] == '-' ? '_' : module[i];
	for (int i = QMR_STATE_MODULES - 1; i >= 0; i--) {
		if (!strcmp(state->modules[i], name))
			return 0;
		if (!state->modules[i][0])
			free_slot = i;
	}
	if (free_slot < 0)
		return qmr_error_set(err, -ENOSPC, "blocking module '%s': %d are blocked already", name, QMR_STATE_MODULES);
	strcpy(state->modules[free_slot], name);
	return 0;
}

#define NAME_OF(table, i) ((i) < sizeof(table) / sizeof(*(table)) ? (table)[i] : "invalid")

const char *qmr_outcome_name(unsigned int outcome)
{
	static const char *const names[] = {"open", "healthy", "clean-shutdown", "panic", "hang", "emergency", "unknown"};

	return NAME_OF(names, outcome);
}

const char *qmr_phase_name(unsigned int phase)
{
	static const char *const names[] = {"initramfs", "userspace", "waiting-for-user", "healthy", "shutdown"};

	return NAME_OF(names, phase);
}

const char *qmr_evidence_name(unsigned int evidence)
{
	static const char *const names[] = {"none", "crash-record", "watchdog", "initramfs-shell", "emergency-target", "required-check",
					    "deadline"};

	return NAME_OF(names, evidence);
}

const char *qmr_stage_name(unsigned int stage)
{
	static const char *const names[] = {"none", "switching", "recovering", "probation", "given-up", "final", "healed"};

	return NAME_OF(names, stage);
}

const char *qmr_reason_name(unsigned int reason)
{
	static const char *const names[] = {"none", "detector", "requested", "menu", "boot-order", "loader"};

	return NAME_OF(names, reason);
}

const char *qmr_final_condition_name(unsigned int final)
{
	static const char *const names[] = {"none", "normal-boot", "halt", "menu"};

	return NAME_OF(names, final);
}

#define CLOCKS_S 2 /* the kernel's messages and its uptime are not by the same clock */

/*
 * Another system on this machine keeps its crash records in the same memory. What crashed earlier in its life than this attempt came to its
 * good end was not this attempt.
 */
static int is_of_another(const struct qmr_attempt *last, const struct qmr_evidence *evidence)
{
	return (last->outcome == QMR_CLEAN_SHUTDOWN || last->outcome == QMR_HEALTHY) && evidence->crash_uptime_s >= 0 &&
	       evidence->crash_uptime_s < (int64_t)last->uptime_s - CLOCKS_S;
}

void qmr_state_close_last(struct qmr_state *state, const struct qmr_evidence *evidence, int window_s)
{
	struct qmr_attempt *last = &state->attempts[0];

	if (state->n_attempts == 0 || (evidence->panic && is_of_another(last, evidence)))
		return;
	/* Evidence of a crash is stronger than any orderly end that was on its way. */
	if (evidence->panic) {
		if (last->phase == QMR_PHASE_HEALTHY && evidence->crash_uptime_s >= (int64_t)last->uptime_s &&
		    evidence->crash_uptime_s - (int64_t)last->uptime_s <= window_s)
			last->flags |= QMR_ATTEMPT_SOON;
		last->outcome = QMR_PANIC;
		last->evidence = QMR_BY_CRASH_RECORD;
	} else if (last->outcome == QMR_OPEN) {
		last->outcome = QMR_UNKNOWN;
	}
	/* Whoever kept a failed boot from restarting has seen it; a crash after that is news. */
	if (evidence->panic)
		last->flags &= (uint8_t)~QMR_ATTEMPT_ATTENDED;
}

int qmr_state_is_hibernated(const struct qmr_state *state)
{
	for (int i = 0; i < state->n_attempts; i++) {
		if (state->attempts[i].flags & QMR_ATTEMPT_HIBERNATED)
			return 1;
		if (state->attempts[i].phase == QMR_PHASE_HEALTHY)
			return 0;
	}
	return 0;
}

void qmr_state_forget_hibernation(struct qmr_state *state)
{
	for (int i = 0; i < state->n_attempts; i++)
		state->attempts[i].flags &= (uint8_t)~QMR_ATTEMPT_HIBERNATED;
}

/* What an outcome before healthy does to the run that is being counted, from the newest attempt backwards. */
enum effect { EFFECT_NEUTRAL, EFFECT_COUNTS, EFFECT_UNKNOWN, EFFECT_ENDS_RUN };

static const enum effect effects[] = {
	[QMR_OPEN] = EFFECT_NEUTRAL,
	[QMR_HEALTHY] = EFFECT_ENDS_RUN,
	[QMR_CLEAN_SHUTDOWN] = EFFECT_NEUTRAL,
	[QMR_PANIC] = EFFECT_COUNTS,
	[QMR_HANG] = EFFECT_COUNTS,
	[QMR_EMERGENCY] = EFFECT_COUNTS,
	[QMR_UNKNOWN] = EFFECT_UNKNOWN,
};

static enum effect effect_of(const struct qmr_attempt *a)
{
	if (a->flags & QMR_ATTEMPT_ATTENDED)
		return EFFECT_NEUTRAL;
	/* A person at a prompt who switches off, or whose battery dies: the machine did what it should. */
	if (a->phase == QMR_PHASE_WAITING && a->outcome == QMR_UNKNOWN)
		return EFFECT_NEUTRAL;
	return effects[a->outcome];
}

/* It had been healthy, and for long enough. */
static int is_good(const struct qmr_attempt *a)
{
	return a->phase == QMR_PHASE_HEALTHY && !(a->flags & QMR_ATTEMPT_SOON);
}

struct qmr_run qmr_state_run(const struct qmr_state *state)
{
	struct qmr_run run = {0};

	for (int i = 0; i < state->n_attempts; i++) {
		const struct qmr_attempt *a = &state->attempts[i];
		enum effect effect = effect_of(a);

		/* What a remediation followed is not to be counted again. */
		if (state->stage == QMR_STAGE_PROBATION && !(a->flags & QMR_ATTEMPT_PROBATION))
			break;
		if (is_good(a))
			break;
		if (a->phase == QMR_PHASE_HEALTHY) {
			run.crashes++;
		} else if (effect == EFFECT_ENDS_RUN) {
			break;
		} else {
			run.failures += effect == EFFECT_COUNTS;
			run.unknowns += effect == EFFECT_UNKNOWN;
		}
	}
	return run;
}

int qmr_state_failures(const struct qmr_state *state)
{
	struct qmr_run run = qmr_state_run(state);

	return run.failures + run.crashes;
}

uint32_t qmr_state_last_good_boot(const struct qmr_state *state)
{
	for (int i = 0; i < state->n_attempts; i++)
		if (is_good(&state->attempts[i]))
			return state->attempts[i].number;
	return state->n_attempts ? state->attempts[state->n_attempts - 1].number : 0;
}
