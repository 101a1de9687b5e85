/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fetch-store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "tuf-metadata.h"

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

static void read_file(struct qmr_fetch_store *store, const char *name, enum qmr_tuf_role role)
{
	cleanup_free char *data = NULL;
	struct qmr_error why = {0};
	size_t size;
	int r = qmr_file_read(store->fd, name, qmr_tuf_role_max_bytes(role), &data, &size, &why);

	if (r == 0)
		r = qmr_fetch_files_add(&store->files, name, data, size, &why);
	if (r < 0 && r != -ENOENT)
		qmr_warning("metadata kept in '%s': %s; going on without it", store->path,
			    why.text);
}

static void read_roots(struct qmr_fetch_store *store)
{
	int fd = openat(store->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (!dir && fd >= 0)
		close(fd);
	while (dir && (entry = readdir(dir)))
		if (is_numbered_root(entry->d_name))
			read_file(store, entry->d_name, QMR_TUF_ROOT);
}

void qmr_fetch_store_open(const char *path, struct qmr_fetch_store *ret_store)
{
	struct qmr_error why = {0};

	memset(ret_store, 0, sizeof(*ret_store));
	ret_store->path = path;
	if (qmr_file_mkdirs(AT_FDCWD, path, 0755, &why) < 0)
		qmr_warning("%s", why.text); /* it may be there for reading nevertheless */
	ret_store->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (ret_store->fd < 0) {
		qmr_warning("opening folder '%s': %s; metadata of earlier runs is not known, and "
			    "none is kept",
			    path, strerror(errno));
		return;
	}
	/* These before the roots: a folder full of hostile ones must not keep them out. */
	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		read_file(ret_store, kept[i].name, kept[i].role);
	read_roots(ret_store);
}

void qmr_fetch_store_keep(struct qmr_fetch_store *store, const char *name, const char *data,
			  size_t size)
{
	struct qmr_error why = {0};
	int r;

	if (store->fd < 0)
		return;
	r = qmr_file_replace(store->fd, name, data, size, 0644, &why);
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
