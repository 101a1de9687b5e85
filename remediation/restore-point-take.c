/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "restore-point-take.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>

#include "change-log-update.h"
#include "cleanup.h"
#include "file.h"
#include "hash.h"
#include "json.h"
#include "log.h"
#include "restore-point.h"
#include "transaction.h"

struct seen {
	char *path;
	struct qmr_node node;
};

struct take {
	int root_fd;
	const struct qmr_config *config;
	struct qmr_restore_point previous; /* zeroed if there is none */
	struct seen *seen;                 /* owned */
	size_t n, room;
	uint64_t total_bytes;
	json_t *files, *skipped; /* owned, of the manifest */
};

static void take_done(struct take *take)
{
	for (size_t i = 0; i < take->n; i++) {
		free(take->seen[i].path);
		qmr_node_done(&take->seen[i].node);
	}
	free(take->seen);
	json_decref(take->files);
	json_decref(take->skipped);
	qmr_restore_point_done(&take->previous);
}

int qmr_restore_points_open(int root_fd, int create, struct qmr_error *err)
{
	char name[256];

	if (create) {
		cleanup_close int parent =
			qmr_file_open_parent_in_root(root_fd, QMR_RESTORE_POINTS, 1, name, err);

		if (parent < 0)
			return parent;
		if ((mkdirat(parent, name, 0700) < 0 && errno != EEXIST) || fsync(parent) < 0)
			return qmr_error_errno(err, -errno, "creating folder '%s'",
					       QMR_RESTORE_POINTS);
	}
	return qmr_file_open_in_root(root_fd, QMR_RESTORE_POINTS,
				     O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
}

static int skip(struct take *take, const char *path, const char *why, struct qmr_error *err)
{
	cleanup_free char *printable = strdup(path);
	json_t *text = printable ? json_string(printable) : NULL;

	if (printable && !text) { /* not UTF-8, which JSON cannot say */
		for (unsigned char *p = (unsigned char *)printable; *p; p++)
			if (*p >= 0x80)
				*p = '?';
		text = json_string(printable);
	}
	if (!text || json_array_append_new(take->skipped,
					   json_pack("{s:o, s:s}", "path", text, "why", why)) < 0)
		return qmr_error_set(err, -ENOMEM, "noting '%s': out of memory", path);
	return 0;
}

static int remember(struct take *take, const char *path, struct qmr_node *node,
		    struct qmr_error *err)
{
	if (take->n == take->room) {
		size_t room = take->room ? take->room * 2 : 64;
		struct seen *grown = reallocarray(take->seen, room, sizeof(*grown));

		if (!grown)
			return qmr_error_set(err, -ENOMEM, "noting '%s': out of memory", path);
		take->seen = grown;
		take->room = room;
	}
	take->seen[take->n].path = strdup(path);
	if (!take->seen[take->n].path)
		return qmr_error_set(err, -ENOMEM, "noting '%s': out of memory", path);
	take->seen[take->n++].node = *node;
	memset(node, 0, sizeof(*node)); /* moved */
	return 0;
}

/* Larger files are not even hashed: that bounds the time as well. */
static int is_too_large(struct take *take, uint64_t size, char why[64])
{
	uint64_t file_max = (uint64_t)take->config->watch_file_max_mib << 20;
	uint64_t total_max = (uint64_t)take->config->watch_total_max_mib << 20;

	if (size > file_max)
		snprintf(why, 64, "larger than %d MiB", take->config->watch_file_max_mib);
	else if (take->total_bytes + size > total_max)
		snprintf(why, 64, "the restore point would be larger than %d MiB",
			 take->config->watch_total_max_mib);
	else
		return 0;
	return 1;
}

static int look(void *user, const char *path, int parent_fd, const char *name,
		struct qmr_error *err)
{
	struct take *take = user;
	struct qmr_error why = {0};
	struct qmr_node node = {0};
	json_t *text = json_string(path);
	char large[64];
	struct stat st;
	int r;

	if (!text)
		return skip(take, path, "its name is not UTF-8", err);
	json_decref(text);
	if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	    is_too_large(take, (uint64_t)st.st_size, large))
		return skip(take, path, large, err);
	r = qmr_node_read_at(parent_fd, name, path, &node, &why);
	if (r == -EBADMSG || (r == 0 && node.type == QMR_NODE_NONE))
		return 0; /* replaced or deleted since it was listed */
	if (r < 0)
		return skip(take, path, why.text, err);
	if (node.target && !(text = json_string(node.target))) {
		qmr_node_done(&node);
		return skip(take, path, "its target is not UTF-8", err);
	}
	if (node.target)
		json_decref(text);
	else
		take->total_bytes += node.size;
	r = remember(take, path, &node, err);
	qmr_node_done(&node);
	return r;
}

