/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "luks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "cleanup.h"
#include "json.h"

#define HEADER_BYTES 4096 /* the binary part; JSON text follows */
#define AREA_BYTES_MIN 0x4000
#define AREA_BYTES_MAX 0x400000
#define PCRS 24
#define JWE_BYTES_MAX 16384
#define JWE_DEPTH_MAX 4 /* of pins within pins */

/* What one token says; more than one finding adds up. */
struct finding {
	int is_tpm;
	uint32_t pcrs;
};

static void find_unknown(struct finding *f)
{
	*f = (struct finding){1, QMR_PCRS_UNKNOWN};
}

/* An array of register numbers. A missing one is none at all where that is allowed. */
static void add_pcr_array(const json_t *array, int may_be_missing, struct finding *f)
{
	size_t i;
	json_t *number;

	if (!array && may_be_missing)
		return;
	if (!json_is_array(array)) {
		find_unknown(f);
		return;
	}
	json_array_foreach (array, i, number) {
		json_int_t n = json_is_integer(number) ? json_integer_value(number) : -1;

		f->pcrs |= n >= 0 && n < PCRS ? QMR_PCR(n) : QMR_PCRS_UNKNOWN;
	}
}

/* The second list is of registers whose values are signed: whoever makes a new initramfs has to
 * sign again. */
static void examine_systemd(const json_t *token, struct finding *f)
{
	f->is_tpm = 1;
	add_pcr_array(json_object_get(token, "tpm2-pcrs"), 0, f);
	add_pcr_array(json_object_get(token, "tpm2_pubkey_pcrs"), 1, f);
	if (json_is_true(json_object_get(token,
					 "tpm2_pcrlock"))) /* the policy is in the TPM, not here */
		find_unknown(f);
}

/* RFC 4648, 5, without padding. Returns the length or -EBADMSG. */
static ssize_t decode_base64url(const char *text, size_t length, char *ret, size_t size)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	size_t n_bits = 0, used = 0;

	for (size_t i = 0; i < length; i++) {
		const char *digit = text[i] ? strchr(digits, text[i]) : NULL;

		if (!digit || used == size)
			return -EBADMSG;
		bits = (bits << 6 | (uint32_t)(digit - digits)) & 0xffff;
		n_bits += 6;
		if (n_bits < 8)
			continue;
		n_bits -= 8;
		ret[used++] = (char)(bits >> n_bits);
	}
	return (ssize_t)used;
}

static void examine_clevis(const char *header, int depth, struct finding *f);

/* "1,7", or an array of numbers; missing: sealed, but to no register. */
static void examine_clevis_tpm(const json_t *settings, struct finding *f)
{
	const json_t *ids = json_object_get(settings, "pcr_ids");
	const char *text = json_string_value(ids);

	f->is_tpm = 1;
	if (!text) {
		add_pcr_array(ids, 1, f);
		return;
	}
	while (*text) {
		char *end;
		unsigned long n = strtoul(text, &end, 10);

		if (end == text || n >= PCRS || (*end && *end != ',')) {
			find_unknown(f);
			return;
		}
		f->pcrs |= QMR_PCR(n);
		text = end + (*end == ',');
	}
}

static void examine_clevis_shares(const json_t *settings, int depth, struct finding *f)
{
	const json_t *shares = json_object_get(settings, "jwe");
	size_t i;
	json_t *share;

	if (!json_is_array(shares) || depth == JWE_DEPTH_MAX) {
		find_unknown(f);
		return;
	}
	json_array_foreach (shares, i, share)
		examine_clevis(json_string_value(share), depth + 1, f);
}

/* The protected header of a JWE (RFC 7516, 3), alone or with the rest of its compact form behind
 * it. NULL: there is none. */
