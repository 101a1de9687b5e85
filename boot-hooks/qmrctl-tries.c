/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "loader-once.h"
#include "log.h"
#include "qmrctl.h"

/*
 * Boot counters on this machine's entries: systemd-boot comes to recovery when they are used up, by boots that never reached boot-guard.
 * Only in the modes that act. boot-guard tries renews them.
 */

#define TRIES_FILE "/etc/kernel/tries" /* kernel-install(8) */
#define BLESS_FOLDER "/etc/systemd/system/systemd-bless-boot.service.d"
#define BLESS_CONF BLESS_FOLDER "/50-qmr.conf"

static const char bless_text[] =
	"# Written by qmrctl install: boot-guard(8) renews the tries of the boot entry and keeps its counter, so that later damage\n"
	"# is counted too. Blessing would take the counter away, and does not find the entry under the name that it was started by.\n"
	"[Unit]\nConditionPathExists=!" QMRCTL_MACHINE_CONF "\n";

/* The number in kernel-install's file, -1 without one. */
static int read_tries_file(void)
{
	cleanup_free char *text = NULL;
	size_t size;
	long n;
	char *end;

	if (qmr_file_read(AT_FDCWD, TRIES_FILE, 64, &text, &size, NULL) < 0)
		return -1;
	n = strtol(text, &end, 10);
	return end == text || n < 0 || n > 99 ? -1 : (int)n;
}

/* What qmr wrote, and nobody has changed. */
static int is_file_ours(const struct qmrctl *ctl)
{
	return ctl->config.tries_added && read_tries_file() == ctl->config.machine_tries;
}

struct qmrctl_tries qmrctl_tries_wanted(const struct qmrctl *ctl)
{
	int there = read_tries_file();

	if (ctl->config.mode < QMR_MODE_COLLECT || !qmrctl_loader_is_used(ctl))
		return (struct qmrctl_tries){0};
	/* kernel-install would write a second entry beside ours if the counts differed. */
	if (there > 0 && !is_file_ours(ctl))
		return (struct qmrctl_tries){there, 0};
	return (struct qmrctl_tries){ctl->config.loader_tries, ctl->config.loader_tries > 0};
}

