/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "luks.h"

/* A disk that begins with a LUKS2 header of that size (the specification's field) around this JSON.
 */
static int make_disk(uint64_t area, const char *json)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);
	uint8_t binary[4096] = "LUKS\xba\xbe\0\2";

	for (int i = 0; i < 8; i++)
		binary[8 + i] = (uint8_t)(area >> (56 - 8 * i));
	assert_int_equal(write(fd, binary, sizeof(binary)), sizeof(binary));
	assert_int_equal(write(fd, json, strlen(json)), strlen(json));
	assert_int_equal(ftruncate(fd, 0x8000), 0);
	return fd;
}

static int find(uint64_t area, const char *json, uint32_t *ret_pcrs)
{
	int fd = make_disk(area, json), r;

	*ret_pcrs = 0;
	r = qmr_luks_find_tpm(fd, "disk", ret_pcrs, NULL);
	close(fd);
	return r;
}

/* Wraps one token as cryptsetup writes it. */
static int find_token(const char *token, uint32_t *ret_pcrs)
{
	char json[8192];

	assert_true(snprintf(json, sizeof(json),
			     "{\"keyslots\":{},\"tokens\":{\"0\":%s},\"segments\":{}}",
			     token) < (int)sizeof(json));
	return find(0x4000, json, ret_pcrs);
}

#define SYSTEMD "{\"type\":\"systemd-tpm2\",\"keyslots\":[\"1\"],\"tpm2-blob\":\"AAAA\","

static void test_systemd(void **state)
{
	static const struct {
		const char *token;
		uint32_t pcrs;
	} cases[] = {
		{SYSTEMD "\"tpm2-pcrs\":[7],\"tpm2-pin\":false}", QMR_PCR(7)},
		{SYSTEMD "\"tpm2-pcrs\":[1,4,23]}", QMR_PCR(1) | QMR_PCR(4) | QMR_PCR(23)},
		{SYSTEMD "\"tpm2-pcrs\":[]}", 0},
		{SYSTEMD "\"tpm2-pcrs\":[7],\"tpm2_pubkey_pcrs\":[11]}", QMR_PCR(7) | QMR_PCR(11)},
		{SYSTEMD "\"tpm2-pcrs\":[],\"tpm2_pcrlock\":false}", 0},
		{SYSTEMD "\"tpm2-pcrs\":[],\"tpm2_pcrlock\":true}", QMR_PCRS_UNKNOWN},
		{SYSTEMD "\"tpm2-pcrs\":[24]}", QMR_PCRS_UNKNOWN},
		{SYSTEMD "\"tpm2-pcrs\":[-1]}", QMR_PCRS_UNKNOWN},
		{SYSTEMD "\"tpm2-pcrs\":[\"7\"]}", QMR_PCRS_UNKNOWN},
		{SYSTEMD "\"tpm2-pcrs\":7}", QMR_PCRS_UNKNOWN},
		{"{\"type\":\"systemd-tpm2\"}", QMR_PCRS_UNKNOWN},
	};
	uint32_t pcrs;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(find_token(cases[i].token, &pcrs), 1);
		assert_int_equal(pcrs, cases[i].pcrs);
	}
}

static void encode(const char *text, char *ret)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i += 3) {
		uint32_t b = (uint32_t)(uint8_t)text[i] << 16;
		size_t left = n - i < 3 ? n - i : 3;

		if (left > 1)
			b |= (uint32_t)(uint8_t)text[i + 1] << 8;
		if (left > 2)
			b |= (uint8_t)text[i + 2];
		for (size_t k = 0; k <= left; k++)
			*ret++ = digits[b >> (18 - 6 * k) & 63];
	}
	*ret = '\0';
}

static int find_clevis(const char *header, uint32_t *ret_pcrs)
{
	char encoded[4096], token[5000];

	encode(header, encoded);
	snprintf(token, sizeof(token),
		 "{\"type\":\"clevis\",\"keyslots\":[\"2\"],\"jwe\":{\"ciphertext\":\"x\","
		 "\"protected\":\"%s\"}}",
		 encoded);
	return find_token(token, ret_pcrs);
}

