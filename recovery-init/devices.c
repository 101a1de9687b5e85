/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <blkid/blkid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mount.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "drivers.h"
#include "file.h"
#include "log.h"
#include "media.h"
#include "root.h"
#include "timeline.h"

#define BLOCK "/sys/class/block"
#define POLL_MS 500      /* a partition table may be read without an event that we see */
#define ESP_MS 5000      /* how long the ESP is waited for once the root is there */
#define PROBE_MS 2000    /* for a device to say what it is; twice as long in the next round, since a disk may have to spin up */
#define PROBE_MAX_MS 8000
#define MEDIA_MS 10000   /* how long the first stick is waited for, and others after it */
#define QUIET_MS 2000    /* no more is coming: usb-storage itself waits 1 s before it looks at a disk */
#define BLOCK_DEVICES_MAX 4096

/* What no device asks for by its modalias: the kernel would call modprobe for these, and there is none here. */
static const char *const always[] = {"crc32c_generic", "nls_cp437", "nls_ascii", "nls_utf8", "vfat", "af_packet", "sd_mod", "usbhid",
				     "hid_generic"};

/* What boot state and crash records need: before all other drivers, one of which may break this kernel too. */
static const char *const variables[] = {"efi_pstore", "efivarfs"};

static void mount_virtual(const char *type, const char *path, unsigned long flags)
{
	if (mount(type, path, type, flags | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 && errno != EBUSY &&
	    errno != ENODEV && errno != ENOENT)
		qmr_warning("mounting '%s': %s; going on without it", path, strerror(errno));
}

/* What is on a device; empty where it has none. */
struct content {
	char uuid[64], type[32];
};

struct search {
	const struct qmr_config *config;
	int limit_ms, is_late; /* for each device in this round; whether one of them took longer */
	struct qmr_devices found;
	unsigned int n_roots;
	struct qmr_media *media; /* NULL: they are not wanted */
};

static void take_value(blkid_probe probe, const char *name, char *ret, size_t size)
{
	const char *data;

	if (blkid_probe_lookup_value(probe, name, &data, NULL) == 0)
		snprintf(ret, size, "%s", data);
}

/* In a child: a disk may take minutes to find out that it is broken, and what somebody brought along may be hostile. */
static int probe_content(void *context, void *answer, struct qmr_error *err)
{
	blkid_probe probe = blkid_new_probe_from_filename(context);
	struct content *content = answer;

	if (!probe)
		return -ENOMEDIUM; /* a drive without a medium, or a device that has gone */
	(void)blkid_probe_enable_superblocks(probe, 1);
	(void)blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_UUID | BLKID_SUBLKS_TYPE);
	/* An ambivalent device (two signatures) is nobody's: -2, and it has no values. */
	if (blkid_do_safeprobe(probe) == 0) {
		take_value(probe, "UUID", content->uuid, sizeof(content->uuid));
		take_value(probe, "TYPE", content->type, sizeof(content->type));
	}
	blkid_free_probe(probe);
	return 0;
}

/* On a USB bus, or said to be by its disk: a partition's own folder lies in that of its disk. */
static int is_removable(const char *name)
{
	char path[PATH_MAX], *place;
	int is_usb;

	snprintf(path, sizeof(path), BLOCK "/%s", name);
	place = realpath(path, NULL);
	is_usb = place && strstr(place, "/usb");
	free(place);
	for (int i = 0; i < 2 && !is_usb; i++) {
		cleanup_free char *text = NULL;
		size_t size;

		snprintf(path, sizeof(path), BLOCK "/%s/%sremovable", name, i ? "../" : "");
		is_usb = qmr_file_read(AT_FDCWD, path, 8, &text, &size, NULL) == 0 && text[0] == '1';
	}
	return is_usb;
}

/* FAT alone: what sticks have, and what this kernel can read without a module of the broken system's choice. */
static void add_medium(struct search *search, const char *name, const char *device, const char *uuid, const char *type)
{
	const struct qmr_config *config = search->config;
	struct qmr_media *media = search->media;

	if (media->n == QMR_MEDIA_MAX || strcmp(type, "vfat") || strchr(name, '!') || !is_removable(name) ||
	    (*uuid && (!strcasecmp(uuid, config->esp_uuid) || !strcasecmp(uuid, config->root_uuid))))
		return;
	snprintf(media->devices[media->n++], QMR_DEVICE_BYTES, "%s", device);
}

