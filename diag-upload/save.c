/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "collect.h"
#include "evidence.h"
#include "file.h"
#include "hash.h"
#include "json.h"
#include "log.h"
#include "uuid.h"

#define INCIDENTS "/var/lib/qmr/incidents"
#define FILE_BYTES_MAX (64U << 20)
#define FILES_MAX 4096 /* in one folder */

/* What happens to a file whose name the saved folder has already, with other bytes. */
enum clash { CLASH_REPLACE, CLASH_RENAME };

static const struct part {
	const char *folder;
	enum clash clash;
} parts[] = {
	{"records", CLASH_RENAME},
	{"dumps", CLASH_RENAME},
	{"plans", CLASH_REPLACE},
};

struct saving {
	int from_fd, to_fd;
	json_t *dumps; /* old name to new name, where they differ */
};

static int open_sub_folder(int fd, const char *name, struct qmr_error *err)
{
	int child = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return child < 0 ? qmr_error_errno(err, -errno, "opening folder '%s'", name) : child;
}

static int make_folder(int fd, const char *name, struct qmr_error *err)
{
	if (mkdirat(fd, name, 0700) < 0 && errno != EEXIST)
		return qmr_error_errno(err, -errno, "creating folder '%s'", name);
	if (fsync(fd) < 0)
		return qmr_error_errno(err, -errno, "syncing the folder of '%s'", name);
	return open_sub_folder(fd, name, err);
}

/* 1 if the file is there with these bytes, 0 if with others, -ENOENT if it is missing. */
static int has_bytes(int fd, const char *name, const char *data, size_t size)
{
	cleanup_free char *found = NULL;
	size_t found_size;
	int r = qmr_file_read(fd, name, FILE_BYTES_MAX, &found, &found_size, NULL);

	if (r == -ENOENT)
		return r;
	return r == 0 && found_size == size && !memcmp(found, data, size);
}

/* After the sync, so that what is compared comes from the disk and not from what we wrote to memory. */
static int verify(int fd, const char *name, const char *data, size_t size, struct qmr_error *err)
{
	cleanup_close int file = openat(fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);

	if (file >= 0)
		(void)posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED); /* advice only */
	if (has_bytes(fd, name, data, size) != 1)
		return qmr_error_set(err, -EIO, "verifying the copy of '%s': it differs from what was written", name);
	return 0;
}

/* The n-th other name: "x.2" for records, the next numbers for dumps. */
static void other_name(const char *name, unsigned int n, char ret_name[256])
{
	if (strlen(name) == 7 && !strcmp(name + 3, ".txt"))
		snprintf(ret_name, 256, "%03u.txt", n);
	else
		snprintf(ret_name, 256, "%.240s.%u", name, n);
}

/*
 * Chooses the name in the saved folder; 1 if it is there with these bytes already, 0 if it is to be written. A new name
 * must be free in the source as well: that file will come to the same folder.
 */
