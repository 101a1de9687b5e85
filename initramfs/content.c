/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "content.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"

#define CONFIG_FILE_BYTES_MAX (1U << 20)
#define CONFIG_FILES_MAX 256
#define CONFIG_DEPTH_MAX 4

static const struct {
	const char *path;
	mode_t mode;
} folders[] = {
	{"dev", 0755}, {"etc", 0755}, {"proc", 0555}, {"root", 0700}, {"run", 0755},
	{"sys", 0555}, {"sysroot", 0755}, {"tmp", 01777}, {"usr/bin", 0755}, {"usr/sbin", 0755}, {"usr/lib", 0755},
	{"usr/lib64", 0755}, {"var/lib/dhcpcd", 0755}, {"var/log", 0755},
};

static const struct {
	const char *path, *target;
} links[] = {
	{"bin", "usr/bin"}, {"sbin", "usr/sbin"}, {"lib", "usr/lib"}, {"lib64", "usr/lib64"},
	{"var/run", "../run"}, {"etc/mtab", "../proc/self/mounts"},
};

/* The kernel opens /dev/console for PID 1 before anything is mounted. */
static const struct {
	const char *path;
	mode_t mode;
	uint32_t major, minor;
} devices[] = {
	{"dev/console", 0600, 5, 1},
	{"dev/null", 0666, 1, 3},
	{"dev/kmsg", 0600, 1, 11},
};

static const struct {
	const char *path, *text;
} files[] = {
	{"etc/passwd", "root:x:0:0:root:/root:/usr/sbin/nologin\n"
		       "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
	{"etc/group", "root:x:0:\nnogroup:x:65534:\n"},
	{"etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"},
	{"etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"},
	{"etc/host.conf", "multi on\n"},
	{"etc/fstab", ""},
};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static int add_fixed(struct qmr_image *image, struct qmr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < COUNT(folders); i++)
		r = qmr_image_add_dir(image, folders[i].path, folders[i].mode, err);
	for (size_t i = 0; r == 0 && i < COUNT(links); i++)
		r = qmr_image_add_link(image, links[i].path, links[i].target, err);
	for (size_t i = 0; r == 0 && i < COUNT(devices); i++)
		r = qmr_image_add_device(image, devices[i].path, devices[i].mode, devices[i].major, devices[i].minor,
					 err);
	for (size_t i = 0; r == 0 && i < COUNT(files); i++)
		r = qmr_image_add_data(image, files[i].path, 0644, files[i].text, strlen(files[i].text), err);
	return r;
}

/* A value that stays one value of an ini file, and one word to those who read it. */
static int is_plain(const char *text)
{
	return text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+~-")] == '\0';
}

int qmr_content_add_machine(struct qmr_image *image, const struct qmr_config *config, struct qmr_error *err)
{
	char built[24];
	const struct {
		const char *key, *value;
	} lines[] = {
		{"root_uuid", config->root_uuid},
		{"root_fstype", config->root_fstype},
		{"esp_uuid", config->esp_uuid},
		{"kernel", config->machine_kernel},
		{"built", built},
	};
	char text[512] = "[machine]\n";
	size_t used = strlen(text);

	snprintf(built, sizeof(built), "%" PRId64, config->built_unix_s);
	for (size_t i = 0; i < COUNT(lines); i++) {
		if (!is_plain(lines[i].value))
			return qmr_error_set(err, -EINVAL, "[machine] %s: '%s' is not one plain word", lines[i].key,
					     lines[i].value);
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s=%s\n", lines[i].key, lines[i].value);
	}
	return qmr_image_add_data(image, "etc/qmr/machine.conf", 0644, text, used, err);
}

static int has_private_key(const char *data, size_t size)
{
	const char *begin = memmem(data, size, "-----BEGIN", 10);

	return begin && memmem(begin, size - (size_t)(begin - data), "PRIVATE KEY", 11);
}

struct tree {
	struct qmr_image *image;
	int in_root;   /* paths are the root's own, and its links stay inside it */
	int only_conf; /* files named *.conf alone */
	unsigned int n_files;
	struct stat secrets[2]; /* of the files that hold some, wherever they are; zeroed: there is none */
};

static void find_secrets(struct tree *tree, const struct qmr_config *config)
{
	const char *const paths[] = {config->proxy_user, config->client};

	for (size_t i = 0; i < COUNT(paths); i++) {
		cleanup_close int fd = paths[i][0] ? qmr_file_open_in_root(tree->image->root_fd, paths[i], O_PATH, 0, NULL) : -1;

		if (fd < 0 || fstat(fd, &tree->secrets[i]) < 0)
			memset(&tree->secrets[i], 0, sizeof(tree->secrets[i]));
	}
}

static int is_secret(const struct tree *tree, const struct stat *st)
{
	for (size_t i = 0; i < COUNT(tree->secrets); i++)
		if (tree->secrets[i].st_ino && tree->secrets[i].st_ino == st->st_ino && tree->secrets[i].st_dev == st->st_dev)
			return 1;
	return 0;
}