static void test_clevis(void **state)
{
	static const struct {
		const char *header;
		int found;
		uint32_t pcrs;
	} cases[] = {
		{"{\"alg\":\"dir\",\"clevis\":{\"pin\":\"tpm2\",\"tpm2\":{\"pcr_bank\":\"sha256\","
		 "\"pcr_ids\":\"1,7\"}}}",
		 1, QMR_PCR(1) | QMR_PCR(7)},
		{"{\"clevis\":{\"pin\":\"tpm2\",\"tpm2\":{\"pcr_ids\":[4]}}}", 1, QMR_PCR(4)},
		{"{\"clevis\":{\"pin\":\"tpm2\",\"tpm2\":{}}}", 1, 0},
		{"{\"clevis\":{\"pin\":\"tpm2\",\"tpm2\":{\"pcr_ids\":\"7;9\"}}}", 1,
		 QMR_PCRS_UNKNOWN},
		{"{\"clevis\":{\"pin\":\"tpm2\",\"tpm2\":{\"pcr_ids\":\"99\"}}}", 1,
		 QMR_PCRS_UNKNOWN},
		{"{\"clevis\":{\"pin\":\"tang\",\"tang\":{\"url\":\"http://x\"}}}", 0, 0},
		{"{\"clevis\":{\"pin\":\"future\"}}", 1, QMR_PCRS_UNKNOWN},
		{"{\"alg\":\"dir\"}", 1, QMR_PCRS_UNKNOWN},
		{"no json", 1, QMR_PCRS_UNKNOWN},
		{"", 1, QMR_PCRS_UNKNOWN},
	};
	uint32_t pcrs;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(find_clevis(cases[i].header, &pcrs), cases[i].found);
		assert_int_equal(pcrs, cases[i].pcrs);
	}
	assert_int_equal(find_token("{\"type\":\"clevis\"}", &pcrs), 1);
	assert_int_equal(pcrs, QMR_PCRS_UNKNOWN);
	assert_int_equal(
		find_token("{\"type\":\"clevis\",\"jwe\":{\"protected\":\"a+b/\"}}", &pcrs), 1);
	assert_int_equal(pcrs, QMR_PCRS_UNKNOWN);
}

/* Shares (sss) hold other pins, each a JWE of its own; a server beside a TPM does not hide the TPM.
 */
static void test_clevis_shares(void **state)
{
	char server[512], tpm[512], header[3500], nested[3500];
	uint32_t pcrs;

	encode("{\"clevis\":{\"pin\":\"tang\"}}", server);
	encode("{\"clevis\":{\"pin\":\"tpm2\",\"tpm2\":{\"pcr_ids\":\"9\"}}}", tpm);
	snprintf(header, sizeof(header),
		 "{\"clevis\":{\"pin\":\"sss\",\"sss\":{\"t\":1,\"jwe\":[\"%s.k.i.c.t\",\"%s..i.c."
		 "t\"]}}}",
		 server, tpm);
	assert_int_equal(find_clevis(header, &pcrs), 1);
	assert_int_equal(pcrs, QMR_PCR(9));
	for (int depth = 0; depth < 6; depth++) {
		char inner[2500];

		assert_true(snprintf(inner, sizeof(inner),
				     "{\"clevis\":{\"pin\":\"sss\",\"sss\":{\"jwe\":[\"%s\"]}}}",
				     depth ? nested : server) < (int)sizeof(inner));
		encode(inner, nested);
		assert_int_equal(find_clevis(inner, &pcrs), depth < 4 ? 0 : 1);
		assert_int_equal(pcrs, depth < 4 ? 0 : QMR_PCRS_UNKNOWN);
	}
}

static void test_other_disks(void **state)
{
	static const char empty[] = "{\"keyslots\":{},\"tokens\":{}}";
	int fd = memfd_create("disk", MFD_CLOEXEC);
	uint32_t pcrs = 5;

	assert_int_equal(qmr_luks_find_tpm(fd, "disk", &pcrs, NULL), 0);
	assert_int_equal(ftruncate(fd, 0x8000), 0);
	assert_int_equal(qmr_luks_find_tpm(fd, "disk", &pcrs, NULL), 0);
	assert_int_equal(pwrite(fd, "LUKS\xba\xbe\0\1", 8, 0), 8);
	assert_int_equal(qmr_luks_find_tpm(fd, "disk", &pcrs, NULL), 0);
	assert_int_equal(pcrs, 5);
	close(fd);
	assert_int_equal(qmr_luks_find_tpm(fd, "disk", &pcrs, NULL), -EBADF);
	assert_int_equal(find(0x4000, empty, &pcrs), 0);
	assert_int_equal(find(0x4000, "{\"keyslots\":{}}", &pcrs), 0);
	assert_int_equal(find_token("{\"type\":\"systemd-fido2\"},\"1\":{\"type\":\"systemd-"
				    "recovery\"},\"2\":7",
				    &pcrs),
			 0);
	assert_int_equal(
		find_token(SYSTEMD "\"tpm2-pcrs\":[7]},\"1\":" SYSTEMD "\"tpm2-pcrs\":[9]}", &pcrs),
		2);
	assert_int_equal(pcrs, QMR_PCR(7) | QMR_PCR(9));
}

static void test_damaged(void **state)
{
	static const uint64_t sizes[] = {0,        0x1000,     0x2000,    0x5000,
					 0x800000, UINT64_MAX, 1ULL << 63};
	static const char empty[] = "{\"tokens\":{}}";
	uint32_t pcrs;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		assert_int_equal(find(sizes[i], empty, &pcrs), -EBADMSG);
	assert_int_equal(find(0x400000, empty, &pcrs),
			 0); /* the disk is shorter than its header says */
	assert_int_equal(find(0x4000, "", &pcrs), -EBADMSG);
	assert_int_equal(find(0x4000, "{\"tokens\":{}", &pcrs), -EBADMSG);
	assert_int_equal(find(0x4000, "[]", &pcrs), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_systemd),       cmocka_unit_test(test_clevis),
		cmocka_unit_test(test_clevis_shares), cmocka_unit_test(test_other_disks),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
