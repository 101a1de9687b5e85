/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "kernel-options.h"
#include "loader-tries.h"
#include "log.h"
#include "qmrctl.h"

/*
 * panic= on the kernel command line: boot-guard sets kernel.panic, but a kernel without a whole initramfs never comes as far, and would halt
 * for ever. Only in the modes that act, and only where the owner has said nothing.
 */

#define CMDLINE "/etc/kernel/cmdline" /* kernel-install(8) */

/* What is done to a place, or would be. */
struct pass {
	const struct qmrctl *ctl;
	int seconds;    /* 0: take back */
	int dry;        /* only look */
	int places;     /* texts seen */
	int changed;    /* texts that were changed, or would be */
	int has_own;    /* ours is, or would be, in one of them */
	char changed_one[QMR_MOUNT_PATH + QMR_LOADER_FILE];
	char unified[QMR_LOADER_FILE]; /* an image of this system's, whose command line is inside */
};

static int pass_text(struct pass *p, const char *path, enum qmr_options_form form, int is_fat, struct qmr_error *err)
{
	cleanup_free char *old = NULL, *text = NULL;
	struct qmr_options_panic panic;
	size_t size;
	int r = qmr_file_read(AT_FDCWD, path, QMR_LOADER_TEXT_MAX, &old, &size, err);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (strlen(old) != size)
		return qmr_error_set(err, -EINVAL, "'%s' holds a NUL byte", path);
	text = qmr_options_set_panic(old, form, p->seconds);
	if (!text)
		return qmr_error_set(err, -ENOMEM, "writing '%s': out of memory", path);
	qmr_options_find_panic(text, form, &panic);
	p->places++;
	p->has_own |= panic.own >= 0;
	if (!strcmp(old, text))
		return 0;
	p->changed++;
	snprintf(p->changed_one, sizeof(p->changed_one), "%s", path);
	if (p->dry)
		return 0;
	return is_fat ? qmr_file_replace_on_fat(path, text, strlen(text), err) :
			qmr_file_replace(AT_FDCWD, path, text, strlen(text), 0644, err);
}

static int pass_entries(struct pass *p, struct qmr_error *err)
{
	cleanup_free struct qmr_loader_menu *menu = calloc(1, sizeof(*menu));
	struct qmr_loader_own own;
	int r = menu ? qmrctl_loader_read_menu(p->ctl, menu, err) : qmr_error_set(err, -ENOMEM, "reading boot entries: out of memory");

	if (r < 0)
		return r;
	qmr_loader_find_own(!p->ctl->no_variables, &own);
	for (size_t i = 0; r == 0 && i < menu->n_entries; i++) {
		const struct qmr_loader_entry *e = &menu->entries[i];
		char path[QMR_MOUNT_PATH + QMR_LOADER_FILE + 32];

		if (!qmr_loader_entry_is_own(e, &own))
			continue;
		if (e->unified) {
			snprintf(p->unified, sizeof(p->unified), "%s", e->file);
			continue;
		}
		snprintf(path, sizeof(path), "%s/loader/entries/%s", e->place ? p->ctl->machine.xbootldr_path : p->ctl->machine.esp_path,
			 e->file);
		r = pass_text(p, path, QMR_OPTIONS_ENTRY, 1, err);
	}
	return r;
}

/* GRUB counts nothing: with panic= a machine whose initramfs is cut would restart for ever instead of halting. */
static int pass(struct pass *p, struct qmr_error *err)
{
	int is_counted = qmrctl_loader_is_used(p->ctl), seconds = p->seconds, r;

	p->seconds = is_counted ? seconds : 0;
	r = pass_text(p, CMDLINE, QMR_OPTIONS_CMDLINE, 0, err);
	if (r == 0 && is_counted)
		r = pass_entries(p, err);
	return r;
}

static int wanted(const struct qmrctl *ctl)
{
	return ctl->config.mode >= QMR_MODE_COLLECT ? ctl->config.panic_timeout_s : 0;
}

int qmrctl_panic_is_ours(const struct qmrctl *ctl)
{
	struct pass p = {.ctl = ctl, .seconds = wanted(ctl), .dry = 1};

	return pass(&p, NULL) == 0 && p.has_own;
}

int qmrctl_panic_take_back(const struct qmrctl *ctl, struct qmr_error *err)
{
	struct pass p = {.ctl = ctl};
	int r = wanted(ctl) ? 0 : pass(&p, err);

	return r < 0 ? r : p.changed;
}

int qmrctl_step_panic(struct qmrctl *ctl, struct qmr_error *err)
{
	struct pass p = {.ctl = ctl, .seconds = wanted(ctl)};
	int r = pass(&p, err);

	if (r < 0)
		return r;
	if (p.unified[0] && p.seconds)
		qmr_warning("the command line of the unified image '%s' is inside of it and cannot be changed: without panic= there, a machine whose "
			    "initramfs is damaged halts", p.unified);
	if (p.changed && p.seconds)
		qmrctl_say(ctl, "panic=%d added to the kernel command line in %d files, so that a damaged initramfs does not halt the machine for "
			   "ever", p.seconds, p.changed);
	else
		qmrctl_say(ctl, "%s", p.seconds && p.places ? "panic= is already on the kernel command line" :
			   p.seconds ? "no file with the kernel command line was found; nothing to do" :
				       "not added to the kernel command line: this mode does not act");
	return 0;
}

int qmrctl_panic_examine(struct qmrctl *ctl, struct qmr_error *err)
{
	struct pass p = {.ctl = ctl, .seconds = wanted(ctl), .dry = 1};
	int r = pass(&p, err);

	if (r < 0 || !p.changed)
		return r;
	return qmr_error_set(err, -ENOENT, p.seconds ? "'%s' has no panic= (or another than [policy] panic_timeout): a machine whose initramfs is "
						       "damaged would halt; 'qmrctl install' adds it" :
						       "'%s' has the panic= of an earlier mode; 'qmrctl install' takes it back", p.changed_one);
}
