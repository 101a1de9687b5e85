/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

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

/* "recovery image tested 2026-01-02T03:04Z: ok" */
static void read_note(const char *note, struct qmrctl_test *ret)
{
	const char *when = note + strlen(QMR_NOTE_TESTED), *what = strstr(when, ": ");
	struct tm tm = {0};

	what = what ? what + 2 : when;
	ret->result = strcmp(what, "ok") ? QMRCTL_TEST_FAILED : QMRCTL_TEST_OK;
	ret->unix_s = strptime(when, "%Y-%m-%dT%H:%MZ", &tm) ? timegm(&tm) : 0;
	snprintf(ret->text, sizeof(ret->text), "%s", what);
}

static void read_file(struct qmrctl_test *ret)
{
	cleanup_json json_t *json = NULL;
	const char *result, *failed;

	if (qmr_json_load(AT_FDCWD, QMRCTL_LAST_TEST, TEST_BYTES_MAX, &json, NULL) < 0 ||
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

void qmrctl_test_load(const struct qmr_state *state, struct qmrctl_test *ret_test)
{
	*ret_test = (struct qmrctl_test){.result = QMRCTL_TEST_NONE};
	if (!strncmp(state->note, QMR_NOTE_TESTED, strlen(QMR_NOTE_TESTED)))
		read_note(state->note, ret_test);
	else
		read_file(ret_test);
	if (state->flags & QMR_STATE_TEST)
		ret_test->result = QMRCTL_TEST_WAITING;
	qmrctl_clean(ret_test->text);
}

int qmrctl_test_begin(struct qmr_error *err)
{
	char text[128];
	int r;

	snprintf(text, sizeof(text), "{\n  \"schema\": 1,\n  \"result\": \"requested\",\n  \"requested_unix_s\": %lld\n}\n",
		 (long long)time(NULL));
	r = qmr_file_mkdirs(AT_FDCWD, QMRCTL_STATE_FOLDER, 0700, err);
	return r < 0 ? r : qmr_file_replace(AT_FDCWD, QMRCTL_LAST_TEST, text, strlen(text), 0600, err);
}