static int open_esp(const struct qmrctl *ctl, struct qmr_error *err)
{
	int fd = open(ctl->machine.esp_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? qmr_error_errno(err, -errno, "opening folder '%s'", ctl->machine.esp_path) : fd;
}

static int write_text(const char *path, const char *text, struct qmr_error *err)
{
	cleanup_free char *present = NULL;
	size_t size;

	if (qmr_file_read(AT_FDCWD, path, 4096, &present, &size, NULL) == 0 && !strcmp(present, text))
		return 0;
	return qmr_file_replace(AT_FDCWD, path, text, strlen(text), 0644, err);
}

/* Blessing ends before a counter is there, or it would be gone after the next boot. */
static int stop_blessing(struct qmr_error *err)
{
	int r = qmr_file_mkdirs(AT_FDCWD, BLESS_FOLDER, 0755, err);

	return r < 0 ? r : write_text(BLESS_CONF, bless_text, err);
}

static int add_counters(const struct qmrctl *ctl, const struct qmrctl_tries *tries, struct qmr_error *err)
{
	cleanup_close int fd = open_esp(ctl, err);
	struct qmr_loader_own own;
	char text[16];
	int n, r = fd < 0 ? fd : stop_blessing(err);

	if (r < 0)
		return r;
	qmr_loader_find_own(!ctl->no_variables, &own);
	n = qmr_loader_count_entries(fd, &own, tries->count, err);
	if (n < 0 || !tries->is_file_ours)
		return n;
	snprintf(text, sizeof(text), "%d\n", tries->count);
	r = qmr_file_mkdirs(AT_FDCWD, "/etc/kernel", 0755, err);
	if (r == 0)
		r = write_text(TRIES_FILE, text, err);
	return r < 0 ? r : n;
}

/* LoaderEntryDefault or loader.conf choose an entry whether it has tries left or not. */
static int find_fixed_default(const struct qmrctl *ctl, const struct qmr_loader_own *own, char ret_pattern[QMR_LOADER_VALUE],
			      struct qmr_error *err)
{
	cleanup_free struct qmr_loader_menu *menu = NULL;
	cleanup_close int fd = open_esp(ctl, err);
	int r = fd < 0 ? fd : qmr_loader_menu_read(fd, 1, &menu, err);

	if (r < 0)
		return r;
	if (ctl->no_variables || qmr_loader_variable("LoaderEntryDefault", ret_pattern) < 0 || !*ret_pattern)
		snprintf(ret_pattern, QMR_LOADER_VALUE, "%s", menu->preferred);
	for (size_t i = 0; *ret_pattern && i < menu->n_entries; i++)
		if (qmr_loader_entry_is_own(&menu->entries[i], own) && fnmatch(ret_pattern, menu->entries[i].id, 0) == 0)
			return 1;
	return 0;
}

static void warn_of_fixed_default(const struct qmrctl *ctl)
{
	char pattern[QMR_LOADER_VALUE];
	struct qmr_loader_own own;

	qmr_loader_find_own(!ctl->no_variables, &own);
	if (find_fixed_default(ctl, &own, pattern, NULL) == 1)
		qmr_warning("the default '%s' of systemd-boot (loader.conf, or bootctl set-default) starts an entry of this system even when no "
			    "try is left: damage to kernel or initramfs will not lead to recovery", pattern);
}

int qmrctl_tries_take_back(const struct qmrctl *ctl, struct qmr_error *err)
{
	struct qmrctl_tries wanted = qmrctl_tries_wanted(ctl);
	struct qmr_loader_own own;
	int n = 0;

	if (!wanted.is_file_ours && is_file_ours(ctl) && unlink(TRIES_FILE) < 0)
		return qmr_error_errno(err, -errno, "removing '%s'", TRIES_FILE);
	if (wanted.count || access(BLESS_CONF, F_OK) < 0)
		return 0; /* without it counters are the owner's */
	if (qmrctl_loader_is_used(ctl)) {
		cleanup_close int fd = open_esp(ctl, err);

		qmr_loader_find_own(!ctl->no_variables, &own);
		n = fd < 0 ? fd : qmr_loader_once_remove(fd, err); /* boot-guard tries will not do it any more */
		if (n >= 0)
			n = qmr_loader_count_entries(fd, &own, 0, err);
	}
	if (n >= 0 && unlink(BLESS_CONF) < 0 && errno != ENOENT)
		return qmr_error_errno(err, -errno, "removing '%s'", BLESS_CONF);
	return n;
}

int qmrctl_step_tries(struct qmrctl *ctl, struct qmr_error *err)
{
	struct qmrctl_tries wanted = qmrctl_tries_wanted(ctl);
	int n = wanted.count ? add_counters(ctl, &wanted, err) : qmrctl_tries_take_back(ctl, err);

	if (n < 0)
		return n;
	if (wanted.count)
		warn_of_fixed_default(ctl);
	if (wanted.count && n)
		qmrctl_say(ctl, "systemd-boot: %d entries of this system now have %d tries each: used up by starts that never come as far as "
			   "boot-guard, they lead to recovery", n, wanted.count);
	else if (wanted.count)
		qmrctl_say(ctl, "systemd-boot: the entries of this system already have boot counters");
	else if (n)
		qmrctl_say(ctl, "systemd-boot: boot counters taken off %d entries", n);
	else
		qmrctl_say(ctl, "%s", !qmrctl_loader_is_used(ctl) ? "systemd-boot is not used; nothing to do" :
			   ctl->config.mode < QMR_MODE_COLLECT ? "no boot counters: they would start recovery, which this mode does not do" :
								 "boot counters are left alone ([loader] tries = 0)");
	return 0;
}

int qmrctl_tries_examine(struct qmrctl *ctl, struct qmr_error *err)
{
	struct qmrctl_tries wanted = qmrctl_tries_wanted(ctl);
	char text[QMR_LOADER_VALUE] = "";
	struct qmr_loader_own own;
	int r = 0;

	if (wanted.count) {
		cleanup_close int fd = open_esp(ctl, err);

		qmr_loader_find_own(!ctl->no_variables, &own);
		r = fd < 0 ? fd : qmr_loader_count_missing(fd, &own, wanted.count, text, err);
		if (r > 0)
			return qmr_error_set(err, -ENOENT, "%d of systemd-boot's entries, '%s' for one, have no boot counter of %d tries: damage "
					     "to kernel or initramfs would not lead to recovery; 'qmrctl install' adds it", r, text, wanted.count);
		if (r == 0)
			r = find_fixed_default(ctl, &own, text, err);
		if (r > 0)
			return qmr_error_set(err, -EEXIST, "the default '%s' of systemd-boot (loader.conf, or bootctl set-default) starts an entry "
					     "even when no try is left: damage to kernel or initramfs would not lead to recovery", text);
	}
	if (r == 0 && !wanted.count && access(BLESS_CONF, F_OK) == 0)
		return qmr_error_set(err, -EEXIST, "boot counters are still there, though nothing should start recovery; 'qmrctl install' takes "
				     "them away");
	return r;
}