static int is_unchanged(const struct take *take)
{
	if (!take->previous.id || take->n != take->previous.n_files)
		return 0;
	for (size_t i = 0; i < take->n; i++) {
		const struct qmr_saved_file *old =
			&take->previous.files[i]; /* both are sorted by path */
		const struct qmr_node *now = &take->seen[i].node;

		if (strcmp(old->path, take->seen[i].path) || !old->target != !now->target ||
		    old->uid != now->uid || old->gid != now->gid)
			return 0;
		if (now->target ? strcmp(old->target, now->target) != 0
				: strcmp(old->sha256, now->sha256) || old->mode != now->mode)
			return 0;
	}
	return 1;
}

static int open_previous_copy(int points_fd, uint64_t id, const char *path)
{
	char copy[4200];

	if (snprintf(copy, sizeof(copy), "%llu/files%s", (unsigned long long)id, path) >=
	    (int)sizeof(copy))
		return -ENAMETOOLONG;
	return openat(points_fd, copy, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

/* 1: the new name is another link to the previous copy, which was hashed: a copy gone bad is not
 * passed on. */
static int link_previous(const struct take *take, const struct seen *seen, int points_fd, int in_fd,
			 int files_fd)
{
	const struct qmr_saved_file *old = qmr_restore_point_find(&take->previous, seen->path);
	cleanup_close int fd = -1;
	char sha256[65], copy[4200];

	if (!old || strcmp(old->sha256, seen->node.sha256))
		return 0;
	fd = open_previous_copy(points_fd, take->previous.id, seen->path);
	if (fd < 0 || qmr_sha256_fd(fd, seen->path, sha256, NULL, NULL) < 0 ||
	    strcmp(sha256, old->sha256) || !qmr_node_has_same_xattrs(fd, in_fd))
		return 0;
	snprintf(copy, sizeof(copy), "%llu/files%s", (unsigned long long)take->previous.id,
		 seen->path);
	return linkat(points_fd, copy, files_fd, seen->path + 1, 0) == 0;
}

static int make_parents(int files_fd, const char *path, struct qmr_error *err)
{
	cleanup_free char *parent = strdup(path + 1);
	char *slash = parent ? strrchr(parent, '/') : NULL;

	if (!parent)
		return qmr_error_set(err, -ENOMEM, "copying '%s': out of memory", path);
	if (!slash)
		return 0;
	*slash = '\0';
	return qmr_file_mkdirs(files_fd, parent, 0755, err);
}

static int save_file(struct take *take, struct seen *seen, int points_fd, int files_fd,
		     struct qmr_error *err)
{
	cleanup_close int fd = qmr_file_open_in_root(take->root_fd, seen->path,
						     O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);
	struct qmr_node meta;
	struct stat st;
	int r;

	if (fd < 0)
		return fd == -ENOENT || fd == -ELOOP ? 1 : fd;
	r = qmr_node_stat_fd(fd, seen->path, &meta, err);
	if (r == -EBADMSG)
		return 1;
	if (r == 0)
		r = make_parents(files_fd, seen->path, err);
	if (r < 0 || link_previous(take, seen, points_fd, fd, files_fd))
		return r;
	/* What was copied is what is noted, should the file have changed since it was looked at. */
	seen->node.mode = meta.mode;
	seen->node.uid = meta.uid;
	seen->node.gid = meta.gid;
	seen->node.mtime_ns = meta.mtime_ns;
	meta.mode = 0400; /* a copy with a set-user-id bit would be a second door */
	meta.uid = geteuid();
	meta.gid = getegid();
	r = qmr_node_copy_file(fd, files_fd, seen->path + 1, &meta, seen->node.sha256, err);
	if (r == 0 && fstatat(files_fd, seen->path + 1, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = qmr_error_errno(err, -errno, "examining the copy of '%s'", seen->path);
	if (r == 0)
		seen->node.size = (uint64_t)st.st_size;
	return r;
}

static json_t *describe(const struct seen *seen)
{
	const struct qmr_node *node = &seen->node;

	if (node->target)
		return json_pack("{s:s, s:s, s:s, s:I, s:I}", "path", seen->path, "type", "symlink",
				 "target", node->target, "uid", (json_int_t)node->uid, "gid",
				 (json_int_t)node->gid);
	return json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:s}", "path", seen->path, "type",
			 "file", "mode", (int)node->mode, "uid", (json_int_t)node->uid, "gid",
			 (json_int_t)node->gid, "size", (json_int_t)node->size, "mtime_ns",
			 (json_int_t)node->mtime_ns, "sha256", node->sha256);
}

static int save_all(struct take *take, int points_fd, int folder_fd, struct qmr_error *err)
{
	cleanup_close int files_fd = -1;

	if (mkdirat(folder_fd, "files", 0700) < 0)
		return qmr_error_errno(err, -errno, "creating folder 'files'");
	files_fd = openat(folder_fd, "files", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (files_fd < 0)
		return qmr_error_errno(err, -errno, "opening folder 'files'");
	for (size_t i = 0; i < take->n; i++) {
		struct seen *seen = &take->seen[i];
		int r = seen->node.target ? 0 : save_file(take, seen, points_fd, files_fd, err);

		if (r == 1)
			continue; /* deleted or replaced since it was looked at */
		if (r == 0 && json_array_append_new(take->files, describe(seen)) < 0)
			r = qmr_error_set(err, -ENOMEM, "noting '%s': out of memory", seen->path);
		if (r < 0)
			return r;
	}
	/* The folders as well, at whatever depth. */
	if (syncfs(files_fd) < 0)
		return qmr_error_errno(err, -errno, "syncing the copies");
	return 0;
}

static int save_manifest(struct take *take, int folder_fd, uint64_t id, struct qmr_error *err)
{
	cleanup_json json_t *manifest = NULL;
	struct utsname system = {0};

	(void)uname(&system); /* cannot fail with a valid pointer */
	manifest = json_pack("{s:i, s:I, s:I, s:s, s:O, s:O}", "schema", 1, "id", (json_int_t)id,
			     "taken_unix_s", (json_int_t)time(NULL), "kernel", system.release,
			     "files", take->files, "skipped", take->skipped);
	if (!manifest)
		return qmr_error_set(err, -ENOMEM, "writing manifest.json: out of memory");
	return qmr_json_save(folder_fd, "manifest.json", manifest, 0600, err);
}

/* The manifest goes first and durably: what is left after a cut is an unfinished folder. */
static int remove_point(int points_fd, uint64_t id, struct qmr_error *err)
{
	char name[32], manifest[64];

	snprintf(name, sizeof(name), "%llu", (unsigned long long)id);
	snprintf(manifest, sizeof(manifest), "%s/manifest.json", name);
	if (unlinkat(points_fd, manifest, 0) == 0) {
		int r = qmr_file_sync_dir(points_fd, name, err);

		if (r < 0)
			return r;
	}
	return qmr_file_remove_tree(points_fd, name, err);
}

/* Keeps the newest valid ones; unfinished folders go whatever their age. */
static void prune(int root_fd, int points_fd, int keep)
{
	cleanup_free uint64_t *ids = NULL;
	struct qmr_error why = {0};
	int n = qmr_numbered_list(points_fd, &ids, &why), valid = 0;

	while (n-- > 0) {
		struct qmr_restore_point point;
		int r = qmr_restore_point_load(root_fd, ids[n], &point, &why);

		if (r == 0)
			qmr_restore_point_done(&point);
		if (r == 0 && valid++ < keep)
			continue;
		if (r < 0 && r != -ENOENT && valid < keep) {
			qmr_warning("reading restore point %llu: %s; it is kept for now",
				    (unsigned long long)ids[n], why.text);
			continue;
		}
		if (remove_point(points_fd, ids[n], &why) < 0)
			qmr_warning(
				"deleting the old restore point %llu: %s; the next run tries again",
				(unsigned long long)ids[n], why.text);
	}
}

static int new_id(int points_fd, uint64_t *ret_id, struct qmr_error *err)
{
	cleanup_free uint64_t *ids = NULL;
	int n = qmr_numbered_list(points_fd, &ids, err);

	if (n < 0)
		return n;
	*ret_id = n ? ids[n - 1] + 1 : 1;
	return 0;
}

static int write_point(struct take *take, int points_fd, uint64_t id, struct qmr_error *err)
{
	cleanup_close int folder_fd = -1;
	char name[32];
	int r;

	snprintf(name, sizeof(name), "%llu", (unsigned long long)id);
	if (mkdirat(points_fd, name, 0700) < 0)
		return qmr_error_errno(err, -errno, "creating restore point %s", name);
	folder_fd = openat(points_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (folder_fd < 0)
		return qmr_error_errno(err, -errno, "opening restore point %s", name);
	r = save_all(take, points_fd, folder_fd, err);
	if (r == 0 && fsync(points_fd) < 0)
		r = qmr_error_errno(err, -errno, "syncing '%s'", QMR_RESTORE_POINTS);
	return r < 0 ? r : save_manifest(take, folder_fd, id, err);
}

static int take_locked(struct take *take, int points_fd, uint64_t *ret_id, struct qmr_error *err)
{
	uint64_t id = 0;
	int r = qmr_restore_point_load_newest(take->root_fd, &take->previous, err);

	if (r < 0 && r != -ENOENT)
		return r;
	/* Before anything is written: what an earlier cut or a full disk left takes room. */
	prune(take->root_fd, points_fd, take->config->watch_keep);
	r = qmr_watch_walk(take->root_fd, take->config, look, take, err);
	if (r < 0)
		return r;
	if (is_unchanged(take)) {
		*ret_id = 0;
		return 0;
	}
	r = new_id(points_fd, &id, err);
	if (r == 0)
		r = write_point(take, points_fd, id, err);
	if (r < 0) {
		struct qmr_error why = {0};

		if (id && remove_point(points_fd, id, &why) < 0)
			qmr_warning("cleaning up restore point %llu: %s; the next run does it",
				    (unsigned long long)id, why.text);
		return r;
	}
	*ret_id = id;
	return 0;
}

/* The change log compares the new restore point with the one before, so older ones go after that. */
static int take_and_log(struct take *take, int points_fd, const char *boot, uint64_t *ret_id,
			struct qmr_error *err)
{
	uint64_t id = 0;
	int r = take_locked(take, points_fd, &id, err);
	struct qmr_change_log_run run = {
		.root_fd = take->root_fd,
		.config = take->config,
		.boot = boot,
		.previous = &take->previous,
		.newest = r == 0 && id ? id : take->previous.id,
	};
	struct qmr_error why = {0};

	if (qmr_change_log_update(&run, &why) < 0)
		qmr_warning("writing the change log: %s; the next run makes up for it", why.text);
	if (r < 0)
		return r;
	if (id)
		prune(take->root_fd, points_fd, take->config->watch_keep);
	*ret_id = id;
	return 0;
}

int qmr_restore_point_take(int root_fd, const struct qmr_config *config, const char *boot,
			   uint64_t *ret_id, struct qmr_error *err)
{
	struct take take = {.root_fd = root_fd,
			    .config = config,
			    .files = json_array(),
			    .skipped = json_array()};
	cleanup_close int points_fd = qmr_restore_points_open(root_fd, 1, err);
	int r;

	if (points_fd < 0)
		r = points_fd;
	else if (!take.files || !take.skipped)
		r = qmr_error_set(err, -ENOMEM, "out of memory");
	else if (flock(points_fd, LOCK_EX | LOCK_NB) < 0)
		r = qmr_error_errno(err, errno == EWOULDBLOCK ? -EBUSY : -errno, "locking '%s'",
				    QMR_RESTORE_POINTS);
	else
		r = take_and_log(&take, points_fd, boot, ret_id, err);
	take_done(&take);
	return r;
}
