/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_CONFIG_H
#define QMR_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define QMR_CONFIG_PATH "/etc/qmr/qmr.conf"
#define QMR_CONFIG_PATHS_MAX 64
#define QMR_CONFIG_LABELS_MAX 16
#define QMR_CONFIG_LABEL 64 /* with NUL */
#define QMR_CONFIG_SOURCES_MAX 8

enum qmr_mode { QMR_MODE_OFF, QMR_MODE_OBSERVE, QMR_MODE_COLLECT, QMR_MODE_ASK, QMR_MODE_AUTOMATIC };
enum qmr_protected { QMR_PROTECTED_MODULE, QMR_PROTECTED_PACKAGE, QMR_PROTECTED_PATH };
enum qmr_final { QMR_FINAL_BOOT, QMR_FINAL_HALT, QMR_FINAL_MENU };

/* What only a signed plan that names it may touch. */
struct qmr_protection {
	int type; /* enum qmr_protected */
	char name[192];
};

/* Plans are applied by machines with this label when they are so old; "*": machines none of whose labels has an age. */
struct qmr_minimum_age {
	char label[QMR_CONFIG_LABEL];
	int hours;
};

/* Configuration and policy, docs/qmr.conf(5). Fixed size: it is read in the initramfs and by PID 1. */
struct qmr_config {
	/* [policy] */
	int mode;               /* enum qmr_mode, default observe */
	int failures;           /* counted failures in a row that start recovery, default 2 */
	int crashes_after_healthy; /* crashes soon after healthy in a row that start recovery, default 2, 0: never */
	int crash_window_s;     /* what is soon, in seconds of uptime, default 120 */
	int unknowns;           /* boots in a row that ended without evidence, default 4, 0: never */
	int boot_deadline_s;    /* until boot-complete.target, paused while somebody is asked; default 900, 0: none */
	int emergency_timeout_s; /* a failed boot waits so long for a key, then restarts; default 300, 0: for ever */
	int recovery_runs;      /* recovery runs per incident, default 3 */
	int panic_timeout_s;    /* kernel.panic where it is 0, default 10 */
	int stability_s;        /* from boot-complete to healthy, default 120 */
	int cancel_s;           /* countdown on the console, default 10 */
	int local_rollback;     /* may revert the culprit without a signed plan, default 0 */
	int vaccinate;          /* a healthy machine takes plans that match it, default 0 */
	int final;              /* enum qmr_final, default boot */
	int menu_timeout_s;     /* the menu of final = menu, default 600, then halt */
	struct qmr_protection protect[QMR_CONFIG_PATHS_MAX]; /* [policy] protect, may be given several times */
	size_t n_protect;
	/* [fleet], each may be given several times */
	char label[QMR_CONFIG_LABELS_MAX][QMR_CONFIG_LABEL]; /* groups that this machine belongs to */
	size_t n_label;
	struct qmr_minimum_age minimum_age[QMR_CONFIG_LABELS_MAX];
	size_t n_minimum_age;
	/* [checks] */
	int check_deadline_s;   /* [checks] deadline, of each attempt, default 60 */
	int check_attempts;     /* [checks] attempts of a required check, default 3 */
	int check_pause_s;      /* [checks] pause between attempts, default 5 */
	/* [watch] */
	char watch[QMR_CONFIG_PATHS_MAX][256]; /* [watch] path, may be given several times */
	size_t n_watch;
	int watch_keep;             /* restore points kept, default 2 */
	int watch_file_max_mib;     /* larger files are not copied, default 16 */
	int watch_total_max_mib;    /* per restore point, default 256 */
	/* [watchdog] */
	int watchdog_arm;           /* the hardware watchdog may be used, from mode collect on; default 1 */
	int watchdog_s;             /* its timeout in initramfs and recovery, default 120 */
	int watchdog_runtime_s;     /* systemd's, where the owner chose none, default 60 */
	/* [upload], [repository] */
	char upload_url[512];       /* empty: nothing is uploaded */
	char upload_certificate[256]; /* PEM, bundles are encrypted to it; default /etc/qmr/trust/upload-cert.pem */
	char repository_url[QMR_CONFIG_SOURCES_MAX][192]; /* tried in order; the first empty: no signed remediation */
	size_t n_repository_urls;
	char repository_root[256];  /* default /etc/qmr/trust/root.json */
	char ca[256];               /* [network] ca, PEM; default /etc/qmr/trust/ca.pem */
	char proxy[192];            /* [network] proxy; empty: the environment's */
	char proxy_user[256];       /* its file of "user:password"; default /etc/qmr/secrets/proxy-user */
	char client[256];           /* PEM file of a client's certificate and key; default /etc/qmr/secrets/client.pem */
	int stall_s;                /* [network] stall, an attempt to fetch without progress for so long is given up, default 20 */
	int network_s;              /* [network] timeout, deadline for an address, default 60 */
	int transfer_s;             /* [network] transfer_timeout, deadline for one upload or fetch, default 300 */
	/* [requests] */
	int requests_poll;          /* requests of the repository are followed, default 0 */
	int requests_per_day;       /* begun in 24 hours at most, default 1 */
	/* [loader] */
	int loader_tries;           /* full count of boot counters, default 5, 0: leave counters alone */
	/* [image] */
	char image_cmdline[512];    /* appended to the recovery image's kernel command line */
	/* [machine], machine.conf baked into the recovery image */
	char root_uuid[64];
	char root_fstype[32];
	char esp_uuid[64];
	int64_t built_unix_s;       /* [machine] built, when the recovery image was; 0: not known, or this is none */
	int machine_tries;          /* boot counters are kept on this machine's entries; full count, 0: they are not */
	int tries_added;            /* /etc/kernel/tries is qmrctl install's, not the owner's */
	int panic_added;            /* panic= on the kernel command line is qmrctl install's, not the owner's */
	int systemd_boot;           /* qmrctl install found it on the ESP */
	char machine_kernel[64];
};

/*
 * Fills config with the defaults, which are safe: mode observe, nothing sent, nothing fetched, nothing
 * reverted.
 */
void qmr_config_defaults(struct qmr_config *config);

/*
 * Reads path, then every *.conf of "conf.d" beside it in order of name, then "machine.conf" beside it if there
 * is one. A missing file is fine. On a malformed line returns -EINVAL with "file:line: [section] key: why"
 * and config holds the defaults: callers in the boot path go on with them, all others stop.
 */
int qmr_config_load(const char *path, struct qmr_config *ret_config, struct qmr_error *err) QMR_MUST_CHECK;

/* 1 if a [repository] url begins so ("https:", "media:"). */
int qmr_config_has_source(const struct qmr_config *config, const char *begin);

/* The words used in files and logs, each "invalid" outside its range. */
const char *qmr_mode_name(int mode);
const char *qmr_final_name(int final);

#endif
