/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pstore.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "cleanup.h"

#define PART_GAP_S 120
#define INFLATE_START_BYTES 16384

/* Kinds of records: fs/pstore/platform.c, pstore_type_names[]. */
static const struct record_type {
	const char *prefix;
	int is_dump;
} record_types[] = {
	{"dmesg-", 1}, {"mce-", 0}, {"console-", 0}, {"pmsg-", 0}, {"ftrace-", 0}, {"rtas-", 0}, {"powerpc-", 0},
};

static void parse_efi_id(struct qmr_record *record, uint64_t id);
static void parse_number(struct qmr_record *record, uint64_t id);

/* Back ends that are known; others are read like the last one. */
static const struct back_end {
	const char *name;   /* in file names */
	const char *source; /* in incident.json */
	void (*parse_id)(struct qmr_record *record, uint64_t id);
} back_ends[] = {
	{"efi", "efi", parse_efi_id},
	{"efi_pstore", "efi", parse_efi_id}, /* the name since Linux 6.0 */
	{NULL, NULL, parse_number},
};

/* drivers/firmware/efi/efi-pstore.c, generic_id(): (time * 100 + part) * 1000 + count. */
static void parse_efi_id(struct qmr_record *record, uint64_t id)
{
	record->count = (unsigned int)(id % 1000);
	record->part = (unsigned int)(id / 1000 % 100);
	record->time_unix_s = id / 100000;
}

static void parse_number(struct qmr_record *record, uint64_t id)
{
	record->part = 1; /* unless the header says otherwise */
}

void qmr_record_done(struct qmr_record *record)
{
	free(record->data);
	memset(record, 0, sizeof(*record));
}

void qmr_records_done(struct qmr_records *records)
{
	for (size_t i = 0; i < records->n; i++)
		qmr_record_done(&records->items[i]);
	free(records->items);
	memset(records, 0, sizeof(*records));
}

void qmr_dumps_done(struct qmr_dumps *dumps)
{
	for (size_t i = 0; i < dumps->n; i++)
		free(dumps->items[i].text);
	free(dumps->items);
	memset(dumps, 0, sizeof(*dumps));
}

static int is_safe_name(const char *name)
{
	if (!*name || *name == '.' || strlen(name) >= 100)
		return 0;
	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("_-.", *p))
			return 0;
	return 1;
}

/* "dmesg-efi-179000000001001[.enc.z]" into type, back end and id. Returns 0 if it is not pstore's. */
static int parse_name(struct qmr_record *record)
{
	const struct back_end *back_end = back_ends;
	const struct record_type *type = NULL;
	const char *name = record->name, *last;
	size_t length;

	if (!is_safe_name(name))
		return 0;
	for (size_t i = 0; i < sizeof(record_types) / sizeof(*record_types) && !type; i++)
		if (!strncmp(name, record_types[i].prefix, strlen(record_types[i].prefix)))
			type = &record_types[i];
	last = strrchr(name, '-');
	if (!type || !isdigit((unsigned char)last[1]))
		return 0;
	name += strlen(type->prefix);
	if (last <= name || (size_t)(last - name) >= sizeof(record->source))
		return 0;
	length = (size_t)(last - name);
	memcpy(record->source, name, length);
	record->source[length] = '\0';
	record->is_dump = type->is_dump;
	while (back_end->name && strcmp(back_end->name, record->source))
		back_end++;
	if (back_end->source)
		snprintf(record->source, sizeof(record->source), "%s", back_end->source);
	back_end->parse_id(record, strtoull(last + 1, NULL, 10));
	return 1;
}

