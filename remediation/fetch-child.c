/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fetch-folder.h"
#include "fetch-message.h"
#include "fetch-run.h"
#include "fetch-sandbox.h"
#include "fetch-transfer.h"

static int pass_on(void *user, const char *path, const char *kept_as, const char *data, size_t size,
		   struct qmr_error *err)
{
	return qmr_fetch_send_file(QMR_SANDBOX_FD, path, data, size, err);
}

static int work(pid_t parent, const struct qmr_fetch_job *job, struct qmr_error *err)
{
	static int folder = QMR_SANDBOX_FOLDER_FD;
	struct qmr_tuf_client client = {
		.repository = {qmr_fetch_folder_fetch, &folder},
		.cache = {qmr_fetch_files_fetch, &job->store->files},
		.accepted = pass_on,
		.floor = job->floor,
	};
	struct qmr_fetch_transfer *transfer = NULL;
	struct qmr_fetch_update update = {.wants_requests = job->wants_requests, .names_only = 1};
	int r = 0;

	if (job->folder_fd < 0) {
		r = qmr_fetch_transfer_open(job->url, &job->network, job->deadline_ms, job->flags,
					    &transfer, err);
		client.repository = (struct qmr_tuf_fetcher){qmr_fetch_transfer_get, transfer};
	}
	if (r == 0)
		r = qmr_sandbox_enter(QMR_SANDBOX_FD, job->folder_fd, parent, err);
	if (r == 0) {
		r = qmr_fetch_update_run(&client, job->root, job->root_size, job->now_unix_s,
					 &update, err);
		qmr_tuf_client_done(&client);
		qmr_fetch_update_done(&update);
	}
	qmr_fetch_transfer_close(transfer);
	return r;
}

int qmr_fetch_child(int fd, pid_t parent, const struct qmr_fetch_job *job)
{
	struct qmr_fetch_job own = *job;
	struct qmr_error err = {0};
	int r;

	/* Out of the way of the other. */
	if (own.folder_fd >= 0) {
		own.folder_fd = fcntl(own.folder_fd, F_DUPFD_CLOEXEC, QMR_SANDBOX_FOLDER_FD + 1);
		if (own.folder_fd < 0)
			return QMR_EXIT_FAILURE;
	}
	/* Where it will be in the sandbox, so that a failure to enter that can be said as well. */
	if (fd != QMR_SANDBOX_FD && dup2(fd, QMR_SANDBOX_FD) < 0)
		return QMR_EXIT_FAILURE;
	r = work(parent, &own, &err);
	if (qmr_fetch_send_result(QMR_SANDBOX_FD, r, r < 0 ? err.text : "", NULL) < 0)
		return QMR_EXIT_FAILURE;
	return QMR_EXIT_OK;
}
