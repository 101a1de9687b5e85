/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "qmrctl.h"

/*
 * The root's UUID where boot-guard finds it: the kernel command line may name the root otherwise
 * (/dev/..., LABEL=, PARTUUID=), and the boot state must be bound to the name that recovery knows
 * it by. The initramfs hook copies the file.
 */

#define TEXT_BYTES_MAX 512

/* What libblkid reads off a disk goes into a file of settings: nothing in it may end a line or
 * begin a comment. */
static int is_plain(const char *text)
{
	return text[strspn(
		       text,
		       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+~-")] ==
	       '\0';
}

static int make_text(const struct qmrctl *ctl, char ret_text[TEXT_BYTES_MAX],
		     struct qmr_error *err)
{
	const struct qmr_machine *m = &ctl->machine;
	struct qmrctl_tries tries = qmrctl_tries_wanted(ctl);
	const struct {
		const char *key, *value;
	} lines[] = {{"root_uuid", m->root_uuid},
		     {"root_fstype", m->root_fstype},
		     {"esp_uuid", m->esp_uuid}};
	size_t used = (size_t)snprintf(ret_text, TEXT_BYTES_MAX,
				       "# written by qmrctl install\n[machine]\n");

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		if (!is_plain(lines[i].value))
			return qmr_error_set(err, -EINVAL, "%s '%s' is not one plain word",
					     lines[i].key, lines[i].value);
		/* Fits: each value has at most 63 bytes. */
		used += (size_t)snprintf(ret_text + used, TEXT_BYTES_MAX - used, "%s=%s\n",
					 lines[i].key, lines[i].value);
	}
	/* What was put into files of the system's, so that uninstall knows what is ours. */
	if (tries.count)
		used += (size_t)snprintf(ret_text + used, TEXT_BYTES_MAX - used, "tries = %d\n", tries.count);
	if (tries.is_file_ours)
		used += (size_t)snprintf(ret_text + used, TEXT_BYTES_MAX - used, "tries_added = yes\n");
	if (qmrctl_loader_is_systemd_boot(ctl))
		used += (size_t)snprintf(ret_text + used, TEXT_BYTES_MAX - used, "systemd_boot = yes\n");
	if (qmrctl_panic_is_ours(ctl))
		snprintf(ret_text + used, TEXT_BYTES_MAX - used, "panic_added = yes\n");
	return 0;
}

static int has_text(const char *text)
{
	cleanup_free char *present = NULL;
	size_t size;

	return qmr_file_read(AT_FDCWD, QMRCTL_MACHINE_CONF, TEXT_BYTES_MAX, &present, &size,
			     NULL) == 0 &&
	       !strcmp(present, text);
}

int qmrctl_step_machine_conf(struct qmrctl *ctl, struct qmr_error *err)
{
	char text[TEXT_BYTES_MAX];
	/* Before the file forgets that it was ours. */
	int panics = 0, tries = qmrctl_tries_take_back(ctl, err), r = tries;

	if (r >= 0)
		r = panics = qmrctl_panic_take_back(ctl, err);
	if (r >= 0)
		r = make_text(ctl, text, err);
	if (r < 0)
		return r;
	if (has_text(text)) {
		qmrctl_say(ctl, "'" QMRCTL_MACHINE_CONF "' is already up to date");
		return 0;
	}
	if (tries || panics)
		qmrctl_say(ctl, "'" QMRCTL_MACHINE_CONF "' written; as this mode does not act, boot counters were taken off %d entries and panic= "
			   "out of the kernel command line in %d files", tries, panics);
	else
		qmrctl_say(ctl, "'" QMRCTL_MACHINE_CONF "' written");
	return qmr_file_replace(AT_FDCWD, QMRCTL_MACHINE_CONF, text, strlen(text), 0644, err);
}

int qmrctl_machine_conf_examine(struct qmrctl *ctl, struct qmr_error *err)
{
	char text[TEXT_BYTES_MAX];
	int r = make_text(ctl, text, err);

	if (r < 0 || has_text(text))
		return r;
	return qmr_error_set(
		err, -ESTALE,
		"'" QMRCTL_MACHINE_CONF "' is missing or does not name root %s (%s) and EFI system "
		"partition %s: recovery may take the boot state for another system's; 'qmrctl "
		"install' writes it",
		ctl->machine.root_uuid, ctl->machine.root_fstype, ctl->machine.esp_uuid);
}

int qmrctl_machine_conf_remove(struct qmr_error *err)
{
	if (unlink(QMRCTL_MACHINE_CONF) < 0 && errno != ENOENT)
		return qmr_error_errno(err, -errno, "removing '%s'", QMRCTL_MACHINE_CONF);
	return 0;
}
