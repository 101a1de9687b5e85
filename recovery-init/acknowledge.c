/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "acknowledge.h"

#include <efivar/efivar.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "boot-state-json.h"
#include "child.h"
#include "cleanup.h"
#include "file.h"
#include "json.h"
#include "log.h"
#include "records.h"
#include "uuid.h"

#define FIRMWARE_MS 10000
#define ENTRY_NAME u"Quick machine recovery"

static int get_variable(const char *name, uint8_t **ret_data, size_t *ret_size)
{
	uint32_t attributes;

	if (efi_get_variable(EFI_GLOBAL_GUID, name, ret_data, ret_size, &attributes) == 0)
		return 0;
	*ret_data = NULL;
	efi_error_clear();
	return -1;
}

/* A load option is 4 bytes of attributes, 2 of a length, then the description in UTF-16 (UEFI 2.10, 3.1.3). */
static int is_own_entry(void)
{
	cleanup_free uint8_t *current = NULL, *option = NULL;
	size_t size = 0;
	char name[9];

	if (get_variable("BootCurrent", &current, &size) < 0 || size < 2)
		return 0;
	snprintf(name, sizeof(name), "Boot%04X", (unsigned int)(current[0] | current[1] << 8));
	return get_variable(name, &option, &size) == 0 && size >= 6 + sizeof(ENTRY_NAME) &&
	       !memcmp(option + 6, ENTRY_NAME, sizeof(ENTRY_NAME));
}

int qmr_acknowledge(struct qmr_state *state, int new_panic, int is_own)
{
	static const int is_over[] = {[QMR_STAGE_NONE] = 1, [QMR_STAGE_GIVEN_UP] = 1, [QMR_STAGE_FINAL] = 1,
				      [QMR_STAGE_HEALED] = 1};
	int begins = qmr_uuid_is_null(state->incident) ||
		     (state->stage < sizeof(is_over) / sizeof(*is_over) && is_over[state->stage]);

	if (new_panic || (state->n_attempts && state->attempts[0].outcome == QMR_OPEN))
		qmr_state_close_last(state, new_panic);
	if (begins) {
		qmr_uuid_random(state->incident);
		state->recovery_runs = 0;
		state->rungs = 0;
		state->remediation[0] = '\0';
		state->failed_boots = (uint8_t)qmr_state_failures(state);
	}
	/* Nobody asked: the firmware went on to our entry, or somebody chose it in a menu. */
	if (state->stage != QMR_STAGE_SWITCHING)
		state->reason = is_own ? QMR_REASON_BOOT_ORDER : QMR_REASON_MENU;
	state->stage = QMR_STAGE_RECOVERING;
	state->switches = 0;
	state->final = QMR_END_NONE;
	if (state->recovery_runs < UINT8_MAX)
		state->recovery_runs++;
	return begins;
}

int qmr_effective_mode(int policy, unsigned int reason)
{
	if (policy >= QMR_MODE_COLLECT)
		return policy;
	return reason == QMR_REASON_MENU ? QMR_MODE_ASK : QMR_MODE_COLLECT;
}

struct acknowledged {
	uint8_t state[QMR_STATE_BYTES];
	int known; /* it was also written */
	char why[256];
};

/* The state of this machine's root; another one counts only if it asks for this very start. */
static void load(const uint8_t root[16], struct qmr_state *ret_state, struct acknowledged *answer)
{
	struct qmr_error err = {0};

	if (qmr_state_load(NULL, ret_state, &err) == 0 &&
	    (!memcmp(ret_state->root, root, 16) || ret_state->stage == QMR_STAGE_SWITCHING))
		return;
	if (err.code)
		snprintf(answer->why, sizeof(answer->why), "%.250s", err.text);
	qmr_state_init(ret_state, root);
}

static int do_acknowledge(void *context, void *answer_data, struct qmr_error *err)
{
	cleanup_close int pstore = open(QMR_PSTORE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct qmr_config *config = context;
	struct acknowledged *answer = answer_data;
	uint8_t root[16] = {0};
	struct qmr_state state;

	if (qmr_uuid_parse(config->root_uuid, root) < 0)
		memset(root, 0, sizeof(root));
	load(root, &state, answer);
	(void)qmr_acknowledge(&state, pstore >= 0 && qmr_records_find_new(pstore, &state), is_own_entry());
	snprintf(state.note, sizeof(state.note), "recovery runs");
	if (qmr_state_save(&state, err) == 0)
		answer->known = 1;
	else
		snprintf(answer->why, sizeof(answer->why), "%.250s", err->text);
	qmr_state_encode(&state, answer->state);
	return 0;
}

/* For crash-collect, which has no business with firmware. */
static int write_json(const struct qmr_state *state, struct qmr_error *err)
{
	cleanup_json json_t *json = qmr_state_to_json(state);

	if (!json)
		return qmr_error_set(err, -ENOMEM, "writing '" QMR_STATE_JSON "': out of memory");
	return qmr_json_save(AT_FDCWD, QMR_STATE_JSON, json, 0600, err);
}

enum qmr_result qmr_step_acknowledge(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	struct acknowledged answer = {0};
	int r = qmr_child_call(do_acknowledge, &recovery->config, deadline_ms, &answer, sizeof(answer), err);

	if (r == 0)
		r = qmr_state_decode(answer.state, sizeof(answer.state), &recovery->state, err);
	if (r < 0) {
		/* The firmware does not answer: recovery is run all the same, and nobody remembers. */
		qmr_state_init(&recovery->state, NULL);
		(void)qmr_acknowledge(&recovery->state, 0, 0);
	}
	recovery->state_known = r == 0 && answer.known;
	qmr_uuid_format(recovery->state.incident, recovery->incident);
	snprintf(recovery->tried, sizeof(recovery->tried), "%s", recovery->state.remediation);
	recovery->mode = qmr_effective_mode(recovery->config.mode, recovery->state.reason);
	if (r == 0)
		r = write_json(&recovery->state, err);
	if (r == 0 && answer.why[0])
		qmr_error_set(err, 0, "%s", answer.why);
	return r < 0 ? qmr_result_from(r) : recovery->state_known ? QMR_RESULT_OK : QMR_RESULT_FAILED;
}

static void end_state(struct qmr_state *state, const struct qmr_ending *ending)
{
	state->stage = (uint8_t)ending->stage;
	state->final = (uint8_t)ending->final;
	state->rungs |= (uint8_t)ending->rung;
	if (ending->remediation)
		snprintf(state->remediation, sizeof(state->remediation), "%s", ending->remediation);
	if (ending->note)
		snprintf(state->note, sizeof(state->note), "%s", ending->note);
}

static int do_end(void *context, void *answer, struct qmr_error *err)
{
	struct qmr_state state;
	int r = qmr_state_load(NULL, &state, err);

	if (r < 0)
		return r;
	end_state(&state, context);
	return qmr_state_save(&state, err);
}

int qmr_ending_save(struct qmr_recovery *recovery, const struct qmr_ending *ending, struct qmr_error *err)
{
	end_state(&recovery->state, ending);
	if (!recovery->state_known)
		return qmr_error_set(err, -EOPNOTSUPP, "the boot state cannot be written");
	return qmr_child_call(do_end, (void *)ending, FIRMWARE_MS, NULL, 0, err);
}
