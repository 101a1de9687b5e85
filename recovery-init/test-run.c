/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "test-run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "acknowledge.h"
#include "cleanup.h"
#include "json.h"
#include "log.h"
#include "root.h"

static int is_bad(enum qmr_result result)
{
	return result != QMR_RESULT_OK && result != QMR_RESULT_NOTHING && result != QMR_RESULT_SKIPPED;
}

void qmr_test_judge(const struct qmr_recovery *recovery, const struct qmr_timeline *timeline, char *ret_failed, size_t size)
{
	*ret_failed = '\0';
	for (unsigned int i = 0; i < timeline->n_steps && !*ret_failed; i++)
		if (is_bad(timeline->steps[i].result))
			snprintf(ret_failed, size, "%s: %s", timeline->steps[i].name,
				 timeline->steps[i].text[0] ? timeline->steps[i].text :
							      qmr_result_name(timeline->steps[i].result));
	if (!*ret_failed && recovery->is_cancelled)
		snprintf(ret_failed, size, "announce: cancelled at the console");
	if (!*ret_failed && recovery->config.esp_uuid[0] && !recovery->devices.esp[0])
		snprintf(ret_failed, size, "devices: the EFI system partition was not found");
}

static int is_second(const struct qmr_recovery *recovery)
{
	return (recovery->state.flags & QMR_STATE_SECOND) != 0;
}

static int save_on_root(const struct qmr_recovery *recovery, const struct qmr_timeline *timeline, const char *failed,
			struct qmr_error *err)
{
	json_t *why = *failed ? json_string(failed) : json_null();
	cleanup_json json_t *json = json_pack(
		"{s:i, s:s, s:o, s:I, s:s, s:o}", "schema", 1, "result", *failed ? "failed" : "ok", "failed",
		why ? why : json_string("a step failed"), "tested_unix_s", (json_int_t)timeline->started_unix_s, "kernel",
		recovery->config.machine_kernel, "steps", qmr_timeline_steps_to_json(timeline));
	cleanup_free char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;

	if (recovery->root != QMR_MOUNTED_RW)
		return qmr_error_set(err, -EROFS, "the root is not mounted for writing");
	if (!text)
		return qmr_error_set(err, -ENOMEM, "out of memory");
	return qmr_root_put(is_second(recovery) ? QMR_LAST_TEST_SECOND : QMR_LAST_TEST, text, strlen(text), err);
}

void qmr_test_record(struct qmr_recovery *recovery, const struct qmr_timeline *timeline)
{
	struct qmr_ending ending = {recovery->state.stage, recovery->state.final, 0, NULL, recovery->note};
	time_t now = (time_t)timeline->started_unix_s;
	struct qmr_error err = {0};
	char failed[320], when[32];
	struct tm tm;
	size_t used;

	qmr_test_judge(recovery, timeline, failed, sizeof(failed));
	if (!gmtime_r(&now, &tm) || !strftime(when, sizeof(when), "%Y-%m-%dT%H:%MZ", &tm))
		strcpy(when, "?");
	used = (size_t)snprintf(recovery->note, sizeof(recovery->note), "%s%s: ",
				is_second(recovery) ? QMR_NOTE_TESTED_SECOND : QMR_NOTE_TESTED, when); /* fits */
	snprintf(recovery->note + used, sizeof(recovery->note) - used, "%s", *failed ? failed : "ok"); /* cut */
	if (save_on_root(recovery, timeline, failed, &err) == 0)
		return;
	qmr_warning("%s; the result goes into the boot state", err.text);
	if (qmr_ending_save(recovery, &ending, &err) < 0)
		qmr_warning("%s; nobody will know how this test ended", err.text);
}
