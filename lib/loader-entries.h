/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_LOADER_ENTRIES_H
#define QMR_LOADER_ENTRIES_H

#include <stddef.h>

#include "error.h"

/*
 * What systemd-boot would boot: entries of the Boot Loader Specification (UAPI.1), type 1 (files of loader/entries) and
 * type 2 (unified images of EFI/Linux), in the order of its section "Sorting", and the default.
 */

#define QMR_LOADER_ENTRIES_MAX 512
#define QMR_LOADER_TEXT_MAX 65536 /* bytes of an entry, of loader.conf or of an image's os-release */

#define QMR_LOADER_FILE 256        /* a file name, with NUL */

/* "STEM+LEFT[-DONE].conf": Automatic Boot Assessment, systemd.io/AUTOMATIC_BOOT_ASSESSMENT. */
struct qmr_loader_name {
	int stem, end;  /* where the counter begins, and the suffix; the same without a counter */
	int left, done; /* -1: not counted */
};

/* Takes a file name apart. -EINVAL if it has not that suffix (".conf", in either case), is hidden or too long. */
int qmr_loader_name_parse(const char *file, const char *suffix, struct qmr_loader_name *ret_name) QMR_MUST_CHECK;

struct qmr_loader_entry {
	char id[QMR_LOADER_FILE];   /* file name in lower case without boot counter */
	char file[QMR_LOADER_FILE]; /* file name as it is */
	int place;         /* the caller's number of the file system */
	int unified;       /* type 2 */
	int tries_left, tries_done; /* boot counter, -1: not counted */
	int has_sort_key;
	char sort_key[128], machine_id[64], version[128], architecture[16];
	char program[256]; /* type 1: "linux" or "efi" */
	char initrd[256];  /* type 1: the last "initrd", empty if there is none */
};

struct qmr_loader_menu {
	struct qmr_loader_entry entries[QMR_LOADER_ENTRIES_MAX];
	size_t n_entries;
	char preferred[256]; /* loader.conf's "default", a glob pattern; empty if there is none */
};

/*
 * Compares versions as the Version Format Specification (UAPI.10) says: < 0 if a is older, > 0 if it is newer.
 * NULL is an empty version.
 */
int qmr_loader_version_compare(const char *a, const char *b);

/* < 0 if a stands before b in the menu. */
int qmr_loader_entry_compare(const struct qmr_loader_entry *a, const struct qmr_loader_entry *b);

/*
 * Reads a type 1 entry of that file name, text NUL-terminated. -EINVAL where systemd-boot shows no entry: a name that is
 * no "*.conf" or begins with "auto-" or a dot, no program, another architecture than x64.
 */
int qmr_loader_entry_parse(const char *file, const char *text, struct qmr_loader_entry *ret_entry) QMR_MUST_CHECK;

/* The same for a unified image from the text of its .osrel section (os-release(5)); "*.efi". */
int qmr_loader_unified_parse(const char *file, const char *os_release, struct qmr_loader_entry *ret_entry) QMR_MUST_CHECK;

/* The value of a key of os-release(5) without its quotes; -ENOENT if it is missing or does not fit. */
int qmr_loader_os_release_get(const char *text, const char *key, char *ret_value, size_t size) QMR_MUST_CHECK;

/*
 * The text of an entry with "sort-key KEY" added behind its title (or in front, without one), everything else as it was.
 * malloc, caller frees; NULL when out of memory.
 */
char *qmr_loader_entry_add_sort_key(const char *text, const char *sort_key);

/*
 * Adds the entries of one file system (dirfd: its top folder, place: a number of the caller's) to the menu, and with
 * loader_conf its loader/loader.conf. What is missing is passed over, and so are entries that cannot be read or whose
 * program is not there: systemd-boot does so too. -E2BIG beyond QMR_LOADER_ENTRIES_MAX.
 */
int qmr_loader_menu_add(struct qmr_loader_menu *menu, int dirfd, int place, int loader_conf,
			struct qmr_error *err) QMR_MUST_CHECK;

/* The menu of one file system, place 0; the caller frees it. */
int qmr_loader_menu_read(int top, int loader_conf, struct qmr_loader_menu **ret_menu, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Sorts the menu and returns the entry that is booted when nobody chooses, borrowed; NULL if there is none. preferred: the
 * pattern that overrides loader.conf (EFI variable LoaderEntryDefault), or NULL.
 */
const struct qmr_loader_entry *qmr_loader_menu_default(struct qmr_loader_menu *menu, const char *preferred);

#endif
