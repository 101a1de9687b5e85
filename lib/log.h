/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_LOG_H
#define QMR_LOG_H

/*
 * Messages go to standard error as "part: text". Under journald a "<N>" level prefix is added, which
 * sd-daemon(3) defines; in the initramfs and in recovery they also go to /dev/kmsg when asked.
 */

enum qmr_log_level { QMR_LOG_ERROR = 3, QMR_LOG_WARNING = 4, QMR_LOG_NOTICE = 5, QMR_LOG_INFO = 6, QMR_LOG_DEBUG = 7 };

/* part is kept by reference. kmsg: also write to /dev/kmsg, which a crash record then holds. */
void qmr_log_open(const char *part, int kmsg);

/* Writes one line; level above the limit (default INFO) is dropped. Keeps errno. */
void qmr_log(enum qmr_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define qmr_error_log(...) qmr_log(QMR_LOG_ERROR, __VA_ARGS__)
#define qmr_warning(...) qmr_log(QMR_LOG_WARNING, __VA_ARGS__)
#define qmr_notice(...) qmr_log(QMR_LOG_NOTICE, __VA_ARGS__)
#define qmr_info(...) qmr_log(QMR_LOG_INFO, __VA_ARGS__)

#endif
