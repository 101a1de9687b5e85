/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

/* The parsers themselves, which the header does not show: a file for every input would be slow. */
#include "remediation/package-log.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check(void *user, const struct qmr_package_change *change, struct qmr_error *err)
{
	json_t *text = json_pack("[s, s, s, s, s]", change->time, change->action, change->package, change->from, change->to);

	if (!text || strlen(change->time) != TIME_BYTES || strpbrk(change->package, "/ ") || strchr(change->from, ' '))
		abort();
	json_decref(text);
	return 0;
}

/* The input is a log, its first byte says where the position is looked for. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tail tail = {.size = size ? size - 1 : 0};
	json_t *position;
	size_t start;
	const char *mark;

	tail.data = malloc(tail.size + 1);
	if (!tail.data || !size)
		goto out;
	memcpy(tail.data, data + 1, tail.size);
	tail.size = keep_lines(tail.data, tail.size, *data & 1, &start);
	position = position_of(&tail);
	mark = qmr_json_string(position, "mark");
	if (!is_position(position) || (tail.size && find_mark(&tail, mark, strlen(mark)) != tail.size))
		abort();
	(void)is_later(&tail, mark);
	json_decref(position);
	tail.fresh = find_mark(&tail, (const char *)data, 1);
	if (call_each(&qmr_package_logs[0], &tail, check, NULL, NULL) < 0)
		abort();
out:
	tail_done(&tail);
	return 0;
}
