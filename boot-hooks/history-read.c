/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "history.h"
#include "json.h"
#include "uuid.h"

/* Apart from history.c: boot-guard, which writes, links no JSON library. */

static int find_word(const json_t *line, const char *key, const char *(*name)(unsigned int), unsigned int n, uint8_t *ret)
{
	const char *word = qmr_json_string(line, key);

	for (unsigned int i = 0; word && i < n; i++)
		if (!strcmp(word, name(i))) {
			*ret = (uint8_t)i;
			return 0;
		}
	return -EBADMSG;
}

static int parse_line(const char *text, size_t size, const uint8_t root[16], struct qmr_attempt *ret)
{
	json_int_t schema, number, started, flags, uptime, kernel;
	cleanup_json json_t *line = NULL;
	struct qmr_attempt a;
	const char *id;
	uint8_t of[16];

	if (qmr_json_parse("history", text, size, &line, NULL) < 0 ||
	    qmr_json_get_integer(line, "schema", 1, 1, &schema) < 0)
		return -EBADMSG;
	id = qmr_json_string(line, "root");
	if (!id || qmr_uuid_parse(id, of) < 0 || memcmp(of, root, 16))
		return -EBADMSG;
	if (qmr_json_get_integer(line, "number", 0, UINT32_MAX, &number) < 0 ||
	    qmr_json_get_integer(line, "started_unix_s", 0, INT64_MAX, &started) < 0 ||
	    qmr_json_get_integer(line, "flags", 0, UINT8_MAX, &flags) < 0 ||
	    qmr_json_get_integer(line, "uptime_s", 0, UINT32_MAX, &uptime) < 0 ||
	    qmr_json_get_integer(line, "kernel_crc32", 0, UINT32_MAX, &kernel) < 0)
		return -EBADMSG;
	a = (struct qmr_attempt){.started_unix_s = (uint64_t)started, .number = (uint32_t)number, .flags = (uint8_t)flags,
				 .uptime_s = (uint32_t)uptime, .kernel_crc32 = (uint32_t)kernel};
	if (find_word(line, "outcome", qmr_outcome_name, QMR_UNKNOWN + 1, &a.outcome) < 0 ||
	    find_word(line, "phase", qmr_phase_name, QMR_PHASE_SHUTDOWN + 1, &a.phase) < 0 ||
	    find_word(line, "evidence", qmr_evidence_name, QMR_BY_DEADLINE + 1, &a.evidence) < 0)
		return -EBADMSG;
	*ret = a;
	return 0;
}

int qmr_history_parse(const char *text, size_t size, const uint8_t root[16], struct qmr_attempt **ret_attempts, size_t *ret_n,
		      struct qmr_error *err)
{
	const char *end = text + size;
	struct qmr_attempt *attempts;
	size_t n = 0, lines = 1;

	for (size_t i = 0; i < size; i++)
		lines += text[i] == '\n';
	attempts = calloc(lines, sizeof(*attempts));
	if (!attempts)
		return qmr_error_set(err, -ENOMEM, "reading the history: out of memory");
	for (const char *line = text; line < end;) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));

		if (!stop)
			stop = end;
		n += parse_line(line, (size_t)(stop - line), root, &attempts[n]) == 0;
		line = stop + 1;
	}
	*ret_attempts = attempts;
	*ret_n = n;
	return 0;
}
