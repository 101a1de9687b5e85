/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_LOADER_TRIES_H
#define QMR_LOADER_TRIES_H

#include "error.h"
#include "loader-entries.h"

/*
 * Boot counters of systemd-boot's entries (Automatic Boot Assessment, systemd.io/AUTOMATIC_BOOT_ASSESSMENT), docs/loaders.md. top is a
 * descriptor of the ESP's top folder everywhere. All renames are durable when the function returns; none overwrites a file.
 */

#define QMR_LOADER_RECOVERY "qmr-recovery" /* recovery images' names begin so */
#define QMR_LOADER_VALUE 512 /* of a variable, with NUL */
#define QMR_MACHINE_ID "/etc/machine-id"

/* Whose entries these are. */
struct qmr_loader_own {
	char machine_id[64];
	char booted[QMR_LOADER_VALUE]; /* id of the entry that this system was booted by, empty: not known */
};

/*
 * A variable of systemd-boot's (Boot Loader Interface) as ASCII, with '?' for anything else. -ENOENT if it is missing or too long.
 * Needs libefivar.
 */
int qmr_loader_variable(const char *name, char ret_value[QMR_LOADER_VALUE]) QMR_MUST_CHECK;

/* Fills machine_id from /etc/machine-id and booted from the firmware; what cannot be found stays empty. Needs libefivar. */
void qmr_loader_find_own(int has_variables, struct qmr_loader_own *ret_own);

/* 1 if it starts a recovery image, by its name: the image itself, or a type 1 entry of ours. */
int qmr_loader_entry_is_recovery(const struct qmr_loader_entry *entry);

/* Type 1 with our machine-id, or the entry that was booted; never the recovery image. */
int qmr_loader_entry_is_own(const struct qmr_loader_entry *entry, const struct qmr_loader_own *own);

/* The file name with another counter: "+LEFT-DONE", "+LEFT" where done is 0, none where left is -1. -ENAMETOOLONG. */
int qmr_loader_name_count(const char *file, int left, int done, char ret_name[QMR_LOADER_FILE]) QMR_MUST_CHECK;

/* Tries left of the entry that LoaderBootCountPath names, -1 if it is no counted entry's path. */
int qmr_loader_path_left(const char *path);

/*
 * Gives the entry of that path all its tries back: 1 renamed, 0 it has them already. -ENOENT if it is not on this ESP, -EEXIST if the new
 * name is another file's; one with the same text is what kernel-install(8) wrote anew, and the old one goes.
 */
int qmr_loader_renew(int top, const char *path, int tries, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * 1 if the kernel with that command line was started by this entry, or by one with the same initramfs: systemd-boot puts a type 1 entry's
 * "initrd" there.
 */
int qmr_loader_entry_is_on_cmdline(const struct qmr_loader_entry *entry, const char *cmdline);

/*
 * Where nobody says which entry lost the try: gives all tries back to the counted entries that are on the command line. Returns how many were
 * renamed.
 */
int qmr_loader_renew_started(int top, const char *cmdline, int tries, struct qmr_error *err) QMR_MUST_CHECK;

/* Gives counters to our entries that have none, or with tries 0 takes them all away. Returns how many were renamed. */
int qmr_loader_count_entries(int top, const struct qmr_loader_own *own, int tries, struct qmr_error *err) QMR_MUST_CHECK;

/* Our entries that are not as qmr_loader_count_entries() leaves them; of one the name. */
int qmr_loader_count_missing(int top, const struct qmr_loader_own *own, int tries, char ret_file[QMR_LOADER_FILE],
			     struct qmr_error *err) QMR_MUST_CHECK;

/* 1 if systemd-boot comes to recovery by itself: no other entry has tries left, or there is none. */
int qmr_loader_is_exhausted(int top, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Used tries are given back, tries (0: as many as the name says) to each entry; is_last: where no entry has any left, exactly one to
 * each. Returns how many were renamed.
 */
int qmr_loader_restore(int top, int tries, int is_last, struct qmr_error *err) QMR_MUST_CHECK;

#endif
