/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "guard.h"
#include "log.h"
#include "qmrctl.h"
#include "second-kernel.h"

/* The image for when the first one does not come to its end: docs/architecture.md, "Two images". */

/* An image is a kernel and an initramfs with many drivers: as large as what the system itself may put there with its next kernel. */
int qmrctl_second_require_room(const struct qmrctl *ctl, uint64_t bytes, struct qmr_error *err)
{
	uint64_t free_bytes, old = qmrctl_image_bytes(ctl, QMR_SLOT_SECOND);
	int r = qmrctl_esp_free(ctl, &free_bytes, err);

	if (r < 0 || free_bytes + old >= 2 * bytes)
		return r;
	return qmr_error_set(err, -ENOSPC, "'%s' has %.1f MB free, and a second image takes %.1f MB and leaves as much to kernels and "
			     "initramfs of the system", ctl->machine.esp_path, (double)(free_bytes + old) / 1e6, (double)bytes / 1e6);
}

/*
 * The kernel of the present second image was a good one when it was chosen, and the boot state may have forgotten that. A system that is
 * being built has run on none.
 */
static void find_kernel(const struct qmrctl *ctl, const char *first, char ret_kernel[QMRCTL_RELEASE])
{
	cleanup_close int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct qmrctl_image present = {0};
	struct qmr_state state;
	uint8_t root[16];

	*ret_kernel = '\0';
	if (ctl->no_variables)
		return;
	qmr_guard_root_id(&ctl->config, root);
	(void)!qmr_state_load(root, &state, NULL); /* an empty one, where there is none */
	(void)!qmrctl_image_examine(ctl, QMR_SLOT_SECOND, &present, NULL);
	qmr_second_kernel_find(root_fd, &state, first, present.kernel, ret_kernel, QMRCTL_RELEASE);
}

/* What the second image is to be: *ret_source names its file. A kernel that no image can be built with is no reason to have none. */
static int prepare(const struct qmrctl *ctl, const char *first_path, char ret_source[PATH_MAX], struct qmr_error *err)
{
	char kernel[QMRCTL_RELEASE];
	struct qmrctl_image first;
	struct qmr_error why = {0};
	int r = qmrctl_image_examine(ctl, QMR_SLOT_FIRST, &first, err);

	if (r < 0)
		return r;
	find_kernel(ctl, first.kernel, kernel);
	snprintf(ret_source, PATH_MAX, "%s", first_path);
	if (!*kernel)
		return 0;
	if (qmrctl_image_build(ctl, kernel, &why) == 0)
		strcpy(ret_source, QMRCTL_BUILT);
	else
		qmr_warning("building the second recovery image with kernel %s: %s; it becomes a copy of the first", kernel, why.text);
	return 0;
}

/* Another one than the first may be, with the policy of another time, must not stay. */
static int leave_out(struct qmrctl *ctl, const struct qmr_error *why, struct qmr_error *err)
{
	int r = qmrctl_image_remove(ctl, QMR_SLOT_SECOND, err);

	qmrctl_say(ctl, "%s: %s", r == 1 ? "removed" : "none", why->text);
	return r < 0 ? r : 0;
}

static int put(struct qmrctl *ctl, const char *path, const char *source, int is_copy, struct qmr_error *err)
{
	struct qmrctl_image image;
	struct qmr_error why = {0};
	int same, r;

	if (qmrctl_same_file(source, path))
		r = same = 1;
	else if (qmrctl_second_require_room(ctl, qmrctl_file_bytes(source), &why) == -ENOSPC)
		return leave_out(ctl, &why, err);
	else
		r = same = qmrctl_image_put(ctl, QMR_SLOT_SECOND, source, err);
	if (r >= 0)
		r = qmrctl_image_examine(ctl, QMR_SLOT_SECOND, &image, err);
	if (r == 0)
		qmrctl_say(ctl, "%s %s, %skernel %s, %" PRIu64 " bytes", path, same ? "is already up to date" : "written",
			   is_copy ? "a copy of the first, " : "", image.kernel, image.bytes);
	return r;
}

int qmrctl_step_second_image(struct qmrctl *ctl, struct qmr_error *err)
{
	char path[PATH_MAX], first_path[PATH_MAX], source[PATH_MAX];
	int r = qmrctl_image_path(ctl, QMR_SLOT_SECOND, path, err);

	if (r == 0)
		r = qmrctl_image_path(ctl, QMR_SLOT_FIRST, first_path, err);
	if (r == 0)
		r = qmrctl_image_remove_leftover(path, err);
	if (r == 0)
		r = prepare(ctl, first_path, source, err);
	if (r == 0)
		r = put(ctl, path, source, !strcmp(source, first_path), err);
	(void)unlink(QMRCTL_BUILT); /* it was copied, or there is none */
	return r;
}
