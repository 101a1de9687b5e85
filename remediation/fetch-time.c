/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-time.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "tuf-client.h"

#define FILE_NAME "time"
#define TEXT_BYTES_MAX 32

struct qmr_fetch_time qmr_fetch_time_choose(int64_t clock_unix_s, int64_t built_unix_s,
					    int64_t proven_unix_s)
{
	int64_t floor = proven_unix_s > built_unix_s ? proven_unix_s : built_unix_s;

	if (floor <= 0 || (clock_unix_s >= floor &&
			   clock_unix_s - floor <= QMR_FETCH_CLOCK_AHEAD_MAX_S))
		return (struct qmr_fetch_time){clock_unix_s, clock_unix_s, "clock", 0};
	return (struct qmr_fetch_time){
		floor, clock_unix_s, floor == proven_unix_s ? "metadata" : "image", 1};
}

/* 0: there is none, or it is damaged. */
static int64_t read_kept(const struct qmr_fetch_store *store)
{
	cleanup_free char *text = NULL;
	size_t size, digits;

	if (store->fd < 0 ||
	    qmr_file_read(store->fd, FILE_NAME, TEXT_BYTES_MAX, &text, &size, NULL) < 0)
		return 0;
	digits = strspn(text, "0123456789");
	if (digits == 0 || digits > 11 || strcmp(text + digits, "\n"))
		return 0;
	return strtoll(text, NULL, 10);
}

/*
 * Expiry of the kept timestamp, 0 if there is none that verifies: a refresh, at a time at which
 * nothing has expired, of a repository that has nothing.
 */
static int64_t kept_expiry(const struct qmr_fetch_store *store, const char *root, size_t root_size)
{
	struct qmr_fetch_files nothing = {0};
	struct qmr_tuf_client client = {
		.repository = {qmr_fetch_files_fetch, &nothing},
		.cache = {qmr_fetch_files_fetch, (void *)&store->files},
	};
	int64_t expires;

	(void)!qmr_tuf_client_refresh(&client, root, root_size, 0, NULL); /* it must fail */
	expires = client.trusted.timestamp.json ? client.trusted.timestamp.expires_unix_s : 0;
	qmr_tuf_client_done(&client);
	return expires;
}

struct qmr_fetch_time qmr_fetch_time_now(int64_t clock_unix_s, int64_t built_unix_s,
					 const struct qmr_fetch_store *store, const char *root,
					 size_t root_size)
{
	int64_t kept = read_kept(store), expires;

	/* It is looked into only where it would change something. */
	if (kept <= built_unix_s || (clock_unix_s >= kept &&
				     clock_unix_s - built_unix_s <= QMR_FETCH_CLOCK_AHEAD_MAX_S))
		return qmr_fetch_time_choose(clock_unix_s, built_unix_s, 0);
	expires = kept_expiry(store, root, root_size);
	return qmr_fetch_time_choose(clock_unix_s, built_unix_s, kept < expires ? kept : expires);
}

void qmr_fetch_time_keep(const struct qmr_fetch_time *time, struct qmr_fetch_store *store)
{
	struct qmr_error why = {0};
	char text[TEXT_BYTES_MAX];
	int size;

	if (store->fd < 0 || time->is_floor || time->unix_s <= read_kept(store))
		return;
	size = snprintf(text, sizeof(text), "%" PRId64 "\n", time->unix_s);
	if (qmr_file_replace(store->fd, FILE_NAME, text, (size_t)size, 0644, &why) < 0)
		qmr_warning("keeping the time in '%s': %s; going on", store->path, why.text);
}