static void examine_clevis(const char *header, int depth, struct finding *f)
{
	cleanup_json json_t *json = NULL;
	cleanup_free char *text = malloc(JWE_BYTES_MAX);
	const json_t *clevis;
	const char *pin;
	ssize_t size = header && text
			       ? decode_base64url(header, strcspn(header, "."), text, JWE_BYTES_MAX)
			       : -EBADMSG;

	if (size < 0 || qmr_json_parse("clevis", text, (size_t)size, &json, NULL) < 0) {
		find_unknown(f);
		return;
	}
	clevis = json_object_get(json, "clevis");
	pin = qmr_json_string(clevis, "pin");
	if (pin && !strcmp(pin, "tpm2"))
		examine_clevis_tpm(json_object_get(clevis, "tpm2"), f);
	else if (pin && !strcmp(pin, "sss"))
		examine_clevis_shares(json_object_get(clevis, "sss"), depth, f);
	else if (!pin ||
		 strcmp(pin,
			"tang")) /* a server on the network does not ask how this machine booted */
		find_unknown(f);
}

static int examine_tokens(const json_t *header, uint32_t *ret_pcrs)
{
	const char *key;
	json_t *token;
	int found = 0;

	*ret_pcrs = 0;
	json_object_foreach (json_object_get(header, "tokens"), key, token) {
		const char *type = qmr_json_string(token, "type");
		struct finding f = {0};

		if (type && !strcmp(type, "systemd-tpm2"))
			examine_systemd(token, &f);
		else if (type && !strcmp(type, "clevis"))
			examine_clevis(qmr_json_string(json_object_get(token, "jwe"), "protected"),
				       0, &f);
		found += f.is_tpm;
		*ret_pcrs |= f.pcrs;
	}
	return found;
}

/* Returns how much was there, which is less than size at the end only. */
static ssize_t read_at(int fd, uint64_t offset, void *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, (char *)data + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static uint64_t get_be(const uint8_t *bytes, int n)
{
	uint64_t value = 0;

	while (n-- > 0)
		value = value << 8 | *bytes++;
	return value;
}

int qmr_luks_find_tpm(int fd, const char *name, uint32_t *ret_pcrs, struct qmr_error *err)
{
	cleanup_json json_t *json = NULL;
	cleanup_free char *text = NULL;
	struct qmr_error why = {0};
	uint8_t binary[16];
	uint64_t area;
	uint32_t pcrs;
	ssize_t n = read_at(fd, 0, binary, sizeof(binary));
	int found;

	if (n < 0)
		return qmr_error_errno(err, (int)n, "reading '%s'", name);
	if (n < (ssize_t)sizeof(binary) || memcmp(binary, "LUKS\xba\xbe", 6) ||
	    get_be(binary + 6, 2) != 2)
		return 0; /* LUKS1 has no tokens, and what is sealed elsewhere for it cannot be seen
			     here */
	area = get_be(binary + 8, 8);
	if (area < AREA_BYTES_MIN || area > AREA_BYTES_MAX || (area & (area - 1)))
		return qmr_error_set(err, -EBADMSG, "the LUKS2 header of '%s' is damaged: its size",
				     name);
	text = malloc(area - HEADER_BYTES);
	if (!text)
		return qmr_error_errno(err, -ENOMEM, "reading the LUKS2 header of '%s'", name);
	n = read_at(fd, HEADER_BYTES, text, area - HEADER_BYTES);
	if (n < 0)
		return qmr_error_errno(err, (int)n, "reading the LUKS2 header of '%s'", name);
	/*
	 * The checksum is not looked at: a header that was written in part reads as JSON or it does
	 * not, and is then reported. Which of the two copies cryptsetup would take does not matter,
	 * since a finding stops people, not disks.
	 */
	if (qmr_json_parse(name, text, strnlen(text, (size_t)n), &json, &why) < 0)
		return qmr_error_set(err, -EBADMSG, "the LUKS2 header of '%s' is damaged: %s", name,
				     why.text);
	found = examine_tokens(json, &pcrs);
	*ret_pcrs = pcrs;
	return found;
}