/* One attempt with zlib's window bits; 0 if it inflated to the end of the stream. */
static int inflate_as(int window_bits, const void *data, size_t size, char **ret_data, size_t *ret_size)
{
	size_t room = INFLATE_START_BYTES;
	cleanup_free char *out = NULL;
	z_stream stream = {.next_in = (unsigned char *)(uintptr_t)data, .avail_in = (unsigned int)size};
	int r;

	if (inflateInit2(&stream, window_bits) != Z_OK)
		return -ENOMEM;
	do {
		char *grown = realloc(out, room + 1);

		if (!grown) {
			inflateEnd(&stream);
			return -ENOMEM;
		}
		out = grown;
		stream.next_out = (unsigned char *)out + stream.total_out;
		stream.avail_out = (unsigned int)(room - stream.total_out);
		r = inflate(&stream, Z_NO_FLUSH);
		room *= 2;
	} while (r == Z_OK && stream.avail_out == 0 && room <= QMR_RECORD_BYTES_MAX);
	*ret_size = stream.total_out;
	inflateEnd(&stream);
	if (r != Z_STREAM_END)
		return -EBADMSG;
	out[*ret_size] = '\0';
	*ret_data = out;
	out = NULL;
	return 0;
}

size_t qmr_record_header(const char *line, size_t size, char ret_reason[16], unsigned int *ret_count,
			 unsigned int *ret_part)
{
	const char *newline = memchr(line, '\n', size < 64 ? size : 64);
	size_t length = newline ? (size_t)(newline - line) : 0;
	char copy[64], reason[16];
	unsigned int count, part;
	int used = 0;

	if (!newline)
		return 0;
	memcpy(copy, line, length);
	copy[length] = '\0';
	if (sscanf(copy, "%15[A-Za-z ]#%9u Part%9u%n", reason, &count, &part, &used) != 3)
		return 0;
	if (count > 999 || part > 9999 || (size_t)used != length)
		return 0;
	memcpy(ret_reason, reason, sizeof(reason));
	*ret_count = count;
	*ret_part = part;
	return length + 1;
}

/*
 * Raw deflate since Linux 4.18 (crypto/deflate.c, then lib/zlib), a zlib stream before it. Random bytes may be a short
 * deflate stream by chance, and then the record would be lost: what was compressed begins with the header.
 */
static int decompress(struct qmr_record *record, const void *data, size_t size, struct qmr_error *err)
{
	static const int window_bits[] = {-15, 15};
	unsigned int count, part;
	char reason[16];
	int r = -EBADMSG;

	for (size_t i = 0; i < 2 && r == -EBADMSG; i++) {
		r = inflate_as(window_bits[i], data, size, &record->data, &record->size);
		if (r == 0 && !qmr_record_header(record->data, record->size, reason, &count, &part)) {
			free(record->data);
			record->data = NULL;
			r = -EBADMSG;
		}
	}
	if (r < 0)
		return qmr_error_set(err, r, "decompressing '%s': %s", record->name,
				     r == -ENOMEM ? "out of memory" : "not a record in raw deflate or zlib, or too large");
	return 0;
}

static int take_bytes(struct qmr_record *record, const void *data, size_t size, struct qmr_error *err)
{
	record->data = malloc(size + 1);
	if (!record->data)
		return qmr_error_set(err, -ENOMEM, "reading '%s': out of memory", record->name);
	memcpy(record->data, data, size);
	record->data[size] = '\0';
	record->size = size;
	return 0;
}

int qmr_record_make(const char *name, const void *data, size_t size, uint64_t mtime_unix_s,
		    struct qmr_record *ret_record, struct qmr_error *err)
{
	static const char suffix[] = ".enc.z";
	struct qmr_record record = {0};
	size_t length = strlen(name), stem = length;
	int r, bad = 0;

	if (length > sizeof(suffix) - 1 && !strcmp(name + length - (sizeof(suffix) - 1), suffix))
		stem = length - (sizeof(suffix) - 1);
	if (length >= sizeof(record.name))
		return qmr_error_set(err, -EINVAL, "'%s' is not a crash record's name", name);
	memcpy(record.name, name, stem);
	if (!parse_name(&record))
		return qmr_error_set(err, -EINVAL, "'%s' is not a crash record's name", name);
	if (!record.time_unix_s)
		record.time_unix_s = mtime_unix_s;
	if (stem != length && size) {
		bad = decompress(&record, data, size, err);
		if (bad == -ENOMEM)
			return bad;
		if (bad < 0) {
			memcpy(record.name, name, length); /* kept as it is, and so named */
			record.is_dump = 0;
		}
	}
	if (!record.data) {
		r = take_bytes(&record, data, size, err);
		if (r < 0)
			return r;
	}
	record.header_bytes = qmr_record_header(record.data, record.size, record.reason, &record.count,
						&record.part);
	*ret_record = record;
	return bad;
}

