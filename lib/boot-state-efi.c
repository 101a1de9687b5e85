/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <efivar/efivar.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "boot-state.h"
#include "cleanup.h"

#define STATE_NAME "QmrState"
#define STATE_GUID EFI_GUID(0x3f1c8b6e, 0x6a55, 0x4e0b, 0x9a0c, 0x5a, 0x7d, 0x1c, 0x0d, 0xe9, 0xe4)
#define STATE_ATTRIBUTES \
	(EFI_VARIABLE_NON_VOLATILE | EFI_VARIABLE_BOOTSERVICE_ACCESS | EFI_VARIABLE_RUNTIME_ACCESS)

static int negative_errno(void)
{
	return errno > 0 ? -errno : -EIO;
}

static int read_bytes(uint8_t **ret_bytes, size_t *ret_size, struct qmr_error *err)
{
	uint32_t attributes;
	int r;

	if (efi_get_variable(STATE_GUID, STATE_NAME, ret_bytes, ret_size, &attributes) < 0) {
		r = negative_errno();
		*ret_bytes = NULL;
		efi_error_clear();
		return qmr_error_errno(err, r, "reading EFI variable '%s'", STATE_NAME);
	}
	return 0;
}

int qmr_state_load(const uint8_t root[16], struct qmr_state *ret_state, struct qmr_error *err)
{
	cleanup_free uint8_t *bytes = NULL;
	struct qmr_state state;
	size_t size = 0;
	int r = read_bytes(&bytes, &size, err);

	if (r == 0)
		r = qmr_state_decode(bytes, size, &state, err);
	if (r == 0 && root && memcmp(state.root, root, 16))
		r = qmr_error_set(err, -ESTALE, "boot state belongs to another root file system");
	if (r < 0)
		qmr_state_init(ret_state, root);
	else
		*ret_state = state;
	return r;
}

int qmr_state_save(struct qmr_state *state, struct qmr_error *err)
{
	cleanup_free uint8_t *back = NULL;
	uint8_t bytes[QMR_STATE_BYTES];
	size_t size = 0;
	int r;

	/* Without support libefivar's writing functions go through a NULL pointer (seen with version 37). */
	if (!efi_variables_supported()) {
		efi_error_clear();
		return qmr_error_errno(err, -EOPNOTSUPP, "writing EFI variable '%s'", STATE_NAME);
	}
	state->sequence++;
	qmr_state_encode(state, bytes);
	if (efi_set_variable(STATE_GUID, STATE_NAME, bytes, sizeof(bytes), STATE_ATTRIBUTES, 0600) < 0) {
		r = negative_errno();
		efi_error_clear();
		return qmr_error_errno(err, r, "writing EFI variable '%s'", STATE_NAME);
	}
	r = read_bytes(&back, &size, err);
	if (r < 0)
		return r;
	if (size != sizeof(bytes) || memcmp(back, bytes, size))
		return qmr_error_set(err, -EIO, "EFI variable '%s' reads back other than it was written", STATE_NAME);
	return 0;
}

int qmr_state_delete(struct qmr_error *err)
{
	if (efi_del_variable(STATE_GUID, STATE_NAME) < 0 && errno != ENOENT) {
		int r = negative_errno();

		efi_error_clear();
		return qmr_error_errno(err, r, "deleting EFI variable '%s'", STATE_NAME);
	}
	efi_error_clear();
	return 0;
}