static int choose_name(const struct part *part, int from, int to, const char *name, const char *data, size_t size,
		       char ret_name[256], struct qmr_error *err)
{
	int r = has_bytes(to, name, data, size);

	snprintf(ret_name, 256, "%s", name);
	if (r == 1)
		return 1;
	if (r == -ENOENT || !part || part->clash == CLASH_REPLACE)
		return 0;
	for (unsigned int n = 1; n < 1000; n++) {
		other_name(name, n, ret_name);
		r = has_bytes(to, ret_name, data, size);
		if (r == 1)
			return 1;
		if (r == -ENOENT && faccessat(from, ret_name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			return 0;
	}
	return qmr_error_set(err, -EEXIST, "saving '%s': no name is free", name);
}

static int copy_file(const struct part *part, int from, int to, const char *name, char ret_name[256],
		     struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
	struct stat st;
	size_t size;
	int r = qmr_file_read(from, name, FILE_BYTES_MAX, &data, &size, err);

	if (r < 0)
		return r;
	r = choose_name(part, from, to, name, data, size, ret_name, err);
	if (r < 0)
		return r;
	if (r == 0)
		r = qmr_file_replace(to, ret_name, data, size, 0600, err);
	else
		r = 0;
	if (r == 0)
		r = verify(to, ret_name, data, size, err);
	if (r == 0 && fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		times[1] = st.st_mtim;
		(void)utimensat(to, ret_name, times, AT_SYMLINK_NOFOLLOW); /* only helps a later run to date it */
	}
	return r;
}

static int is_regular(int fd, const char *name)
{
	struct stat st;

	return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

static int copy_part(struct saving *saving, const struct part *part, struct qmr_error *err)
{
	cleanup_close int from = open_sub_folder(saving->from_fd, part->folder, err);
	cleanup_close int to = -1;
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int n = 0;

	if (from < 0)
		return from == -ENOENT ? 0 : from;
	to = make_folder(saving->to_fd, part->folder, err);
	dir = qmr_file_open_dir(from, ".");
	if (to < 0 || !dir)
		return to < 0 ? to : qmr_error_errno(err, -errno, "reading folder '%s'", part->folder);
	while ((entry = readdir(dir))) {
		char name[256];
		int r;

		if (!is_regular(from, entry->d_name))
			continue;
		if (++n > FILES_MAX)
			return qmr_error_set(err, -E2BIG, "saving '%s': more than %d files", part->folder, FILES_MAX);
		r = copy_file(part, from, to, entry->d_name, name, err);
		if (r < 0)
			return r;
		if (strcmp(name, entry->d_name) && !strcmp(part->folder, "dumps"))
			(void)json_object_set_new(saving->dumps, entry->d_name, json_string(name));
	}
	return fsync(to) < 0 ? qmr_error_errno(err, -errno, "syncing folder '%s'", part->folder) : 0;
}

/* incident.json is not among them: it is written last. */
static int copy_top(struct saving *saving, struct qmr_error *err)
{
	cleanup_closedir DIR *dir = qmr_file_open_dir(saving->from_fd, ".");
	struct dirent *entry;

	if (!dir)
		return qmr_error_errno(err, -errno, "reading the incident folder");
	while ((entry = readdir(dir))) {
		const char *suffix = strrchr(entry->d_name, '.');
		char name[256];
		int r;

		if (!suffix || suffix == entry->d_name || (strcmp(suffix, ".json") && strcmp(suffix, ".log")) ||
		    !strcmp(entry->d_name, "incident.json") || !is_regular(saving->from_fd, entry->d_name))
			continue;
		r = copy_file(NULL, saving->from_fd, saving->to_fd, entry->d_name, name, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void rename_dumps(const struct saving *saving, json_t *incident)
{
	json_t *crash;
	size_t i;

	json_array_foreach(json_object_get(incident, "crashes"), i, crash) {
		const char *dump = qmr_json_string(crash, "dump");
		const char *name = dump && !strncmp(dump, "dumps/", 6) ? qmr_json_string(saving->dumps, dump + 6) : NULL;
		char path[300];

		if (!name)
			continue;
		snprintf(path, sizeof(path), "dumps/%s", name);
		(void)json_object_set_new(crash, "dump", json_string(path));
	}
}

static int open_saved_folder(int root_fd, const char *id, struct qmr_error *err)
{
	char path[128], name[256];
	cleanup_close int parent = -1;

	snprintf(path, sizeof(path), INCIDENTS "/%s", id);
	parent = qmr_file_open_parent_in_root(root_fd, path, 1, name, err);
	if (parent < 0)
		return parent;
	return make_folder(parent, name, err);
}

/* "name:sha256": equal bytes under another name are another crash's record. */
static void record_key(const char *name, const char *sha256, char ret_key[384])
{
	snprintf(ret_key, 384, "%.*s:%s", (int)qmr_record_stem(name), name, sha256);
}

/* Keys of all saved records, read back from the copy. */
static json_t *hash_records(int to_fd, struct qmr_error *err)
{
	cleanup_close int fd = open_sub_folder(to_fd, "records", err);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : qmr_file_open_dir(fd, ".");
	json_t *hashes = json_object();
	struct dirent *entry;

	while (dir && hashes && (entry = readdir(dir))) {
		cleanup_close int file =
			openat(fd, entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
		char sha256[QMR_SHA256_HEX], key[384];

		if (file < 0 || !is_regular(fd, entry->d_name) ||
		    qmr_sha256_fd(file, entry->d_name, sha256, NULL, err) < 0)
			continue;
		record_key(entry->d_name, sha256, key);
		(void)json_object_set_new(hashes, key, json_true()); /* without it the record stays, which is safe */
	}
	return hashes;
}

static int is_saved(int pstore_fd, const char *name, const json_t *hashes, struct qmr_error *err)
{
	struct qmr_record record = {0};
	char sha256[QMR_SHA256_HEX], key[384] = "";
	int r = qmr_evidence_read_record(pstore_fd, name, &record, err);

	if (r == -EINVAL)
		return 0; /* not a record: not ours to remove */
	if (r < 0 && r != -EBADMSG)
		return r;
	r = qmr_sha256(record.data, record.size, sha256, err);
	if (r == 0)
		record_key(record.name, sha256, key);
	qmr_record_done(&record);
	return r < 0 ? r : json_object_get(hashes, key) != NULL;
}

static int unlink_saved(int pstore_fd, const json_t *hashes, unsigned int *ret_kept, struct qmr_error *err)
{
	cleanup_closedir DIR *dir = qmr_file_open_dir(pstore_fd, ".");
	struct dirent *entry;
	int removed = 0;

	if (!dir)
		return qmr_error_errno(err, -errno, "reading the pstore folder");
	*ret_kept = 0;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || !is_regular(pstore_fd, entry->d_name))
			continue;
		if (is_saved(pstore_fd, entry->d_name, hashes, err) == 1 &&
		    (unlinkat(pstore_fd, entry->d_name, 0) == 0 || errno == ENOENT))
			removed++;
		else
			(*ret_kept)++;
	}
	return removed;
}

static int save_folder(struct saving *saving, json_t *incident, struct qmr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(parts) / sizeof(*parts); i++)
		r = copy_part(saving, &parts[i], err);
	if (r == 0)
		r = copy_top(saving, err);
	if (r < 0)
		return r;
	rename_dumps(saving, incident);
	return qmr_json_save(saving->to_fd, "incident.json", incident, 0600, err);
}

static int clear_pstore(const char *path, int to_fd, struct qmr_error *err)
{
	cleanup_close int pstore_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_json json_t *hashes = NULL;
	unsigned int kept = 0;
	int r;

	if (pstore_fd < 0)
		return errno == ENOENT ? 0 : qmr_error_errno(err, -errno, "opening '%s'", path);
	hashes = hash_records(to_fd, err);
	r = unlink_saved(pstore_fd, hashes, &kept, err);
	if (r < 0)
		return r;
	qmr_info("%d records removed from '%s'", r, path);
	if (kept)
		qmr_warning("removing records from '%s': %u are not saved or cannot be removed; they stay", path, kept);
	return 0;
}

int qmr_save(const struct qmr_save_options *options, struct qmr_error *err)
{
	cleanup_close int from_fd = open(options->from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int root_fd = open(options->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int to_fd = -1;
	cleanup_json json_t *incident = NULL, *dumps = json_object();
	struct saving saving;
	uint8_t uuid[16];
	char id[QMR_UUID_TEXT];
	int r;

	if (from_fd < 0 || root_fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s' and '%s'", options->from, options->root);
	r = qmr_json_load(from_fd, "incident.json", FILE_BYTES_MAX, &incident, err);
	if (r < 0)
		return qmr_error_set(err, -EBADMSG, "saving '%s': it holds no readable incident.json", options->from);
	if (!qmr_json_string(incident, "id") || qmr_uuid_parse(qmr_json_string(incident, "id"), uuid) < 0)
		return qmr_error_set(err, -EBADMSG, "saving '%s': incident.json: id is no UUID", options->from);
	qmr_uuid_format(uuid, id);
	to_fd = open_saved_folder(root_fd, id, err);
	if (to_fd < 0)
		return to_fd;
	saving = (struct saving){.from_fd = from_fd, .to_fd = to_fd, .dumps = dumps};
	r = save_folder(&saving, incident, err);
	if (r < 0)
		return r;
	return clear_pstore(options->pstore, to_fd, err);
}
