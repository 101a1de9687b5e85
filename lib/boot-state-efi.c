/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <efivar/efivar.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "boot-state-store.h"
#include "cleanup.h"

#define STATE_NAME "QmrState"
#define STATE_GUID EFI_GUID(0x3f1c8b6e, 0x6a55, 0x4e0b, 0x9a0c, 0x5a, 0x7d, 0x1c, 0x0d, 0xe9, 0xe4)
#define STATE_GUID_TEXT "3f1c8b6e-6a55-4e0b-9a0c-5a7d1c0de9e4"
#define STATE_ATTRIBUTES \
	(EFI_VARIABLE_NON_VOLATILE | EFI_VARIABLE_BOOTSERVICE_ACCESS | EFI_VARIABLE_RUNTIME_ACCESS)
#define EFIVARS "/sys/firmware/efi/efivars/"
#define FREE_BYTES_MIN 8192 /* what a new variable must leave to others, where the kernel tells */

static int negative_errno(void)
{
	return errno > 0 ? -errno : -EIO;
}

/* Without support libefivar's writing functions go through a NULL pointer (seen with version 37). */
static int require_support(const char *what, struct qmr_error *err)
{
	if (efi_variables_supported())
		return 0;
	efi_error_clear();
	return qmr_error_errno(err, -EOPNOTSUPP, "%s EFI variable '%s'", what, STATE_NAME);
}

static const char *folder(void)
{
	const char *path = getenv("EFIVARFS_PATH"); /* libefivar's */

	return path ? path : EFIVARS;
}

/* Where the firmware refused a new variable, efivarfs keeps an empty file until the next start, which cannot even be removed. */
static int is_never_written(void)
{
	char path[PATH_MAX];
	struct stat st;

	return snprintf(path, sizeof(path), "%s/" STATE_NAME "-" STATE_GUID_TEXT, folder()) < (int)sizeof(path) && stat(path, &st) == 0 &&
	       st.st_size == 0;
}

static int read_bytes(uint8_t **ret_bytes, size_t *ret_size, struct qmr_error *err)
{
	uint32_t attributes;
	int r = require_support("reading", err);

	if (r == 0 && is_never_written())
		r = qmr_error_errno(err, -ENOENT, "reading EFI variable '%s'", STATE_NAME);
	if (r < 0)
		return r;
	if (efi_get_variable(STATE_GUID, STATE_NAME, ret_bytes, ret_size, &attributes) < 0) {
		r = negative_errno();
		*ret_bytes = NULL;
		efi_error_clear();
		return qmr_error_errno(err, r, "reading EFI variable '%s'", STATE_NAME);
	}
	return 0;
}

static int read_variable(struct qmr_state *ret_state, struct qmr_error *err)
{
	cleanup_free uint8_t *bytes = NULL;
	size_t size = 0;
	int r = read_bytes(&bytes, &size, err);

	return r < 0 ? r : qmr_state_decode(bytes, size, ret_state, err);
}

static int set(uint8_t bytes[QMR_STATE_BYTES], struct qmr_error *err)
{
	cleanup_free uint8_t *back = NULL;
	size_t size = 0;
	int r;

	if (efi_set_variable(STATE_GUID, STATE_NAME, bytes, QMR_STATE_BYTES, STATE_ATTRIBUTES, 0600) < 0) {
		r = negative_errno();
		efi_error_clear();
		return qmr_error_errno(err, r, "writing EFI variable '%s'", STATE_NAME);
	}
	r = read_bytes(&back, &size, err);
	if (r < 0)
		return r;
	if (size != QMR_STATE_BYTES || memcmp(back, bytes, size))
		return qmr_error_set(err, -EIO, "EFI variable '%s' reads back other than it was written", STATE_NAME);
	return 0;
}

static int delete_variable(struct qmr_error *err)
{
	int r = require_support("deleting", err);

	if (r < 0)
		return r;
	if (efi_del_variable(STATE_GUID, STATE_NAME) < 0 && errno != ENOENT) {
		r = negative_errno();
		efi_error_clear();
		return qmr_error_errno(err, r, "deleting EFI variable '%s'", STATE_NAME);
	}
	efi_error_clear();
	return 0;
}

/*
 * What the kernel lets be written (efivarfs_statfs(), 6.5 and stable kernels since then); before, the file system has no blocks, and it is
 * not known.
 */
static int require_room(struct qmr_error *err)
{
	struct statvfs fs;

	if (statvfs(folder(), &fs) < 0 || fs.f_blocks == 0 ||
	    (uint64_t)fs.f_bavail * fs.f_frsize >= FREE_BYTES_MIN)
		return 0;
	return qmr_error_set(err, -ENOSPC, "creating EFI variable '%s': only %llu bytes of the firmware's memory are free", STATE_NAME,
			     (unsigned long long)fs.f_bavail * fs.f_frsize);
}

/* A new variable is written twice: where there is no room to change it later, it only takes room from others. */
static int create(uint8_t bytes[QMR_STATE_BYTES], struct qmr_error *err)
{
	int r = require_room(err);

	if (r == 0)
		r = set(bytes, err);
	if (r < 0)
		return r;
	r = set(bytes, err);
	if (r < 0)
		(void)delete_variable(NULL); /* the first error is reported; if it stays, it holds what was to be written */
	return r;
}

static int write_variable(struct qmr_state *state, struct qmr_error *err)
{
	cleanup_free uint8_t *old = NULL;
	uint8_t bytes[QMR_STATE_BYTES];
	size_t size = 0;
	int r = require_support("writing", err);

	if (r < 0)
		return r;
	qmr_state_encode(state, bytes);
	return read_bytes(&old, &size, NULL) == 0 ? set(bytes, err) : create(bytes, err);
}

const struct qmr_state_store qmr_state_variable = {.read = read_variable, .write = write_variable, .clear = delete_variable};
