/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "tuf-client.h"

#define STORE_PATH_MAX 512

/* has_versions: an older one must not come back. Snapshot's are those of targets and of all delegated roles. */
static const struct {
	const char *name;
	enum qmr_tuf_role role;
	int has_versions;
} kept[] = {
	{"timestamp.json", QMR_TUF_TIMESTAMP, 1},
	{"snapshot.json", QMR_TUF_SNAPSHOT, 1},
	{"targets.json", QMR_TUF_TARGETS, 0},
};

/* "3.root.json" */
static int is_numbered_root(const char *name)
{
	size_t digits = strspn(name, "0123456789");

	return digits > 0 && digits < 20 && !strcmp(name + digits, ".root.json");
}

static int is_root(const char *name)
{
	return !strncmp(name, QMR_TUF_KEPT_ROOTS "/", sizeof(QMR_TUF_KEPT_ROOTS));
}

int qmr_fetch_store_fetch(void *user, const char *name, size_t max_bytes, char **ret_data,
			  size_t *ret_size, struct qmr_error *err)
{
	const struct qmr_fetch_store *store = user;
	cleanup_close int fd = -1;
	char base[256];

	if (store->fd < 0)
		return qmr_error_set(err, -ENOENT, "there is no '%s'", name);
	/* The folder of roots may be a link on a hostile disk: it leads no farther than the store.
	 */
	fd = qmr_file_open_parent_in_root(store->fd, name, 0, base, err);
	return fd < 0 ? fd : qmr_file_read(fd, base, max_bytes, ret_data, ret_size, err);
}

static void read_file(struct qmr_fetch_store *store, const char *name, enum qmr_tuf_role role)
{
	cleanup_free char *data = NULL;
	struct qmr_error why = {0};
	size_t size;
	int r = qmr_fetch_store_fetch(store, name, qmr_tuf_role_max_bytes(role), &data, &size,
				      &why);

	if (r == 0)
		r = qmr_fetch_files_add(&store->files, name, data, size, &why);
	if (r < 0 && r != -ENOENT)
		qmr_warning("metadata kept in '%s': %s; going on without it", store->path,
			    why.text);
}

static int is_role(const char *name)
{
	size_t n = strlen(name);

	if (n < 6 || strcmp(name + n - 5, ".json") || !strcmp(name, "root.json"))
		return 0;
	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		if (!strcmp(name, kept[i].name))
			return 0;
	return 1;
}

static void read_folder(struct qmr_fetch_store *store, const char *folder,
			int (*is_wanted)(const char *name), enum qmr_tuf_role role)
{
	int fd = openat(store->fd, *folder ? folder : ".",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	cleanup_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	char path[STORE_PATH_MAX];

	if (!dir && fd >= 0)
		close(fd);
	while (dir && store->files.n < QMR_FETCH_FILES_MAX && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s%s%s", folder, *folder ? "/" : "", entry->d_name);
		if (is_wanted(entry->d_name))
			read_file(store, path, role);
	}
}

void qmr_fetch_store_open(const char *path, struct qmr_fetch_store *ret_store)
{
	struct qmr_error why = {0};

	memset(ret_store, 0, sizeof(*ret_store));
	ret_store->path = path;
	if (qmr_file_mkdirs(AT_FDCWD, path, 0755, &why) < 0)
		qmr_warning("%s", why.text); /* it may be there for reading nevertheless */
	ret_store->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (ret_store->fd < 0)
		qmr_warning("opening folder '%s': %s; metadata of earlier runs is not known, and "
			    "none is kept",
			    path, strerror(errno));
}

void qmr_fetch_store_load(struct qmr_fetch_store *store)
{
	if (store->fd < 0)
		return;
	/* In this order: a folder full of hostile roles must not keep the others out. */
	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		read_file(store, kept[i].name, kept[i].role);
	read_folder(store, QMR_TUF_KEPT_ROOTS, is_numbered_root, QMR_TUF_ROOT);
	read_folder(store, "", is_role, QMR_TUF_TARGETS);
}

/* Whether the next run is worse off if a power cut takes it. */
static int must_last(const char *name)
{
	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		if (!strcmp(name, kept[i].name))
			return kept[i].has_versions;
	return is_root(name);
}

int qmr_fetch_store_keep(struct qmr_fetch_store *store, const char *name, const char *data,
			 size_t size, struct qmr_error *err)
{
	const int is_durable = must_last(name);
	struct qmr_error why = {0};
	cleanup_close int fd = -1;
	char base[256];
	int r;

	if (store->fd < 0)
		return 0;
	r = fd = qmr_file_open_parent_in_root(store->fd, name, 1, base, &why);
	if (r >= 0)
		r = (is_durable ? qmr_file_replace : qmr_file_replace_unsynced)(fd, base, data, size, 0644, &why);
	if (r == 0 && is_root(name))
		r = qmr_file_replace(store->fd, "root.json", data, size, 0644, &why);
	return r < 0 ? qmr_error_set(err, r, "keeping metadata in '%s': %s", store->path, why.text)
		     : 0;
}

void qmr_fetch_store_forget(struct qmr_fetch_store *store)
{
	struct qmr_error why = {0};

	if (store->fd < 0)
		return;
	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		if (kept[i].has_versions && unlinkat(store->fd, kept[i].name, 0) < 0 &&
		    errno != ENOENT)
			qmr_warning("deleting '%s/%s': %s; going on", store->path, kept[i].name,
				    strerror(errno));
	if (qmr_file_sync_dir(store->fd, ".", &why) < 0)
		qmr_warning("%s; going on", why.text);
}

void qmr_fetch_store_done(struct qmr_fetch_store *store)
{
	qmr_fetch_files_done(&store->files);
	if (store->fd >= 0)
		close(store->fd);
	store->fd = -1;
}
