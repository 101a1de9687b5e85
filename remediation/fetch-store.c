/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "tuf-metadata.h"

#define ROOTS "root_history"
#define STORE_PATH_MAX 512

static const struct {
	const char *name;
	enum qmr_tuf_role role;
} kept[] = {
	{"timestamp.json", QMR_TUF_TIMESTAMP},
	{"snapshot.json", QMR_TUF_SNAPSHOT},
	{"targets.json", QMR_TUF_TARGETS},
};

/* "3.root.json" */
static int is_numbered_root(const char *name)
{
	size_t digits = strspn(name, "0123456789");

	return digits > 0 && digits < 20 && !strcmp(name + digits, ".root.json");
}

/* "timestamp.json" is where it says, "3.root.json" among the roots. */
static int locate(const char *name, char ret_path[STORE_PATH_MAX])
{
	const char *folder = is_numbered_root(name) ? ROOTS "/" : "";

	return snprintf(ret_path, STORE_PATH_MAX, "%s%s", folder, name) < STORE_PATH_MAX ? 0 : -ENAMETOOLONG;
}

int qmr_fetch_store_fetch(void *user, const char *name, size_t max_bytes, char **ret_data, size_t *ret_size,
			  struct qmr_error *err)
{
	const struct qmr_fetch_store *store = user;
	char path[STORE_PATH_MAX];

	if (store->fd < 0 || locate(name, path) < 0)
		return qmr_error_set(err, -ENOENT, "there is no '%s'", name);
	return qmr_file_read(store->fd, path, max_bytes, ret_data, ret_size, err);
}

static void read_file(struct qmr_fetch_store *store, const char *name, enum qmr_tuf_role role)
{
	cleanup_free char *data = NULL;
	struct qmr_error why = {0};
	size_t size;
	int r = qmr_fetch_store_fetch(store, name, qmr_tuf_role_max_bytes(role), &data, &size, &why);

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
	return !is_numbered_root(name);
}

static void read_folder(struct qmr_fetch_store *store, const char *path, int (*is_wanted)(const char *name),
			enum qmr_tuf_role role)
{
	int fd = openat(store->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	cleanup_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (!dir && fd >= 0)
		close(fd);
	while (dir && store->files.n < QMR_FETCH_FILES_MAX && (entry = readdir(dir)))
		if (is_wanted(entry->d_name))
			read_file(store, entry->d_name, role);
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
	read_folder(store, ROOTS, is_numbered_root, QMR_TUF_ROOT);
	read_folder(store, ".", is_role, QMR_TUF_TARGETS);
}

void qmr_fetch_store_keep(struct qmr_fetch_store *store, const char *name, const char *data,
			  size_t size)
{
	struct qmr_error why = {0};
	char path[STORE_PATH_MAX];
	int r = 0;

	if (store->fd < 0 || locate(name, path) < 0)
		return;
	if (is_numbered_root(name))
		r = qmr_file_mkdirs(store->fd, ROOTS, 0755, &why);
	if (r == 0)
		r = qmr_file_replace(store->fd, path, data, size, 0644, &why);
	if (r == 0 && is_numbered_root(name))
		r = qmr_file_replace(store->fd, "root.json", data, size, 0644, &why);
	if (r < 0)
		qmr_warning(
			"keeping metadata in '%s': %s; the next run will not know that it was seen",
			store->path, why.text);
}

void qmr_fetch_store_forget(struct qmr_fetch_store *store)
{
	struct qmr_error why = {0};

	if (store->fd < 0)
		return;
	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		if (kept[i].role != QMR_TUF_TARGETS && unlinkat(store->fd, kept[i].name, 0) < 0 &&
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