static void judge(struct search *search, const char *name, const char *device, const struct content *content)
{
	const struct qmr_config *config = search->config;
	const char *uuid = content->uuid, *type = content->type;

	if (search->media)
		add_medium(search, name, device, uuid, type);
	if (!strcmp(type, "swsuspend"))
		search->found.suspended = 1;
	if (!strcmp(type, "crypto_LUKS"))
		snprintf(search->found.locked, sizeof(search->found.locked), "%s", device);
	if (*config->root_uuid && !strcasecmp(uuid, config->root_uuid)) {
		search->n_roots++;
		snprintf(search->found.root, sizeof(search->found.root), "%s", device);
		snprintf(search->found.root_type, sizeof(search->found.root_type), "%s", type);
	} else if (*config->esp_uuid && !strcasecmp(uuid, config->esp_uuid)) {
		snprintf(search->found.esp, sizeof(search->found.esp), "%s", device);
	}
}

static void look_at(struct search *search, const char *name)
{
	char device[QMR_DEVICE_BYTES];
	struct content content;
	struct qmr_error why = {0};
	int r;

	if (snprintf(device, sizeof(device), "/dev/%s", name) >= (int)sizeof(device))
		return; /* the kernel's names have at most 31 bytes */
	for (char *c = device + 5; *c; c++)
		if (*c == '!') /* sysfs's way to write a slash: "cciss!c0d0" */
			*c = '/';
	r = qmr_child_call(probe_content, device, search->limit_ms, &content, sizeof(content), &why);
	if (r == 0)
		judge(search, name, device, &content);
	if (r == -ETIMEDOUT) {
		qmr_warning("looking at '%s': %s; going on without it for now", device, why.text);
		search->is_late = 1;
	}
}

static int is_disk(const char *name)
{
	static const char *const others[] = {"ram", "loop", "zram", "fd", "sr", "."};

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		if (!strncmp(name, others[i], strlen(others[i])))
			return 0;
	return 1;
}

static void look_everywhere(struct search *search)
{
	cleanup_closedir DIR *dir = opendir(BLOCK);
	struct dirent *entry;
	int n = 0;

	memset(&search->found, 0, sizeof(search->found));
	search->n_roots = 0;
	if (search->is_late && search->limit_ms < PROBE_MAX_MS)
		search->limit_ms *= 2;
	search->is_late = 0;
	if (search->media)
		search->media->n = 0;
	while (dir && (entry = readdir(dir)) && n++ < BLOCK_DEVICES_MAX)
		if (is_disk(entry->d_name))
			look_at(search, entry->d_name);
}

static void wait_for_disks(struct search *search, struct qmr_drivers *drivers, int64_t deadline)
{
	int64_t root_seen = 0;

	for (;;) {
		int64_t now = qmr_timeline_now_ms();

		look_everywhere(search);
		if (search->found.root[0] && !root_seen)
			root_seen = now;
		if (root_seen && (search->found.esp[0] || !search->config->esp_uuid[0] || now - root_seen > ESP_MS))
			return;
		if (now >= deadline)
			return;
		while (qmr_drivers_wait(drivers, POLL_MS) && qmr_timeline_now_ms() < now + POLL_MS)
			;
	}
}

static int open_variables(void *context, void *answer, struct qmr_error *err)
{
	struct qmr_drivers *drivers;
	int r = qmr_drivers_new(&drivers, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(variables) / sizeof(*variables); i++)
		qmr_drivers_load(drivers, variables[i]);
	mount_virtual("efivarfs", "/sys/firmware/efi/efivars", 0);
	mount_virtual("pstore", QMR_PSTORE, 0);
	qmr_watchdog_load(drivers, context);
	qmr_drivers_free(drivers);
	return 0;
}

