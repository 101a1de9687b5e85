/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PSTORE_H
#define QMR_PSTORE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

/*
 * One file as pstore shows it (fs/pstore/inode.c: "<type>-<back end>-<id>[.enc.z]"), and how the records of one crash
 * become one text (fs/pstore/platform.c, pstore_dump()).
 */

#define QMR_RECORD_BYTES_MAX (1U << 20) /* one record, decompressed */
#define QMR_RECORDS_MAX 2048
#define QMR_RECORDS_BYTES_MAX (32U << 20) /* all records together */

struct qmr_record {
	char name[128];       /* in records/ */
	char source[24];      /* back end: efi, ramoops, erst, ... */
	int is_dump;          /* of kmsg_dump(): belongs to a crash */
	int joined;           /* written by systemd-pstore from several records: complete */
	uint64_t time_unix_s; /* when this record was written, 0 unknown */
	unsigned int count;   /* kernel's number of the dump in its boot */
	unsigned int part;    /* 1 is the newest text */
	char reason[16];      /* "Panic", "Oops", ...; empty: no header */
	char *data;
	size_t size;
	size_t header_bytes;  /* length of the header line in data */
};

/* All records of an incident. Zeroed is empty; release with _done. */
struct qmr_records {
	struct qmr_record *items;
	size_t n;
	size_t bytes;
};

/* Frees what a record owns and zeroes it; a zeroed one is fine. */
void qmr_record_done(struct qmr_record *record);

/* The same of all records, and the list. */
void qmr_records_done(struct qmr_records *records);

/*
 * Makes a record of a file's name and bytes: name parsed, decompressed if ".enc.z" (then the name loses it), header
 * parsed. mtime_unix_s is the time for back ends whose ids hold none (0: unknown). -EINVAL if the name is not pstore's,
 * -EBADMSG if it cannot be decompressed (*ret_record then holds the bytes as they are), -ENOMEM.
 */
int qmr_record_make(const char *name, const void *data, size_t size, uint64_t mtime_unix_s,
		    struct qmr_record *ret_record, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Takes over record (also on failure). The same record again is dropped and so is an empty one beside a full one; the
 * same name with other bytes gets ".2", ".3", ... -ENOSPC beyond the limits above.
 */
int qmr_records_add(struct qmr_records *records, struct qmr_record *record, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Reads the header line ("Panic#2 Part1") that line, of at most size bytes, begins with. Returns its length with the
 * newline, 0 if it is none (then nothing is set).
 */
size_t qmr_record_header(const char *line, size_t size, char ret_reason[16], unsigned int *ret_count,
			 unsigned int *ret_part);

/* Length of a record's name without the ".2" that qmr_records_add() may have given it. */
size_t qmr_record_stem(const char *name);

/* The records of one crash, joined. */
struct qmr_dump {
	char group[64];       /* "efi-<time><count>": incident.json's "group" */
	char source[24];
	uint64_t time_unix_s; /* 0 unknown */
	int panic;            /* the kernel said it was one */
	unsigned int parts, missing;
	char *text;           /* oldest line first, without headers; NUL-terminated */
	size_t size;
};

struct qmr_dumps {
	struct qmr_dump *items; /* oldest first */
	size_t n;
};

/* Frees the texts and the list and zeroes it; a zeroed one is fine. */
void qmr_dumps_done(struct qmr_dumps *dumps);

/*
 * Sorts records and joins those of each crash. Records of one crash carry the same back end and count, growing part
 * numbers and times at most 120 s apart: the kernel takes the time anew for each part, and firmware can be slow.
 */
int qmr_dumps_join(struct qmr_records *records, struct qmr_dumps *ret_dumps, struct qmr_error *err) QMR_MUST_CHECK;

#endif
