/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_FILE_H
#define QMR_FILE_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

/*
 * Files, relative to a directory descriptor (AT_FDCWD allowed). All descriptors are O_CLOEXEC, and the last
 * component of a path is never followed if it is a link, unless a function says otherwise.
 */

/*
 * Reads a whole file of at most max bytes into *ret_data (malloc, caller frees; a NUL byte follows the data
 * and is not counted). -EFBIG if it is larger, -ENOENT if missing, -EINVAL if it is not a regular file.
 * Files of /proc and /sys, whose size is 0, are read as well.
 */
int qmr_file_read(int dirfd, const char *path, size_t max, char **ret_data, size_t *ret_size,
		  struct qmr_error *err) QMR_MUST_CHECK;

/* As qmr_file_read() from an open descriptor, from its current offset. name is for messages. */
int qmr_file_read_fd(int fd, const char *name, size_t max, char **ret_data, size_t *ret_size,
		     struct qmr_error *err) QMR_MUST_CHECK;

/* Writes all of data; a short write is continued, ENOSPC and EIO are errors. */
int qmr_file_write_all(int fd, const char *name, const void *data, size_t size, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Durable atomic replacement: writes "<path>.qmr-new", fsync, rename over path, fsync of the directory. After a power
 * cut the file has the old or the new content. On failure the temporary file is removed and path is as it was.
 */
int qmr_file_replace(int dirfd, const char *path, const void *data, size_t size, mode_t mode,
		     struct qmr_error *err) QMR_MUST_CHECK;

/*
 * The same, atomic for whoever reads, but not durable: after a power cut the file may be missing, empty, the old one or any bytes. For what its
 * reader verifies, and can get again.
 */
int qmr_file_replace_unsynced(int dirfd, const char *path, const void *data, size_t size, mode_t mode,
			      struct qmr_error *err) QMR_MUST_CHECK;

/*
 * qmr_file_replace() for FAT. A directory entry there holds place and size of the file, and rename only marks it to be written (fs/fat/namei_vfat.c),
 * with the file, not with the directory: for half a minute the disk may still have the old place under this name, after the old
 * blocks were given back. So the old file is held open, which keeps its blocks, until the new entry is synced. path is absolute.
 */
int qmr_file_replace_on_fat(const char *path, const void *data, size_t size, struct qmr_error *err) QMR_MUST_CHECK;

/* Durable rename for FAT within a folder, for the same reason; nothing is overwritten (-EEXIST). */
int qmr_file_rename_on_fat(int dirfd, const char *from, const char *to, struct qmr_error *err) QMR_MUST_CHECK;

/* Writes a number or word to an existing file of /proc or /sys; never creates. */
int qmr_file_poke(const char *path, const char *text, struct qmr_error *err) QMR_MUST_CHECK;

/* Creates path and its parents, mode 0755 for parents, mode for the last; existing directories are fine. */
int qmr_file_mkdirs(int dirfd, const char *path, mode_t mode, struct qmr_error *err) QMR_MUST_CHECK;

/* Copies from in_fd (current offset) to out_fd, at most max bytes (-EFBIG beyond); reflink where possible. */
int qmr_file_copy_fd(int in_fd, int out_fd, uint64_t max, const char *name, struct qmr_error *err) QMR_MUST_CHECK;

/* fsync of a directory by path. */
int qmr_file_sync_dir(int dirfd, const char *path, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Folders for readdir(3). NULL with errno set if it fails; the caller closes what it gets. The listing has an offset of its own: with "." as
 * path it leaves that of dirfd alone.
 */
DIR *qmr_file_open_dir(int dirfd, const char *path);

/* The same inside the root, as qmr_file_open_in_root(). */
DIR *qmr_file_open_dir_in_root(int root_fd, const char *path);

/* The same of an open folder; fd (below 0: NULL, errno is left alone) is taken over, and closed if it fails. */
DIR *qmr_file_take_dir(int fd);

/*
 * Removes the files of a folder whose names is_ours() takes; the folder stays. -ENOENT if it is missing; a folder among them is an error. Not
 * synced. what ("earlier plans") is for messages.
 */
int qmr_file_remove_some(int dirfd, const char *path, int (*is_ours)(const char *name), const char *what,
			 struct qmr_error *err) QMR_MUST_CHECK;

/* Removes a tree; does not follow links or cross file systems. A missing path is fine. */
int qmr_file_remove_tree(int dirfd, const char *path, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Opens path as if root_fd were "/": absolute links and ".." stay inside (openat2 RESOLVE_IN_ROOT, plus
 * RESOLVE_NO_MAGICLINKS). flags as open(2); O_CLOEXEC is added. path may begin with '/'. Returns the descriptor.
 */
int qmr_file_open_in_root(int root_fd, const char *path, int flags, mode_t mode, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Opens the parent directory of path inside the root (O_PATH is not set: it can be fsynced) and copies the last
 * component into ret_name. With create, missing parents are made (mode 0755).
 */
int qmr_file_open_parent_in_root(int root_fd, const char *path, int create, char ret_name[256],
				 struct qmr_error *err) QMR_MUST_CHECK;

#endif
