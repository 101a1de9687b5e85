/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hold between runs: docs/remediation.md, "Hold". */
#include <errno.h>
#include <unistd.h>

#include "cleanup.h"
#include "fetch-plans.h"
#include "file.h"
#include "log.h"

void qmr_fetch_hold_keep(int metadata_fd, int out_fd)
{
	cleanup_free char *data = NULL;
	struct qmr_error why = {0};
	size_t size;
	int r;

	if (metadata_fd < 0)
		return; /* which has been said */
	r = qmr_file_read(out_fd, QMR_FETCH_HOLD, QMR_PLAN_BYTES_MAX, &data, &size, &why);
	if (r == 0)
		r = qmr_file_replace(metadata_fd, QMR_FETCH_KEPT_HOLD, data, size, 0600, &why);
	else if (r == -ENOENT && unlinkat(metadata_fd, QMR_FETCH_KEPT_HOLD, 0) == 0)
		r = qmr_file_sync_dir(metadata_fd, ".", &why);
	else if (r == -ENOENT)
		r = errno == ENOENT ? 0 : qmr_error_errno(&why, -errno, "removing the hold that was kept");
	if (r < 0)
		qmr_warning("%s; what is kept for runs without a network is not up to date", why.text);
}

void qmr_fetch_hold_recall(int metadata_fd, int out_fd, struct qmr_fetch_lists *lists)
{
	QMR_CLEANUP(qmr_plan_done) struct qmr_plan plan = {0};
	cleanup_free char *data = NULL;
	struct qmr_error why = {0};
	size_t size;
	int r;

	if (metadata_fd < 0)
		return;
	r = qmr_file_read(metadata_fd, QMR_FETCH_KEPT_HOLD, QMR_PLAN_BYTES_MAX, &data, &size, &why);
	if (r == -ENOENT)
		return;
	if (r == 0)
		r = qmr_plan_parse("the hold that was kept", data, size, &plan, &why);
	if (r == 0 && !plan.is_hold)
		r = qmr_error_set(&why, -EINVAL, "the hold that was kept is none");
	if (r == 0)
		r = qmr_file_replace(out_fd, QMR_FETCH_HOLD, data, size, 0600, &why);
	if (r < 0) {
		qmr_warning("%s; it is passed over", why.text);
		return;
	}
	lists->hold = json_pack("{s:s, s:s}", "id", plan.id, "title", plan.title);
	qmr_notice("the hold '%s' was in force when the repository was last reached, and still is", plan.id);
}
