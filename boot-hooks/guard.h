/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_GUARD_H
#define QMR_GUARD_H

#include "boot-state.h"
#include "config.h"
#include "error.h"
#include "firmware.h"

#define QMR_GUARD_RUN "/run/qmr"
#define QMR_CTL_LOCK "/run/qmrctl.lock" /* held, by flock(2), while qmrctl may change the boot state */

/* One call of boot-guard. */
struct qmr_guard {
	const struct qmr_config *config;
	const char *run;      /* folder of marks that live as long as this boot, QMR_GUARD_RUN */
	const char *argument; /* of failed: what it is judged by; of floor: what is to be remembered, NULL: to be told */
	const char *watchdog_device; /* of feed, QMR_WATCHDOG_DEVICE */
	int dry_run;          /* start: print the decision, write nothing */
	int late;             /* start: the firmware could not be asked or a resume was expected; the file systems are there now */
};

/* The commands of boot-guard(8); all return 0 or a negative errno. */
typedef int qmr_guard_command(const struct qmr_guard *guard, struct qmr_error *err);

qmr_guard_command qmr_guard_prepare, qmr_guard_start, qmr_guard_root, qmr_guard_healthy, qmr_guard_clean_shutdown, qmr_guard_failed,
	qmr_guard_deadline, qmr_guard_waiting, qmr_guard_hibernate, qmr_guard_awake, qmr_guard_feed, qmr_guard_tries,
	qmr_guard_last_tries, qmr_guard_no_tries, qmr_guard_floor;

struct qmr_verdict;

/*
 * Does what the assessor said at the start of a boot, and saves the state, once. Returns if the boot goes on: 0, or a negative errno if that
 * could not be recorded.
 */
int qmr_guard_act(const struct qmr_guard *guard, struct qmr_state *state, const struct qmr_verdict *verdict,
		  struct qmr_error *err) QMR_MUST_CHECK;

/* The end of the initramfs: lets the watchdog's feeder end, armed where systemd will take over, else disarmed. Logs. */
void qmr_guard_hand_over(const struct qmr_guard *guard);

/* 1 if the watchdog may be used and says that it reset this machine before this boot. */
int qmr_guard_has_reset_reason(const struct qmr_guard *guard);

/* Moves crash records to /var/lib/qmr/pstore; failures are logged. */
void qmr_guard_archive(void);

/*
 * Begins a switch to recovery: an incident id and the reason go into the state, which is written and read back, and
 * only then is BootNext set, or systemd-boot told where that cannot be: to the second image if reason is the detector's and the first did not come
 * to its end, else to the first. limit: 0 or QMR_RUNG_SIGNED_ONLY. Does not reboot. Nothing is written where neither would do (-ENOENT: there are
 * variables, but no boot entry).
 */
int qmr_guard_request(const struct qmr_guard *guard, struct qmr_state *state, enum qmr_reason reason, uint8_t limit, const char *note,
		      struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Has the recovery image of a slot tested at the next start: the request goes into the state, which is written and read back, and then BootNext
 * is set, or systemd-boot told, which starts the first image only. Stage and incident stay as they are. -ENOENT as above; -EBUSY while a switch to
 * recovery is pending.
 */
int qmr_guard_request_test(const struct qmr_guard *guard, struct qmr_state *state, enum qmr_slot slot, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * The entry that has systemd-boot start recovery once (lib/loader-once.h), on the partition that qmr_state_get_place() names. 0 if setting it
 * would work; -EOPNOTSUPP or another error with the reason.
 */
int qmr_guard_once_examine(const struct qmr_guard *guard, struct qmr_error *err) QMR_MUST_CHECK;

/* Writes that entry durably. */
int qmr_guard_once_set(struct qmr_error *err) QMR_MUST_CHECK;

/* Removes it durably: how many files were removed, used entries included. */
int qmr_guard_once_clear(struct qmr_error *err) QMR_MUST_CHECK;

/* Logs what came of removing it, where nobody is told otherwise. */
void qmr_guard_once_log_cleared(int n, const struct qmr_error *err);

/*
 * The root file system of this installation as machine.conf names it, else the command line (root=UUID=...); anything else is
 * turned into 16 bytes that stand for it. Needs /proc.
 */
void qmr_guard_root_id(const struct qmr_config *config, uint8_t ret_root[16]);

/*
 * The state, if its newest attempt is this boot's, by the mark that start left. -ESRCH: this boot was not counted, and nothing of it
 * must be recorded on another's account.
 */
int qmr_guard_load_own(const struct qmr_guard *guard, struct qmr_state *ret_state, struct qmr_error *err) QMR_MUST_CHECK;

/* 1 if the newest attempt of state is this boot's, by that mark. */
int qmr_guard_is_own(const struct qmr_guard *guard, const struct qmr_state *state);

/* Marks: small files of the run folder, gone with this boot. */
#define QMR_MARK_ATTEMPT "attempt"   /* the number of this boot's attempt */
#define QMR_MARK_ASKED "asked"       /* somebody is asked for a passphrase in the initramfs */
#define QMR_MARK_RESUME "resume"     /* the system was hibernated and may resume */
#define QMR_MARK_FEEDER "feeder.pid" /* the process that feeds the watchdog */
#define QMR_MARK_DEFERRED "deferred" /* why this boot was not counted in init-top, or not for good */
#define QMR_MARK_IN_FILE "state-in-file" /* the EFI variable does not have the newest boot state */

#define QMR_MARK_ASLEEP "asleep"  /* the system goes to disk, or lies there: its entries have no counters */
#define QMR_MARK_COUNTED "counted" /* systemd-boot took a try off this boot's entry; it has it back */

/* What cryptsetup-initramfs will open, in its initramfs, and how much of it is read. */
#define QMR_GUARD_CRYPTTAB "/cryptroot/crypttab"
#define QMR_GUARD_CRYPTTAB_BYTES 65536

/* Sets a mark, with text in it, in place of an older one. The run folder is made if it is missing. */
int qmr_guard_mark(const struct qmr_guard *guard, const char *name, const char *text, struct qmr_error *err) QMR_MUST_CHECK;

/* 1 if the mark is there. */
int qmr_guard_is_marked(const struct qmr_guard *guard, const char *name);

/* Takes the mark away; none is fine, and so is failure. */
void qmr_guard_unmark(const struct qmr_guard *guard, const char *name);

/* The kernel command line; malloc, caller frees, NULL if it cannot be read. */
char *qmr_guard_read_cmdline(void);

/* 1 if the kernel command line has this word. */
int qmr_guard_cmdline_has(const char *word);

/* The value of the last word that begins with key ("panic="), -ENOENT if there is none. */
int qmr_guard_cmdline_get(const char *key, char *ret_value, size_t size) QMR_MUST_CHECK;

/* 1 if the last panic= of the kernel command line is the owner's: not the one behind qmr.panic, which qmrctl install adds. */
int qmr_guard_has_own_panic(char *ret_value, size_t size);

/* 1 if somebody asked for a shell instead of a boot: break, rescue, emergency, single ... */
int qmr_guard_is_shell_wanted(void);

/*
 * Whether boot-guard may restart this machine after a failed boot: the mode acts, and recovery has not ended for this incident (the last
 * boot stays where it fails, for whoever comes).
 */
int qmr_guard_may_restart(const struct qmr_guard *guard, const struct qmr_state *state);

/* One line for people, cut where it does not fit. */
void qmr_guard_set_note(struct qmr_state *state, const char *text);

/* Seconds since the kernel started. */
uint32_t qmr_guard_uptime_s(void);

#endif
