/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Selectors that the broken system's root answers. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "dpkg-status.h"
#include "file.h"
#include "glob.h"
#include "hash.h"
#include "json.h"
#include "plan-match.h"

#define PATHS_MAX 1000
#define HASHED_BYTES_MAX (256LL << 20)

struct file_search {
	int root_fd;
	const char *sha256; /* NULL: being there is enough */
	unsigned int paths;
	long long bytes;
	int is_found, is_unknown;
};

/* Nobody holds a path there, which is an answer; any other error is none. */
static int is_absence(int r)
{
	return r == -ENOENT || r == -ENOTDIR;
}

static int look_at(void *user, const char *path, struct qmr_error *err)
{
	struct file_search *search = user;
	cleanup_close int parent = -1, fd = -1;
	char name[256], is[QMR_SHA256_HEX];
	struct stat st;

	if (++search->paths > PATHS_MAX)
		return -E2BIG;
	parent = qmr_file_open_parent_in_root(search->root_fd, path, 0, name, err);
	if (parent < 0 || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		search->is_unknown |= !is_absence(parent < 0 ? parent : -errno);
		return 0;
	}
	if (!search->sha256) {
		search->is_found = 1;
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return 0;
	search->bytes += st.st_size;
	if (st.st_size > HASHED_BYTES_MAX || search->bytes > HASHED_BYTES_MAX)
		return -EFBIG;
	fd = openat(parent, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || qmr_sha256_fd(fd, path, is, NULL, err) < 0)
		search->is_unknown = 1;
	else
		search->is_found |= !strcmp(is, search->sha256);
	return 0;
}

enum qmr_match qmr_match_file(const json_t *value, int root_fd)
{
	struct file_search search = {.root_fd = root_fd, .sha256 = qmr_json_string(value, "sha256")};
	struct qmr_error err = {0};
	int r;

	if (root_fd < 0)
		return QMR_MATCH_UNKNOWN;
	r = qmr_glob_in_root(root_fd, qmr_json_string(value, "path"), look_at, &search, &err);
	if (search.is_found)
		return QMR_MATCH_YES;
	return r < 0 || search.is_unknown ? QMR_MATCH_UNKNOWN : QMR_MATCH_NO;
}

struct package_search {
	const json_t *version; /* NULL: any */
	enum qmr_match result;
};

static int judge(void *user, const struct qmr_dpkg_entry *entry, struct qmr_error *err)
{
	struct package_search *search = user;
	char version[QMR_VERSION_BYTES_MAX + 1] = "";
	enum qmr_match one = QMR_MATCH_NO;

	if (entry->is_unknown) {
		one = QMR_MATCH_UNKNOWN;
	} else if (entry->is_there && search->version) {
		if (entry->version && qmr_version_is_valid(QMR_VERSION_PACKAGE, entry->version, entry->version_size))
			memcpy(version, entry->version, entry->version_size); /* is_valid: it has room */
		one = qmr_match_version(search->version, QMR_VERSION_PACKAGE, *version ? version : NULL);
	} else if (entry->is_there) {
		one = QMR_MATCH_YES;
	}
	/* "any", over the instances */
	if (one == QMR_MATCH_YES || (one == QMR_MATCH_UNKNOWN && search->result == QMR_MATCH_NO))
		search->result = one;
	return 0;
}

enum qmr_match qmr_match_package(const json_t *value, int root_fd)
{
	struct package_search search = {.version = json_object_get(value, "version"), .result = QMR_MATCH_NO};
	struct qmr_error err = {0};

	if (root_fd < 0 || qmr_dpkg_find(root_fd, qmr_json_string(value, "name"), judge, &search, &err) < 0)
		return QMR_MATCH_UNKNOWN;
	return search.result;
}
