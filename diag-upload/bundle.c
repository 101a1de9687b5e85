/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bundle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zstd.h>

#include "cleanup.h"
#include "file.h"
#include "json.h"

#define FILE_BYTES_MAX (64U << 20)
#define FILES_MAX 4096
#define BLOCK 512
#define COMPRESSION_LEVEL 9

/*
 * What leaves the machine: these files of the incident folder and nothing else. name NULL: the regular files of folder
 * that end in suffix.
 */
static const struct outgoing {
	const char *folder, *name, *suffix;
} outgoing[] = {
	{".", "incident.json", NULL},  /* what happened */
	{".", "state.json", NULL},     /* boot attempts before it */
	{".", "timeline.json", NULL},  /* what recovery did */
	{".", "applied.json", NULL},   /* what it changed */
	{".", "report.json", NULL},    /* how it ended */
	{"dumps", NULL, ".txt"},       /* kernel log of each crash */
	{"records", NULL, ""},         /* the same as stored, for what the joining lost */
	{"plans", NULL, ".json"},      /* the owner's own plans that matched */
};

struct archive {
	char *data;
	size_t size, room;
	const char *id;
	unsigned int files;
};

int qmr_bundle_read_id(int incident_fd, char ret_id[QMR_UUID_TEXT], struct qmr_error *err)
{
	cleanup_json json_t *incident = NULL;
	uint8_t uuid[16];
	const char *id;
	int r = qmr_json_load(incident_fd, "incident.json", FILE_BYTES_MAX, &incident, err);

	if (r < 0)
		return r == -ENOMEM ? r : -EBADMSG;
	id = qmr_json_string(incident, "id");
	if (!id || qmr_uuid_parse(id, uuid) < 0)
		return qmr_error_set(err, -EBADMSG, "incident.json: id: not a UUID");
	qmr_uuid_format(uuid, ret_id);
	return 0;
}

static int append(struct archive *archive, const void *data, size_t size, size_t padded, struct qmr_error *err)
{
	if (padded > QMR_BUNDLE_TAR_MAX - archive->size)
		return qmr_error_set(err, -EFBIG, "packing the incident: more than %u MiB", QMR_BUNDLE_TAR_MAX >> 20);
	if (archive->size + padded > archive->room) {
		size_t room = (archive->size + padded) * 2;
		char *grown = realloc(archive->data, room);

		if (!grown)
			return qmr_error_set(err, -ENOMEM, "packing the incident: out of memory");
		archive->data = grown;
		archive->room = room;
	}
	memcpy(archive->data + archive->size, data, size);
	memset(archive->data + archive->size + size, 0, padded - size);
	archive->size += padded;
	return 0;
}

/* Header fields by offset and width: POSIX.1-1988, "ustar". */
static void put_octal(char *field, size_t width, uint64_t value)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "%0*llo", (int)width - 1, (unsigned long long)value);
	memcpy(field, digits, width); /* with its NUL */
}

static int append_header(struct archive *archive, const char *folder, const char *name, size_t size, int64_t mtime_s,
			 struct qmr_error *err)
{
	char header[BLOCK] = {0}, prefix[156];
	unsigned int sum = 0;
	int n = strcmp(folder, ".") ? snprintf(prefix, sizeof(prefix), "%s/%s", archive->id, folder)
				    : snprintf(prefix, sizeof(prefix), "%s", archive->id);

	if (strlen(name) > 100 || n >= (int)sizeof(prefix))
		return qmr_error_set(err, -ENAMETOOLONG, "packing '%s': the name is too long", name);
	memcpy(header, name, strlen(name));
	put_octal(header + 100, 8, 0600);
	put_octal(header + 108, 8, 0);
	put_octal(header + 116, 8, 0);
	put_octal(header + 124, 12, size);
	put_octal(header + 136, 12, mtime_s > 0 && mtime_s < 0x1ffffffff ? (uint64_t)mtime_s : 0);
	memset(header + 148, ' ', 8); /* the checksum counts as blanks */
	header[156] = '0';
	memcpy(header + 257, "ustar\00000", 8);
	memcpy(header + 265, "root", 4);
	memcpy(header + 297, "root", 4);
	memcpy(header + 345, prefix, strlen(prefix));
	for (size_t i = 0; i < BLOCK; i++)
		sum += (unsigned char)header[i];
	snprintf(header + 148, 8, "%06o", sum);
	header[155] = ' ';
	return append(archive, header, BLOCK, BLOCK, err);
}

