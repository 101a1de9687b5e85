/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "send.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle.h"
#include "cleanup.h"
#include "clock.h"
#include "envelope.h"
#include "file.h"
#include "hash.h"
#include "json.h"
#include "log.h"
#include "retry.h"
#include "spool.h"
#include "transfer.h"

#define STALL_MAX_S 30

struct bundle {
	char id[QMR_UUID_TEXT];
	char *data;
	size_t size;
};

static int make_bundle(const struct qmr_config *config, int incident_fd, struct bundle *ret_bundle,
		       struct qmr_error *err)
{
	cleanup_free char *packed = NULL;
	struct bundle bundle = {.data = NULL};
	size_t size;
	int r = qmr_bundle_read_id(incident_fd, bundle.id, err);

	if (r == 0)
		r = qmr_bundle_pack(incident_fd, bundle.id, &packed, &size, err);
	if (r == 0)
		r = qmr_envelope_seal(config->upload_certificate, packed, size, &bundle.data, &bundle.size, err);
	if (r == 0)
		*ret_bundle = bundle;
	return r;
}

static int open_incident(const char *path, struct qmr_error *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? qmr_error_errno(err, -errno, "opening '%s'", path) : fd;
}

int qmr_send_pack(const struct qmr_config *config, const char *incident, const char *out, struct qmr_error *err)
{
	cleanup_close int fd = open_incident(incident, err);
	struct bundle bundle;
	int r;

	if (fd < 0)
		return fd;
	r = make_bundle(config, fd, &bundle, err);
	if (r < 0)
		return r;
	r = qmr_file_replace(AT_FDCWD, out, bundle.data, bundle.size, 0600, err);
	free(bundle.data);
	return r;
}

static struct qmr_transfer make_transfer(const struct qmr_config *config, const char *root)
{
	int stall_s = config->transfer_s / 4;

	return (struct qmr_transfer){
		.config = config,
		.root = root,
		.deadline_ms = qmr_clock_ms() + (int64_t)config->transfer_s * 1000,
		.stall_s = stall_s < 2 ? 2 : stall_s > STALL_MAX_S ? STALL_MAX_S : stall_s,
	};
}

/* "[upload] url" + "/" + name; a '/' at the url's end is not doubled. */
static void make_url(const struct qmr_config *config, const char *name, char *url, size_t room)
{
	size_t length = strlen(config->upload_url);

	while (length && config->upload_url[length - 1] == '/')
		length--;
	snprintf(url, room, "%.*s/%s", (int)length, config->upload_url, name);
}

static int write_result(int incident_fd, const char *url, const struct bundle *bundle, const char *result,
			const char *error, struct qmr_error *err)
{
	cleanup_json json_t *json = NULL;
	char sha256[QMR_SHA256_HEX];
	int r = qmr_sha256(bundle->data, bundle->size, sha256, err);

	if (r < 0)
		return r;
	json = json_pack("{s:i, s:s, s:s, s:I, s:s, s:s?}", "schema", 1, "url", url, "bundle_sha256", sha256, "bytes",
			 (json_int_t)bundle->size, "result", result, "error", error);
	if (!json)
		return qmr_error_set(err, -ENOMEM, "writing upload.json: out of memory");
	return qmr_json_save(incident_fd, "upload.json", json, 0600, err);
}

/* Keeps the bundle for later; the word for upload.json. */
static const char *spool_bundle(const char *spool, const struct bundle *bundle)
{
	struct qmr_error err = {0};
	cleanup_close int fd = qmr_spool_open(spool, &err);

	if (fd >= 0 && qmr_spool_put(fd, bundle->id, bundle->data, bundle->size, &err) == 0)
		return "spooled";
	qmr_error_log("%s; the bundle is not kept if it cannot be sent", err.text);
	return "failed";
}

struct flush {
	const struct qmr_config *config;
	const struct qmr_transfer *transfer;
	int sent;
};

static int send_spooled(void *user, int spool_fd, const char *name, struct qmr_error *err)
{
	struct flush *flush = user;
	cleanup_free char *data = NULL;
	char url[1024];
	size_t size;
	int r = qmr_file_read(spool_fd, name, QMR_SPOOL_BYTES_MAX, &data, &size, err);

	if (r < 0)
		return r;
	make_url(flush->config, name, url, sizeof(url));
	r = qmr_transfer_put(flush->transfer, url, data, size, err);
	if (r < 0)
		return r;
	flush->sent++;
	qmr_notice("'%s' sent from the spool", name);
	return qmr_spool_remove(spool_fd, name, err);
}

/* The server answers: what waits from earlier is sent now, and what was just sent need not wait. */
static void clear_spool(const struct qmr_config *config, const struct qmr_transfer *transfer, const char *spool,
			const char *id)
{
	struct flush flush = {.config = config, .transfer = transfer};
	struct qmr_error err = {0};
	char name[QMR_BUNDLE_NAME];
	cleanup_close int fd = open(spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return; /* nothing was ever spooled */
	qmr_bundle_name(id, name);
	if (qmr_spool_remove(fd, name, &err) < 0 || qmr_spool_walk(fd, send_spooled, &flush, &err) < 0)
		qmr_warning("%s; the rest stays in the spool", err.text);
}

int qmr_send_incident(const struct qmr_config *config, const char *root, const char *incident, const char *spool,
		      struct qmr_error *err)
{
	struct qmr_transfer transfer = make_transfer(config, root);
	cleanup_close int fd = open_incident(incident, err);
	char name[QMR_BUNDLE_NAME], url[1024];
	struct qmr_error why = {0}, failed = {0};
	const char *result = "failed";
	struct bundle bundle;
	int r, sent;

	if (fd < 0)
		return fd;
	r = make_bundle(config, fd, &bundle, err);
	if (r < 0)
		return r;
	qmr_bundle_name(bundle.id, name);
	make_url(config, name, url, sizeof(url));
	/* Before sending: whoever supervises us may end us at a deadline of their own. */
	if (spool) {
		result = spool_bundle(spool, &bundle);
		r = write_result(fd, url, &bundle, result, "not sent yet", &failed);
	}
	sent = qmr_transfer_put(&transfer, url, bundle.data, bundle.size, &why);
	if (r == 0)
		r = write_result(fd, url, &bundle, sent == 0 ? "sent" : result, sent == 0 ? NULL : why.text, &failed);
	free(bundle.data);
	if (r < 0)
		qmr_warning("%s; the upload itself is not affected", failed.text);
	if (sent < 0)
		return qmr_error_set(err, sent, "%s", why.text);
	qmr_notice("incident %s: %zu bytes sent to '%s'", bundle.id, bundle.size, url);
	if (spool)
		clear_spool(config, &transfer, spool, bundle.id);
	return 0;
}

int qmr_send_spool(const struct qmr_config *config, const char *root, const char *spool, struct qmr_error *err)
{
	struct qmr_transfer transfer = make_transfer(config, root);
	struct flush flush = {.config = config, .transfer = &transfer};
	cleanup_close int fd = open(spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : qmr_error_errno(err, -errno, "opening spool '%s'", spool);
	r = qmr_spool_walk(fd, send_spooled, &flush, err);
	return r < 0 ? r : flush.sent;
}
