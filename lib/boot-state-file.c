/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "boot-state-store.h"
#include "cleanup.h"
#include "crc32.h"
#include "esp-mount.h"
#include "file.h"

/* Two slots on the EFI system partition, written in turn and in place; docs/boot-state.md, "Slots". */

#define FOLDER "EFI/qmr"
#define PRODUCT_UUID "/sys/class/dmi/id/product_uuid" /* for root only */
#define HEADER_BYTES 8
#define SYSFS_BYTES 4096 /* a file of sysfs says that it is a page, whatever is in it */

static const char *const paths[] = {FOLDER "/state-a", FOLDER "/state-b"};
enum { N_SLOTS = sizeof(paths) / sizeof(*paths) };

static int esp_fd = -1; /* between begin and end */

enum slot_kind {
	SLOT_MISSING, /* or without a byte */
	SLOT_OURS,    /* a state, whole or torn */
	SLOT_OTHER    /* not to be written */
};

struct slot {
	enum slot_kind kind;
	int is_valid; /* state is filled */
	struct qmr_state state;
};

uint32_t qmr_state_machine_id(const char *uuid)
{
	char text[36];
	int is_known = 0;

	if (strspn(uuid, "0123456789abcdefABCDEF-") != sizeof(text) || (uuid[36] && uuid[36] != '\n'))
		return 0;
	for (size_t i = 0; i < sizeof(text); i++) {
		text[i] = (char)tolower((unsigned char)uuid[i]);
		is_known |= text[i] != '-' && text[i] != text[0]; /* firmware that was told none says all 0 or all f */
	}
	return is_known ? qmr_crc32(0, text, sizeof(text)) : 0;
}

static uint32_t own_machine(void)
{
	cleanup_free char *text = NULL;
	size_t size;

	return qmr_file_read(AT_FDCWD, PRODUCT_UUID, SYSFS_BYTES, &text, &size, NULL) < 0 ? 0 : qmr_state_machine_id(text);
}

static int begin(const char *place, struct qmr_error *err)
{
	esp_fd = qmr_esp_mount(place, 0, err);
	return esp_fd < 0 ? esp_fd : 0;
}

static void end(void)
{
	close(esp_fd);
	esp_fd = -1;
}

/* Of this program's size or of an earlier one's; a cut while the one was put in the place of the other leaves a mixture. */
static int is_ours(const char *bytes, size_t size)
{
	static const uint8_t header[HEADER_BYTES - 2] = {'Q', 'M', 'R', 'S', QMR_STATE_VERSION, 0};
	size_t said;

	if ((size != QMR_STATE_BYTES && size != QMR_STATE_BYTES_MIN) || memcmp(bytes, header, sizeof(header)))
		return 0;
	said = (size_t)(uint8_t)bytes[6] | (size_t)(uint8_t)bytes[7] << 8;
	return said == QMR_STATE_BYTES || said == QMR_STATE_BYTES_MIN;
}

static int examine(int i, struct slot *ret_slot, struct qmr_error *err)
{
	struct slot slot = {.kind = SLOT_OTHER};
	cleanup_free char *bytes = NULL;
	struct qmr_error why = {0};
	size_t size;
	int r = qmr_file_read(esp_fd, paths[i], QMR_STATE_BYTES, &bytes, &size, &why);

	if (r == -ENOENT || (r == 0 && size == 0))
		slot.kind = SLOT_MISSING;
	else if (r == 0 && is_ours(bytes, size))
		slot.kind = SLOT_OURS;
	else if (r == 0)
		r = qmr_error_set(&why, -EBADMSG, "'%s' is not what qmr wrote", paths[i]);
	if (slot.kind == SLOT_OURS)
		r = qmr_state_decode(bytes, size, &slot.state, &why);
	slot.is_valid = slot.kind == SLOT_OURS && r == 0;
	*ret_slot = slot;
	if (slot.kind == SLOT_MISSING || r == 0)
		return 0;
	if (err)
		*err = why;
	return r;
}

/* Index of the newest valid slot, -1 if there is none; err says why a slot that is there is not valid. */
static int examine_all(struct slot ret_slots[N_SLOTS], struct qmr_error *err)
{
	int newest = -1;

	for (int i = 0; i < N_SLOTS; i++)
		if (examine(i, &ret_slots[i], err) == 0 && ret_slots[i].is_valid &&
		    (newest < 0 || ret_slots[i].state.sequence > ret_slots[newest].state.sequence))
			newest = i;
	return newest;
}