enum qmr_result qmr_step_variables(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	int r = qmr_child_call(open_variables, &recovery->config, deadline_ms, NULL, 0, err);

	return r < 0 ? qmr_result_from(r) : QMR_RESULT_OK;
}

struct devices_call {
	const struct qmr_config *config;
	int deadline_ms;
};

static int find_devices(void *context, void *answer, struct qmr_error *err)
{
	const struct devices_call *call = context;
	struct search search = {.config = call->config, .limit_ms = PROBE_MS};
	struct qmr_drivers *drivers;
	int r = qmr_drivers_new(&drivers, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(always) / sizeof(*always); i++)
		qmr_drivers_load(drivers, always[i]);
	qmr_drivers_load(drivers, call->config->root_fstype);
	qmr_drivers_load_present(drivers);
	if (call->config->root_uuid[0])
		wait_for_disks(&search, drivers, qmr_timeline_now_ms() + call->deadline_ms);
	qmr_drivers_load(drivers, search.found.root_type);
	qmr_drivers_free(drivers);
	if (!call->config->root_uuid[0])
		return qmr_error_set(err, -EINVAL, "this image was built without --root-uuid");
	if (search.n_roots > 1)
		return qmr_error_set(err, -ENOTUNIQ, "%u devices have the root's UUID %s, and none is touched",
				     search.n_roots, call->config->root_uuid);
	*(struct qmr_devices *)answer = search.found;
	return 0;
}

/* The ESP is known all the same: boot state and boot entries do not need the root. */
static enum qmr_result have_no_root(const struct qmr_recovery *recovery, struct qmr_error *err)
{
	const struct qmr_devices *devices = &recovery->devices;

	if (devices->locked[0])
		qmr_error_set(err, -ENODEV, "no root was found; '%s' is locked (LUKS), and nothing here opens it", devices->locked);
	else
		qmr_error_set(err, -ENODEV, "no device has the root's UUID %s", recovery->config.root_uuid);
	return QMR_RESULT_FAILED;
}

enum qmr_result qmr_step_devices(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	/* The child ends by itself before it is ended. */
	struct devices_call call = {&recovery->config, deadline_ms - deadline_ms / 4};
	int r = qmr_child_call(find_devices, &call, deadline_ms, &recovery->devices, sizeof(recovery->devices), err);

	if (r < 0)
		return qmr_result_from(r);
	if (!recovery->devices.root[0])
		return have_no_root(recovery, err);
	qmr_error_set(err, 0, "root %s (%s), ESP %s", recovery->devices.root, recovery->devices.root_type,
		      recovery->devices.esp[0] ? recovery->devices.esp : "not found");
	return QMR_RESULT_OK;
}

static int count_roots(void *context, void *answer, struct qmr_error *err)
{
	struct search search = {.config = context, .limit_ms = PROBE_MS};

	look_everywhere(&search);
	if (search.n_roots > 1)
		return qmr_error_set(err, -ENOTUNIQ, "%u devices have the root's UUID %s by now, and none is written",
				     search.n_roots, search.config->root_uuid);
	return 0;
}

int qmr_devices_recheck(const struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	return qmr_child_call(count_roots, (void *)&recovery->config, deadline_ms, NULL, 0, err);
}

int qmr_devices_find_media(const struct qmr_config *config, struct qmr_media *ret_media, struct qmr_error *err)
{
	struct search search = {.config = config, .limit_ms = PROBE_MS, .media = ret_media};
	int64_t end = qmr_timeline_now_ms() + MEDIA_MS;
	struct qmr_drivers *drivers;
	int r = qmr_drivers_new(&drivers, err);
	unsigned int n_before;
	int is_quiet;

	if (r < 0)
		return r;
	/* Nobody has looked for drivers since the root was found, which may have been there before the first stick. */
	qmr_drivers_load_present(drivers);
	ret_media->n = 0;
	do {
		n_before = ret_media->n;
		is_quiet = !qmr_drivers_wait(drivers, n_before ? QUIET_MS : POLL_MS);
		look_everywhere(&search);
	} while (qmr_timeline_now_ms() < end && !(n_before && is_quiet));
	qmr_drivers_free(drivers);
	return 0;
}
