/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "json.h"
#include "qmrctl.h"

/* docs/boot-state.md, "Beside it on the root". */

#define TEST_BYTES_MAX 65536

const char *qmrctl_test_name(enum qmrctl_test_result result)
{
	static const char *const names[] = {[QMRCTL_TEST_NONE] = "none", [QMRCTL_TEST_WAITING] = "waiting",
					    [QMRCTL_TEST_NO_ANSWER] = "no-answer", [QMRCTL_TEST_OK] = "ok",
					    [QMRCTL_TEST_FAILED] = "failed"};

	return names[result];
}

/* "2026-01-02T03:04Z: ok", behind the slot's words */
static void read_note(const char *when, struct qmrctl_test *ret)
{
	const char *what = strstr(when, ": ");
	struct tm tm = {0};

	what = what ? what + 2 : when;
	ret->result = strcmp(what, "ok") ? QMRCTL_TEST_FAILED : QMRCTL_TEST_OK;
	ret->unix_s = strptime(when, "%Y-%m-%dT%H:%MZ", &tm) ? timegm(&tm) : 0;
	snprintf(ret->text, sizeof(ret->text), "%s", what);
}

static void read_file(const char *path, struct qmrctl_test *ret)
{
	cleanup_json json_t *json = NULL;
	const char *result, *failed;

	if (qmr_json_load(AT_FDCWD, path, TEST_BYTES_MAX, &json, NULL) < 0 ||
	    json_integer_value(json_object_get(json, "schema")) != 1)
		return;
	result = qmr_json_string(json, "result");
	if (!result)
		return;
	ret->result = !strcmp(result, "ok")	   ? QMRCTL_TEST_OK :
		      !strcmp(result, "requested") ? QMRCTL_TEST_NO_ANSWER :
						     QMRCTL_TEST_FAILED;
	ret->unix_s = json_integer_value(
		json_object_get(json, ret->result == QMRCTL_TEST_NO_ANSWER ? "requested_unix_s" : "tested_unix_s"));
	failed = qmr_json_string(json, "failed");
	snprintf(ret->text, sizeof(ret->text), "%s", failed ? failed : "");
}

static int is_asked_for(const struct qmr_state *state, enum qmr_slot slot)
{
	return state->flags & QMR_STATE_TEST && !(state->flags & QMR_STATE_SECOND) == (slot == QMR_SLOT_FIRST);
}

void qmrctl_test_load(const struct qmr_state *state, enum qmr_slot slot, struct qmrctl_test *ret_test)
{
	const char *note = qmrctl_slots[slot].note;

	*ret_test = (struct qmrctl_test){.result = QMRCTL_TEST_NONE};
	if (!strncmp(state->note, note, strlen(note)))
		read_note(state->note + strlen(note), ret_test);
	else
		read_file(qmrctl_slots[slot].last_test, ret_test);
	if (is_asked_for(state, slot))
		ret_test->result = QMRCTL_TEST_WAITING;
	qmrctl_clean(ret_test->text);
}

void qmrctl_test_forget(const struct qmr_state *state)
{
	for (int slot = 0; slot < QMR_SLOTS; slot++)
		if (is_asked_for(state, (enum qmr_slot)slot))
			(void)unlink(qmrctl_slots[slot].last_test); /* one that stays says that nobody answered */
}

int qmrctl_test_begin(enum qmr_slot slot, struct qmr_error *err)
{
	char text[128];
	int r;

	snprintf(text, sizeof(text), "{\n  \"schema\": 1,\n  \"result\": \"requested\",\n  \"requested_unix_s\": %lld\n}\n",
		 (long long)time(NULL));
	r = qmr_file_mkdirs(AT_FDCWD, QMRCTL_STATE_FOLDER, 0700, err);
	return r < 0 ? r : qmr_file_replace(AT_FDCWD, qmrctl_slots[slot].last_test, text, strlen(text), 0600, err);
}