/* A missing file is fine: not every incident has all of them. */
static int append_file(struct archive *archive, int fd, const char *folder, const char *name, struct qmr_error *err)
{
	cleanup_free char *data = NULL;
	struct stat st;
	size_t size;
	int r;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return 0;
	if (++archive->files > FILES_MAX)
		return qmr_error_set(err, -E2BIG, "packing the incident: more than %d files", FILES_MAX);
	r = qmr_file_read(fd, name, FILE_BYTES_MAX, &data, &size, err);
	if (r == 0)
		r = append_header(archive, folder, name, size, st.st_mtime, err);
	if (r == 0)
		r = append(archive, data, size, (size + BLOCK - 1) / BLOCK * BLOCK, err);
	return r;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int append_names(struct archive *archive, int fd, const struct outgoing *out, char **names, size_t n,
			struct qmr_error *err)
{
	int r = 0;

	qsort(names, n, sizeof(*names), compare_names);
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = append_file(archive, fd, out->folder, names[i], err);
		free(names[i]);
	}
	return r;
}

static int append_folder(struct archive *archive, int incident_fd, const struct outgoing *out, struct qmr_error *err)
{
	cleanup_closedir DIR *dir = qmr_file_open_dir(incident_fd, out->folder);
	cleanup_free char **names = NULL;
	struct dirent *entry;
	size_t n = 0;

	if (!dir)
		return errno == ENOENT ? 0 : qmr_error_errno(err, -errno, "opening folder '%s'", out->folder);
	names = calloc(FILES_MAX, sizeof(*names));
	if (!names)
		return qmr_error_set(err, -ENOMEM, "packing folder '%s': out of memory", out->folder);
	while (n < FILES_MAX && (entry = readdir(dir))) {
		size_t length = strlen(entry->d_name), end = strlen(out->suffix);

		if (entry->d_name[0] == '.' || length < end || strcmp(entry->d_name + length - end, out->suffix))
			continue;
		names[n] = strdup(entry->d_name);
		if (names[n])
			n++;
	}
	return append_names(archive, dirfd(dir), out, names, n, err);
}

static void cleanup_zstd(ZSTD_CCtx **context)
{
	ZSTD_freeCCtx(*context);
}

static int compress(const struct archive *archive, char **ret_data, size_t *ret_size, struct qmr_error *err)
{
	QMR_CLEANUP(cleanup_zstd) ZSTD_CCtx *context = ZSTD_createCCtx();
	size_t room = ZSTD_compressBound(archive->size), n;
	cleanup_free char *out = malloc(room);

	if (!context || !out)
		return qmr_error_set(err, -ENOMEM, "compressing the bundle: out of memory");
	if (ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, COMPRESSION_LEVEL)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)))
		return qmr_error_set(err, -EIO, "compressing the bundle: libzstd refuses its parameters");
	n = ZSTD_compress2(context, out, room, archive->data, archive->size);
	if (ZSTD_isError(n))
		return qmr_error_set(err, -EIO, "compressing the bundle: %s", ZSTD_getErrorName(n));
	*ret_data = out;
	out = NULL;
	*ret_size = n;
	return 0;
}

int qmr_bundle_pack(int incident_fd, const char *id, char **ret_data, size_t *ret_size, struct qmr_error *err)
{
	static const char end[2 * BLOCK]; /* two zero blocks end an archive */
	struct archive archive = {.id = id};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(outgoing) / sizeof(*outgoing); i++) {
		if (outgoing[i].name)
			r = append_file(&archive, incident_fd, ".", outgoing[i].name, err);
		else
			r = append_folder(&archive, incident_fd, &outgoing[i], err);
	}
	if (r == 0)
		r = append(&archive, end, sizeof(end), sizeof(end), err);
	if (r == 0)
		r = compress(&archive, ret_data, ret_size, err);
	free(archive.data);
	return r;
}