static int read_slots(struct qmr_state *ret_state, struct qmr_error *err)
{
	uint32_t machine = own_machine();
	struct slot slots[N_SLOTS];
	struct qmr_error why = {0};
	int newest = examine_all(slots, &why);

	if (newest < 0 && why.code)
		return qmr_error_set(err, -EBADMSG, "%s", why.text);
	if (newest < 0 || !slots[newest].state.sequence)
		return qmr_error_set(err, -ENOENT, "no boot state is in '" FOLDER "' of the EFI system partition");
	if (machine && slots[newest].state.machine && slots[newest].state.machine != machine)
		return qmr_error_set(err, -ESTALE, "the boot state in '" FOLDER "' belongs to another machine");
	*ret_state = slots[newest].state;
	return 0;
}

/* In place: of a slot that has its size, no more than the data and the time of writing change. */
static int overwrite(int i, enum slot_kind kind, const struct qmr_state *state, struct qmr_error *err)
{
	cleanup_close int fd = openat(esp_fd, paths[i], O_WRONLY | (kind == SLOT_MISSING ? O_CREAT : 0) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	uint8_t bytes[QMR_STATE_BYTES];
	int r;

	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening '%s' of the EFI system partition", paths[i]);
	qmr_state_encode(state, bytes);
	r = qmr_file_write_all(fd, paths[i], bytes, sizeof(bytes), err);
	if (r == 0 && fsync(fd) < 0)
		r = qmr_error_errno(err, -errno, "syncing '%s' of the EFI system partition", paths[i]);
	if (r < 0 && kind == SLOT_MISSING)
		(void)unlinkat(esp_fd, paths[i], 0); /* on a full disk; the first error is reported */
	return r < 0 || kind != SLOT_MISSING ? r : qmr_file_sync_dir(esp_fd, FOLDER, err);
}

static int make_folder(struct qmr_error *err)
{
	int r = qmr_file_mkdirs(esp_fd, FOLDER, 0700, err);

	return r < 0 ? r : qmr_file_sync_dir(esp_fd, "EFI", err);
}

static int write_slot(struct qmr_state *state, struct qmr_error *err)
{
	struct slot slots[N_SLOTS];
	struct qmr_error why = {0};
	int newest = examine_all(slots, &why), target = 0;

	while (target < N_SLOTS && (target == newest || slots[target].kind == SLOT_OTHER))
		target++;
	if (target == N_SLOTS)
		return qmr_error_set(err, -EUCLEAN, "writing the boot state to '" FOLDER "': %s; fsck.vfat may mend it", why.text);
	if (newest >= 0 && slots[newest].state.sequence >= state->sequence)
		state->sequence = slots[newest].state.sequence + 1;
	state->machine = own_machine();
	if (slots[target].kind == SLOT_MISSING) {
		int r = make_folder(err);

		if (r < 0)
			return r;
	}
	return overwrite(target, slots[target].kind, state, err);
}

/* The newest last: until then a cut leaves it. */
static int clear_slots(struct qmr_error *err)
{
	struct slot slots[N_SLOTS];
	struct qmr_state empty;
	int newest = examine_all(slots, NULL), r = 0;

	qmr_state_init(&empty, NULL);
	for (int k = 1; k <= N_SLOTS && r == 0; k++) {
		int i = (newest + k) % N_SLOTS;

		if (slots[i].kind == SLOT_OURS)
			r = overwrite(i, SLOT_OURS, &empty, err);
	}
	return r;
}

int qmr_state_files_create(const char *place, struct qmr_error *err)
{
	struct slot slots[N_SLOTS];
	struct qmr_error why = {0};
	struct qmr_state empty;
	int made = 0, r = begin(place, err);

	if (r < 0)
		return r;
	qmr_state_init(&empty, NULL);
	(void)examine_all(slots, &why);
	r = make_folder(err);
	for (int i = 0; i < N_SLOTS && r == 0; i++) {
		if (slots[i].kind == SLOT_OTHER)
			r = qmr_error_set(err, -EUCLEAN, "%s; fsck.vfat may mend it, or remove it", why.text);
		if (slots[i].kind != SLOT_MISSING)
			continue;
		r = overwrite(i, SLOT_MISSING, &empty, err);
		made += r == 0;
	}
	end();
	return r < 0 ? r : made;
}

int qmr_state_files_remove(const char *place, struct qmr_error *err)
{
	int r = begin(place, err);

	if (r < 0)
		return r;
	for (int i = 0; i < N_SLOTS; i++)
		if (unlinkat(esp_fd, paths[i], 0) < 0 && errno != ENOENT && errno != ENOTDIR && r == 0)
			r = qmr_error_errno(err, -errno, "removing '%s' of the EFI system partition", paths[i]);
	if (r == 0 && unlinkat(esp_fd, FOLDER, AT_REMOVEDIR) < 0 && errno != ENOENT && errno != ENOTDIR && errno != ENOTEMPTY)
		r = qmr_error_errno(err, -errno, "removing '" FOLDER "' of the EFI system partition");
	end();
	return r;
}

const struct qmr_state_store qmr_state_file = {begin, end, read_slots, write_slot, clear_slots};