static int same_bytes(const struct qmr_record *a, const struct qmr_record *b)
{
	return a->size == b->size && !memcmp(a->data, b->data, a->size);
}

size_t qmr_record_stem(const char *name)
{
	const char *dot = strchr(name, '.');

	return dot && isdigit((unsigned char)dot[1]) ? (size_t)(dot - name) : strlen(name);
}

static int same_stem(const struct qmr_record *a, const struct qmr_record *b)
{
	size_t n = qmr_record_stem(a->name);

	return n == qmr_record_stem(b->name) && !strncmp(a->name, b->name, n);
}

static int has_name(const struct qmr_records *records, const char *name)
{
	for (size_t i = 0; i < records->n; i++)
		if (!strcmp(records->items[i].name, name))
			return 1;
	return 0;
}

static int add_new(struct qmr_records *records, struct qmr_record *record, struct qmr_error *err)
{
	struct qmr_record *grown;
	char stem[128];

	if (records->n >= QMR_RECORDS_MAX || records->bytes + record->size > QMR_RECORDS_BYTES_MAX)
		return qmr_error_set(err, -ENOSPC, "more crash records than %u or %u MiB", QMR_RECORDS_MAX,
				     QMR_RECORDS_BYTES_MAX >> 20);
	snprintf(stem, sizeof(stem), "%.*s", (int)qmr_record_stem(record->name), record->name);
	for (unsigned int i = 2; has_name(records, record->name); i++)
		if (snprintf(record->name, sizeof(record->name), "%.110s.%u", stem, i) >= (int)sizeof(record->name))
			return qmr_error_set(err, -ENAMETOOLONG, "no name left for record '%s'", stem);
	grown = realloc(records->items, (records->n + 1) * sizeof(*grown));
	if (!grown)
		return qmr_error_set(err, -ENOMEM, "keeping record '%s': out of memory", record->name);
	records->items = grown;
	records->items[records->n++] = *record;
	records->bytes += record->size;
	return 0;
}

int qmr_records_add(struct qmr_records *records, struct qmr_record *record, struct qmr_error *err)
{
	int r;

	for (size_t i = 0; i < records->n; i++) {
		struct qmr_record *other = &records->items[i];

		if (!same_stem(other, record) || (!same_bytes(other, record) && record->size && other->size))
			continue;
		if (!other->size && record->size) { /* the copy was cut to nothing, this is the record */
			char *data = other->data;

			other->data = record->data;
			other->size = record->size;
			memcpy(other->reason, record->reason, sizeof(other->reason));
			other->count = record->count;
			other->part = record->part;
			other->header_bytes = record->header_bytes;
			records->bytes += record->size;
			record->data = data;
		} else if (!other->time_unix_s || (record->time_unix_s && record->time_unix_s < other->time_unix_s)) {
			other->time_unix_s = record->time_unix_s; /* a copy's time is that of the copying */
		}
		qmr_record_done(record);
		return 0;
	}
	r = add_new(records, record, err);
	if (r < 0)
		qmr_record_done(record);
	return r;
}

static int is_text(const struct qmr_record *record)
{
	return record->is_dump && record->size > 0;
}

/* What belongs to no dump last; back end; then dumps in the order they were written. */
static int compare_records(const void *a_, const void *b_)
{
	const struct qmr_record *a = a_, *b = b_;
	int r = is_text(a) != is_text(b) ? is_text(b) - is_text(a) : strcmp(a->source, b->source);

	if (r)
		return r;
	if (a->count != b->count)
		return a->count < b->count ? -1 : 1;
	if (a->time_unix_s != b->time_unix_s)
		return a->time_unix_s < b->time_unix_s ? -1 : 1;
	if (a->part != b->part)
		return a->part < b->part ? -1 : 1;
	if (a->size != b->size) /* of two forms of one part the longer one is used */
		return a->size > b->size ? -1 : 1;
	return strcmp(a->name, b->name);
}

