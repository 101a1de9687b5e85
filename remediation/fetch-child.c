/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <unistd.h>

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
	struct qmr_tuf_client client = {
		.cache = {qmr_fetch_files_fetch, &job->store->files},
		.accepted = pass_on,
		.floor = job->floor,
	};
	struct qmr_fetch_transfer *transfer = NULL;
	struct qmr_fetch_update update = {0};
	int r = qmr_fetch_transfer_open(job->url, job->ca, job->ca_size,
					qmr_fetch_now_ms() + job->timeout_s * 1000LL, 0, &transfer,
					err);

	if (r == 0)
		r = qmr_sandbox_enter(QMR_SANDBOX_FD, parent, err);
	if (r == 0) {
		client.repository = (struct qmr_tuf_fetcher){qmr_fetch_transfer_get, transfer};
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
	struct qmr_error err = {0};
	int r;

	/* Where it will be in the sandbox, so that a failure to enter that can be said as well. */
	if (fd != QMR_SANDBOX_FD && dup2(fd, QMR_SANDBOX_FD) < 0)
		return QMR_EXIT_FAILURE;
	r = work(parent, job, &err);
	if (qmr_fetch_send_result(QMR_SANDBOX_FD, r, r < 0 ? err.text : "", NULL) < 0)
		return QMR_EXIT_FAILURE;
	return QMR_EXIT_OK;
}
