/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"

#define ENTRIES_MAX 65536
#define COPY_BYTES 262144

static void entry_done(struct qmr_image_entry *entry)
{
	free(entry->path);
	free(entry->source);
	free(entry->data);
	*entry = (struct qmr_image_entry){0};
}

void qmr_image_done(struct qmr_image *image)
{
	for (size_t i = 0; i < image->n_entries; i++)
		entry_done(&image->entries[i]);
	free(image->entries);
	image->entries = NULL;
	image->n_entries = image->room = 0;
}

/* Puts path into the form the list uses. */
static int normalise(const char *path, char ret[PATH_MAX])
{
	static const char *const merged[] = {"bin/", "sbin/", "lib/", "lib32/", "lib64/", "libx32/"};
	const char *prefix = "";
	size_t used;

	while (*path == '/')
		path++;
	for (size_t i = 0; i < sizeof(merged) / sizeof(*merged); i++)
		if (!strncmp(path, merged[i], strlen(merged[i])))
			prefix = "usr/";
	if (strlen(prefix) + strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	used = (size_t)snprintf(ret, PATH_MAX, "%s", prefix);
	while (*path) {
		size_t length = strcspn(path, "/");

		if (length == 2 && !memcmp(path, "..", 2))
			return -EINVAL;
		if (length && !(length == 1 && *path == '.')) {
			if (used && ret[used - 1] != '/')
				ret[used++] = '/';
			memcpy(ret + used, path, length);
			used += length;
		}
		path += length;
		path += *path == '/';
	}
	ret[used] = '\0';
	return used ? 0 : -EINVAL;
}

/* The index at which path is, or would be inserted. */
static size_t find_index(const struct qmr_image *image, const char *path, int *ret_found)
{
	size_t low = 0, high = image->n_entries;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(image->entries[middle].path, path);

		if (order == 0) {
			*ret_found = 1;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_found = 0;
	return low;
}

const struct qmr_image_entry *qmr_image_find(const struct qmr_image *image, const char *path)
{
	char name[PATH_MAX];
	size_t index;
	int found;

	if (normalise(path, name) < 0)
		return NULL;
	index = find_index(image, name, &found);
	return found ? &image->entries[index] : NULL;
}

static int out_of_memory(struct qmr_error *err)
{
	return qmr_error_set(err, -ENOMEM, "listing the image's content: out of memory");
}

static int make_room(struct qmr_image *image, struct qmr_error *err)
{
	struct qmr_image_entry *grown;
	size_t room = image->room ? image->room * 2 : 256;

	if (image->n_entries < image->room)
		return 0;
	if (room > ENTRIES_MAX)
		return qmr_error_set(err, -E2BIG, "the image would hold more than %d files", ENTRIES_MAX);
	grown = realloc(image->entries, room * sizeof(*grown));
	if (!grown)
		return out_of_memory(err);
	image->entries = grown;
	image->room = room;
	return 0;
}

/* Takes over what entry owns (but its path, which is NULL), on failure too. name is normalised. */
static int insert(struct qmr_image *image, const char *name, struct qmr_image_entry *entry, struct qmr_error *err)
{
	size_t index;
	int found, r;

	index = find_index(image, name, &found);
	if (found) {
		entry_done(entry);
		return 0;
	}
	r = make_room(image, err);
	if (r == 0) {
		entry->path = strdup(name);
		if (!entry->path)
			r = out_of_memory(err);
	}
	if (r < 0) {
		entry_done(entry);
		return r;
	}
	memmove(image->entries + index + 1, image->entries + index, (image->n_entries - index) * sizeof(*entry));
	image->entries[index] = *entry;
	image->n_entries++;
	return 0;
}

static int add(struct qmr_image *image, const char *path, struct qmr_image_entry *entry, struct qmr_error *err)
{
	char name[PATH_MAX];
	int r = normalise(path, name);

	if (r < 0) {
		entry_done(entry);
		return qmr_error_errno(err, r, "adding '%s' to the image", path);
	}
	for (char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
		struct qmr_image_entry folder = {.mode = S_IFDIR | 0755};

		*slash = '\0';
		r = insert(image, name, &folder, err);
		*slash = '/';
		if (r < 0) {
			entry_done(entry);
			return r;
		}
	}
	return insert(image, name, entry, err);
}

int qmr_image_add_dir(struct qmr_image *image, const char *path, mode_t mode, struct qmr_error *err)
{
	struct qmr_image_entry entry = {.mode = S_IFDIR | mode};

	return add(image, path, &entry, err);
}

int qmr_image_add_device(struct qmr_image *image, const char *path, mode_t mode, uint32_t major, uint32_t minor,
			 struct qmr_error *err)
{
	struct qmr_image_entry entry = {.mode = S_IFCHR | mode, .major = major, .minor = minor};

	return add(image, path, &entry, err);
}

int qmr_image_add_file(struct qmr_image *image, const char *path, mode_t mode, const char *source,
		       struct qmr_error *err)
{
	struct qmr_image_entry entry = {.mode = S_IFREG | mode, .source = strdup(source)};

	return entry.source ? add(image, path, &entry, err) : out_of_memory(err);
}

static int add_bytes(struct qmr_image *image, const char *path, mode_t mode, const void *data, size_t size,
		     struct qmr_error *err)
{
	struct qmr_image_entry entry = {.mode = mode, .data = malloc(size + 1), .data_bytes = size};

	if (!entry.data)
		return out_of_memory(err);
	if (size)
		memcpy(entry.data, data, size);
	return add(image, path, &entry, err);
}

int qmr_image_add_data(struct qmr_image *image, const char *path, mode_t mode, const void *data, size_t size,
		       struct qmr_error *err)
{
	return add_bytes(image, path, S_IFREG | mode, data, size, err);
}

int qmr_image_add_link(struct qmr_image *image, const char *path, const char *target, struct qmr_error *err)
{
	return add_bytes(image, path, S_IFLNK | 0777, target, strlen(target), err);
}

static int write_source(const struct qmr_image *image, const struct qmr_image_entry *entry, struct qmr_newc *newc,
			struct qmr_error *err)
{
	cleanup_close int fd = qmr_file_open_in_root(image->root_fd, entry->source, O_RDONLY | O_NONBLOCK, 0, err);
	struct qmr_newc_entry header = {.path = entry->path, .mode = entry->mode};
	cleanup_free char *buffer = malloc(COPY_BYTES);
	struct stat st;
	int r;

	if (fd < 0)
		return fd;
	if (!buffer)
		return out_of_memory(err);
	if (fstat(fd, &st) < 0)
		return qmr_error_errno(err, -errno, "examining '%s'", entry->source);
	if (!S_ISREG(st.st_mode) || st.st_size > QMR_IMAGE_FILE_BYTES_MAX)
		return qmr_error_set(err, -EFBIG, "'%s' is no regular file or too large", entry->source);
	header.size_bytes = (uint32_t)st.st_size;
	r = qmr_newc_add(newc, &header, err);
	while (r == 0 && newc->left_bytes) {
		ssize_t n = read(fd, buffer, newc->left_bytes < COPY_BYTES ? newc->left_bytes : COPY_BYTES);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return qmr_error_errno(err, -errno, "reading '%s'", entry->source);
		if (n == 0)
			return qmr_error_set(err, -EAGAIN, "'%s' became shorter while it was read", entry->source);
		r = qmr_newc_data(newc, buffer, (size_t)n, err);
	}
	return r;
}

static int write_entry(const struct qmr_image_entry *entry, struct qmr_newc *newc, struct qmr_error *err)
{
	struct qmr_newc_entry header = {
		.path = entry->path,
		.mode = entry->mode,
		.size_bytes = (uint32_t)entry->data_bytes,
		.major = entry->major,
		.minor = entry->minor,
	};
	int r = qmr_newc_add(newc, &header, err);

	if (r == 0 && entry->data_bytes)
		r = qmr_newc_data(newc, entry->data, entry->data_bytes, err);
	return r;
}

int64_t qmr_image_newest(const struct qmr_image *image)
{
	int64_t newest = image->newest_unix_s;

	for (size_t i = 0; i < image->n_entries; i++) {
		const char *source = image->entries[i].source;
		cleanup_close int fd = source ? qmr_file_open_in_root(image->root_fd, source, O_PATH, 0, NULL) : -1;
		struct stat st;

		if (fd >= 0 && fstat(fd, &st) == 0 && st.st_mtim.tv_sec > newest)
			newest = st.st_mtim.tv_sec;
	}
	return newest;
}

int qmr_image_write(const struct qmr_image *image, uint32_t mtime_unix_s, qmr_sink_fn *sink, void *user,
		    struct qmr_error *err)
{
	struct qmr_newc newc;
	int r = 0;

	qmr_newc_begin(&newc, sink, user, mtime_unix_s);
	for (size_t i = 0; r == 0 && i < image->n_entries; i++) {
		const struct qmr_image_entry *entry = &image->entries[i];

		r = entry->source ? write_source(image, entry, &newc, err) : write_entry(entry, &newc, err);
	}
	return r == 0 ? qmr_newc_end(&newc, err) : r;
}
