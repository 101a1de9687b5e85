/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-requests.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "fetch-update.h"
#include "file.h"
#include "request-form.h"

static int is_entry(const char *name)
{
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

int qmr_fetch_requests_clear(int out_fd, struct qmr_error *err)
{
	int r = qmr_file_remove_some(out_fd, QMR_FETCH_REQUESTS, is_entry, "earlier requests", err);

	return r == -ENOENT ? 0 : r;
}

static int write_request(const struct qmr_fetch_file *file, const struct qmr_request *request, size_t number, int out_fd,
			 struct qmr_error *err)
{
	char path[128];

	snprintf(path, sizeof(path), QMR_FETCH_REQUESTS "/%02zu-%s.json", number, request->id);
	return qmr_file_replace(out_fd, path, file->data, file->size, 0600, err);
}

static int note(json_t *list, const char *id, const char *why, struct qmr_error *err)
{
	return json_array_append_new(list, json_pack("{s:s, s:s}", "id", id, "why", why)) == 0 ?
		       0 :
		       qmr_error_set(err, -ENOMEM, "request '%s': out of memory", id);
}

static int take(const struct qmr_fetch_file *file, const struct qmr_match_subject *subject, int out_fd, size_t *n_written,
		const struct qmr_fetch_lists *lists, struct qmr_error *err)
{
	QMR_CLEANUP(qmr_request_done) struct qmr_request request = {0};
	struct qmr_error refused = {0};
	enum qmr_match match;
	int r = qmr_request_load(file->name, file->data, file->size, &request, &refused);

	if (r == 0 && *n_written == QMR_FETCH_MATCHES_MAX)
		r = qmr_error_set(&refused, -EINVAL, "99 requests before it match already");
	if (r < 0)
		return qmr_fetch_refuse_plan(lists->refused, file->name, refused.text, err);
	/* A share of the fleet is another one for each request, as for each plan. */
	match = qmr_plan_match(&(struct qmr_plan){.id = request.id, .match = request.match}, subject);
	if (match != QMR_MATCH_YES)
		return note(lists->not_matched, request.id,
			    match == QMR_MATCH_NO ? "its selectors do not match this machine" : "what its selectors ask for is not known", err);
	return write_request(file, &request, ++*n_written, out_fd, err);
}

int qmr_fetch_requests_write(const struct qmr_fetch_files *requests, const struct qmr_match_subject *subject, int out_fd,
			     const struct qmr_fetch_lists *lists, struct qmr_error *err)
{
	size_t n_written = 0;
	int r = qmr_file_mkdirs(out_fd, QMR_FETCH_REQUESTS, 0700, err);

	for (size_t i = 0; r == 0 && i < requests->n; i++)
		r = take(&requests->items[i], subject, out_fd, &n_written, lists, err);
	if (r < 0)
		(void)!qmr_fetch_requests_clear(out_fd, NULL); /* the first error is the one to report */
	return r;
}