static int add_config_file(struct tree *tree, int fd, const char *path, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	struct stat st;
	size_t size;
	int r = qmr_file_read_fd(fd, path, CONFIG_FILE_BYTES_MAX, &data, &size, err);

	if (r < 0)
		return r;
	if (has_private_key(data, size))
		return qmr_error_set(err, -EKEYREJECTED,
				     "'/%s' holds a private key, and the recovery image is readable by everyone: keep "
				     "it elsewhere", path);
	if (++tree->n_files > CONFIG_FILES_MAX)
		return qmr_error_set(err, -E2BIG, "'/etc/qmr' holds more than %d files", CONFIG_FILES_MAX);
	if (fstat(fd, &st) == 0 && st.st_mtim.tv_sec > tree->image->newest_unix_s)
		tree->image->newest_unix_s = st.st_mtim.tv_sec;
	return qmr_image_add_data(tree->image, path, 0644, data, size, err);
}

/* The image has its own machine.conf, and everybody can read it: it gets no secrets. */
static int is_left_out(const char *path)
{
	return !strcmp(path, "etc/qmr/machine.conf") || !strcmp(path, "etc/qmr/secrets");
}

static int is_conf(const char *name)
{
	size_t length = strlen(name);

	return length > 5 && !strcmp(name + length - 5, ".conf");
}

static int open_config(const struct tree *tree, int dir_fd, const char *name, const char *path, struct qmr_error *err)
{
	int fd;

	if (tree->in_root)
		return qmr_file_open_in_root(tree->image->root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, err);
	fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? qmr_error_errno(err, -errno, "opening '%s' of the configuration", name) : fd;
}

/* Adds what lies below dir_fd, which is taken over, as path. A link is followed: the image gets the file. */
static int add_config_tree(struct tree *tree, int dir_fd, const char *path, int depth, struct qmr_error *err)
{
	cleanup_closedir DIR *dir = qmr_file_take_dir(dir_fd);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return qmr_error_set(err, -ENOMEM, "reading '/%s': out of memory", path);
	while (r == 0 && (errno = 0, entry = readdir(dir))) {
		cleanup_close int fd = -1;
		char below[PATH_MAX];
		struct stat st;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(below, sizeof(below), "%.3000s/%s", path, entry->d_name);
		if (is_left_out(below))
			continue;
		fd = open_config(tree, dirfd(dir), entry->d_name, below, err);
		if (fd < 0)
			r = fd;
		else if (fstat(fd, &st) < 0)
			r = qmr_error_errno(err, -errno, "examining '/%s'", below);
		else if (is_secret(tree, &st))
			continue;
		else if (S_ISREG(st.st_mode) && (!tree->only_conf || is_conf(entry->d_name)))
			r = add_config_file(tree, fd, below, err);
		else if (S_ISDIR(st.st_mode) && depth < CONFIG_DEPTH_MAX && !tree->only_conf) {
			r = add_config_tree(tree, fd, below, depth + 1, err);
			fd = -1;
		}
	}
	return r == 0 && errno ? qmr_error_errno(err, -errno, "reading '/%s'", path) : r;
}

/* The given file and its conf.d, in the place of the root's. */
static int add_given_config(struct tree *tree, const char *config_path, struct qmr_error *err)
{
	cleanup_close int fd = open(config_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	const char *slash = strrchr(config_path, '/');
	char folder[PATH_MAX];
	int dir_fd, r;

	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s'", config_path);
	r = add_config_file(tree, fd, "etc/qmr/qmr.conf", err);
	if (r < 0)
		return r;
	snprintf(folder, sizeof(folder), "%.*s%sconf.d", slash ? (int)(slash - config_path) : 0, config_path,
		 slash ? "/" : "");
	r = qmr_image_add_dir(tree->image, "etc/qmr/conf.d", 0755, err);
	dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r < 0 || dir_fd < 0)
		return r;
	tree->only_conf = 1;
	r = add_config_tree(tree, dir_fd, "etc/qmr/conf.d", 0, err);
	tree->only_conf = 0;
	return r;
}

/* Adds a part of the root's /etc/qmr, if it has it. */
static int add_root_config(struct tree *tree, const char *path, struct qmr_error *err)
{
	int dir_fd = qmr_file_open_in_root(tree->image->root_fd, path, O_RDONLY | O_DIRECTORY, 0, NULL);

	tree->in_root = 1;
	return dir_fd < 0 ? 0 : add_config_tree(tree, dir_fd, path, 0, err);
}

int qmr_content_add(struct qmr_image *image, const struct qmr_config *config, const char *config_path, struct qmr_error *err)
{
	struct tree tree = {.image = image};
	int r = add_fixed(image, err);

	find_secrets(&tree, config);
	if (r == 0)
		r = qmr_image_add_dir(image, "etc/qmr", 0755, err);
	if (r == 0 && config_path) {
		r = add_given_config(&tree, config_path, err);
		return r == 0 ? add_root_config(&tree, "etc/qmr/trust", err) : r;
	}
	return r == 0 ? add_root_config(&tree, "etc/qmr", err) : r;
}
