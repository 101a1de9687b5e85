/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "change-log-update.h"
#include "cleanup.h"
#include "file.h"
#include "glob.h"
#include "hash.h"
#include "json.h"

#define IMAGES_MAX 64
#define IMAGE_BYTES_MAX (512LL << 20)

/* Folders of machine ids are 32 digits long (Boot Loader Specification, type 1). */
#define MACHINE_ID "????????????????????????????????"

static const char *const patterns[] = {
	"/boot/initrd.img-*",
	"/boot/initramfs-*",
	"/boot/" MACHINE_ID "/*/initrd*",
	"/boot/EFI/Linux/*.efi",
	"/boot/efi/" MACHINE_ID "/*/initrd*",
	"/boot/efi/EFI/Linux/*.efi",
	"/efi/" MACHINE_ID "/*/initrd*",
	"/efi/EFI/Linux/*.efi",
};
static const char own_image[] = "/qmr-recovery.efi";

struct look {
	struct qmr_change_log_state *state;
	const json_t *known; /* what the log holds, NULL: nothing yet */
	json_t *found;
};

static const json_t *find(const json_t *images, const char *path)
{
	const json_t *image;
	size_t i;

	json_array_foreach (images, i, image) {
		const char *other = qmr_json_string(image, "path");

		if (other && !strcmp(other, path))
			return image;
	}
	return NULL;
}

static int64_t nanoseconds(const struct timespec *time)
{
	return (int64_t)((uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec); /* a hostile time may wrap */
}

static int is_same(const json_t *image, const char *key, int64_t value)
{
	const json_t *known = json_object_get(image, key);

	return json_is_integer(known) && json_integer_value(known) == value;
}

static int note_image(struct look *look, const char *path, const json_t *known, const char *sha256, struct qmr_error *err)
{
	const char *old = qmr_json_string(known, "sha256");

	if (!look->known || (known && (!old || !strcmp(old, sha256))))
		return 0;
	return qmr_change_log_add(look->state,
				  qmr_change_log_file("initramfs", path, known ? "modified" : "added", old, sha256), err);
}

static int look_at(void *user, const char *path, struct qmr_error *err)
{
	struct look *look = user;
	const json_t *known = find(look->known, path);
	cleanup_close int fd = -1;
	char sha256[QMR_SHA256_HEX];
	const char *end = strrchr(path, '/');
	json_t *text = json_string(path), *image;
	struct stat st;
	int r;

	json_decref(text);
	if (!text || !strcmp(end, own_image) || json_array_size(look->found) >= IMAGES_MAX)
		return 0;
	/* O_PATH: an image that did not change is not opened. */
	fd = qmr_file_open_in_root(look->state->run->root_fd, path, O_PATH | O_NOFOLLOW, 0, err);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (fstat(fd, &st) < 0)
		return qmr_error_errno(err, -errno, "examining '%s'", path);
	if (!S_ISREG(st.st_mode) || st.st_size > IMAGE_BYTES_MAX)
		return 0;
	if (is_same(known, "size", st.st_size) && is_same(known, "mtime_ns", nanoseconds(&st.st_mtim)) &&
	    is_same(known, "ctime_ns", nanoseconds(&st.st_ctim)))
		return json_array_append(look->found, (json_t *)known) < 0
			       ? qmr_error_set(err, -ENOMEM, "noting '%s': out of memory", path)
			       : 0;
	close(fd);
	fd = qmr_file_open_in_root(look->state->run->root_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0, err);
	if (fd < 0)
		return fd;
	r = qmr_sha256_fd(fd, path, sha256, NULL, err);
	if (r == 0)
		r = note_image(look, path, known, sha256, err);
	if (r < 0)
		return r;
	/* Of before it was read: one that was written meanwhile is read again next time. */
	image = json_pack("{s:s, s:I, s:I, s:I, s:s}", "path", path, "size", (json_int_t)st.st_size, "mtime_ns",
			  (json_int_t)nanoseconds(&st.st_mtim), "ctime_ns", (json_int_t)nanoseconds(&st.st_ctim), "sha256",
			  sha256);
	return json_array_append_new(look->found, image) < 0 ? qmr_error_set(err, -ENOMEM, "noting '%s': out of memory", path)
							      : 0;
}

/* Removed is what is missing from a folder that is there; without it (an ESP that is not mounted) nothing is known. */
static int look_for_removed(struct look *look, struct qmr_error *err)
{
	const json_t *image;
	size_t i;

	json_array_foreach (look->known, i, image) {
		const char *path = qmr_json_string(image, "path");
		char name[256];
		cleanup_close int folder = -1;
		int r = 0;

		if (!path || find(look->found, path))
			continue;
		folder = qmr_file_open_parent_in_root(look->state->run->root_fd, path, 0, name, err);
		if (folder >= 0)
			r = qmr_change_log_add(look->state,
					       qmr_change_log_file("initramfs", path, "removed",
								   qmr_json_string(image, "sha256"), NULL),
					       err);
		else if (json_array_size(look->found) < IMAGES_MAX &&
			 json_array_append(look->found, (json_t *)image) < 0)
			r = qmr_error_set(err, -ENOMEM, "noting '%s': out of memory", path);
		if (r < 0)
			return r;
	}
	return 0;
}

int qmr_change_log_images(struct qmr_change_log_state *state, struct qmr_error *err)
{
	const json_t *known = json_object_get(state->where, "images");
	cleanup_json json_t *found = json_array();
	struct look look = {.state = state, .known = json_is_array(known) ? known : NULL, .found = found};
	int r = found ? 0 : qmr_error_set(err, -ENOMEM, "looking at images: out of memory");

	for (size_t i = 0; r == 0 && i < sizeof(patterns) / sizeof(*patterns); i++)
		r = qmr_glob_in_root(state->run->root_fd, patterns[i], look_at, &look, err);
	if (r == 0)
		r = look_for_removed(&look, err);
	return r < 0 ? r : qmr_change_log_set(state, "images", json_incref(found), err);
}