static int is_same_part(const struct qmr_record *a, const struct qmr_record *b)
{
	return a->part == b->part && a->time_unix_s == b->time_unix_s && !strcmp(a->source, "efi");
}

static int begins_dump(const struct qmr_record *last, const struct qmr_record *record)
{
	if (strcmp(last->source, record->source) || last->count != record->count || last->joined || record->joined)
		return 1;
	if (is_same_part(last, record))
		return 0;
	return record->part <= last->part || record->time_unix_s - last->time_unix_s > PART_GAP_S ||
	       (last->reason[0] && record->reason[0] && strcmp(last->reason, record->reason));
}

static void name_dump(struct qmr_dump *dump, const struct qmr_record *first)
{
	snprintf(dump->source, sizeof(dump->source), "%s", first->source);
	dump->time_unix_s = first->time_unix_s;
	if (!strcmp(first->source, "efi"))
		snprintf(dump->group, sizeof(dump->group), "efi-%llu%02u", (unsigned long long)first->time_unix_s,
			 first->count);
	else if (first->joined)
		snprintf(dump->group, sizeof(dump->group), "%s-%llu", first->source,
			 (unsigned long long)first->time_unix_s);
	else
		snprintf(dump->group, sizeof(dump->group), "%s-%llu", strchr(first->name, '-') + 1,
			 (unsigned long long)first->time_unix_s);
}

static void append_part(struct qmr_dump *dump, const struct qmr_record *record)
{
	size_t n = record->size - record->header_bytes;

	memcpy(dump->text + dump->size, record->data + record->header_bytes, n);
	dump->size += n;
	if (n && dump->text[dump->size - 1] != '\n')
		dump->text[dump->size++] = '\n';
	dump->parts++;
	if (!strcmp(record->reason, "Panic"))
		dump->panic = 1;
}

/* Parts are numbered from the newest text on, so the last of the group comes first. */
static int join_group(const struct qmr_record *first, size_t n, struct qmr_dump *dump, struct qmr_error *err)
{
	size_t room = 1;

	for (size_t i = 0; i < n; i++)
		room += first[i].size + 1;
	dump->text = malloc(room);
	if (!dump->text)
		return qmr_error_set(err, -ENOMEM, "joining a dump: out of memory");
	name_dump(dump, first);
	for (size_t i = n; i-- > 0;)
		if (i == 0 || !is_same_part(&first[i - 1], &first[i]))
			append_part(dump, &first[i]);
	dump->text[dump->size] = '\0';
	if (first[n - 1].part > dump->parts)
		dump->missing = first[n - 1].part - dump->parts;
	return 0;
}

static int compare_dumps(const void *a_, const void *b_)
{
	const struct qmr_dump *a = a_, *b = b_;

	if (a->time_unix_s != b->time_unix_s)
		return a->time_unix_s < b->time_unix_s ? -1 : 1;
	return strcmp(a->group, b->group);
}

int qmr_dumps_join(struct qmr_records *records, struct qmr_dumps *ret_dumps, struct qmr_error *err)
{
	struct qmr_dumps dumps = {.items = calloc(records->n + 1, sizeof(*dumps.items))};
	const struct qmr_record *all = records->items;

	if (!dumps.items)
		return qmr_error_set(err, -ENOMEM, "joining dumps: out of memory");
	if (records->n)
		qsort(records->items, records->n, sizeof(*records->items), compare_records);
	for (size_t i = 0, n; i < records->n && is_text(&all[i]); i += n) {
		int r;

		for (n = 1; i + n < records->n && is_text(&all[i + n]); n++)
			if (begins_dump(&all[i + n - 1], &all[i + n]))
				break;
		r = join_group(&all[i], n, &dumps.items[dumps.n], err);
		if (r < 0) {
			qmr_dumps_done(&dumps);
			return r;
		}
		dumps.n++;
	}
	qsort(dumps.items, dumps.n, sizeof(*dumps.items), compare_dumps);
	*ret_dumps = dumps;
	return 0;
}
