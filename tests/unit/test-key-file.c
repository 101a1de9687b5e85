/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "file.h"
#include "key-file.h"

static int open_folder(void **state)
{
	char path[] = "/tmp/test-key-file-XXXXXX";
	int *fd = malloc(sizeof(*fd));

	if (!fd || !mkdtemp(path))
		return -1;
	*fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = fd;
	setsid(); /* no terminal: nothing here may wait for a person */
	return *fd < 0 ? -1 : symlinkat(path, *fd, "path");
}

static int remove_folder(void **state)
{
	char path[64] = "";
	int *fd = *state;
	int r = readlinkat(*fd, "path", path, sizeof(path) - 1) < 0
			? -1
			: qmr_file_remove_tree(AT_FDCWD, path, NULL);

	close(*fd);
	free(fd);
	return r;
}

static void put(int fd, const char *name, const char *text, mode_t mode)
{
	assert_int_equal(qmr_file_replace(fd, name, text, strlen(text), mode, NULL), 0);
}

static struct qmr_passphrase phrase(const char *text)
{
	struct qmr_passphrase passphrase = {.size = strlen(text)};

	strcpy(passphrase.text, text);
	return passphrase;
}

/* RFC 8032, section 7.1, test 3, as openssl pkey writes its key. */
static const char known_pem[] = "-----BEGIN PRIVATE KEY-----\n"
				"MC4CAQAwBQYDK2VwBCIEIMWqjfQ/n4N77bdELzHct7Fm04U1B28JS4XOOi4LRFj3\n"
				"-----END PRIVATE KEY-----\n";
static const char known_public[] =
	"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025";
static const char known_signature[] =
	"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
	"18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";

static void a_known_key_signs_as_the_standard_says(void **state)
{
	char signature[QMR_KEY_SIGNATURE_HEX];
	struct qmr_passphrase none = {0};
	struct qmr_key key = {0};
	int fd = *(int *)*state;

	put(fd, "known.pem", known_pem, 0600);
	assert_int_equal(qmr_key_load(fd, "known.pem", &none, &key, NULL), 0);
	assert_string_equal(json_string_value(json_object_get(json_object_get(key.public, "keyval"), "public")), known_public);
	/*
	 * printf '{"keytype":"ed25519","keyval":{"public":"fc51…"},"scheme":"ed25519"}' | sha256sum
	 */
	assert_string_equal(key.id,
			    "e45b8d1fab21a7a7550adbca559eade41e36a398f14a577f8766ec32bf237101");
	assert_int_equal(qmr_key_sign(&key, "\xaf\x82", 2, signature, NULL), 0);
	assert_string_equal(signature, known_signature);
	assert_true(qmr_key_verify(key.public, signature, "\xaf\x82", 2));
	assert_false(qmr_key_verify(key.public, signature, "\xaf\x83", 2));
	signature[127] ^= 1;
	assert_false(qmr_key_verify(key.public, signature, "\xaf\x82", 2));
	assert_false(qmr_key_verify(key.public, "", "\xaf\x82", 2));
	qmr_key_done(&key);
	qmr_key_done(&key);
}

/* Takes the reference to pkey. */
static int load_made(int fd, EVP_PKEY *pkey, struct qmr_key *ret_key)
{
	struct qmr_passphrase none = {0};
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem;

	assert_int_equal(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(BIO_write(bio, "", 1), 1);
	BIO_get_mem_data(bio, &pem);
	put(fd, "made.pem", pem, 0600);
	BIO_free(bio);
	EVP_PKEY_free(pkey);
	return qmr_key_load(fd, "made.pem", &none, ret_key, NULL);
}

static void keys_of_other_kinds_sign_what_machines_verify(void **state)
{
	EVP_PKEY *good[] = {EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"), EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)};
	EVP_PKEY *bad[] = {EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384"), EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024),
			   EVP_PKEY_Q_keygen(NULL, NULL, "ED448")};
	static const char *const schemes[] = {"ecdsa-sha2-nistp256", "rsassa-pss-sha256"};
	char signature[QMR_KEY_SIGNATURE_HEX];
	struct qmr_key key = {0};
	int fd = *(int *)*state;

	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(load_made(fd, good[i], &key), 0);
		assert_string_equal(json_string_value(json_object_get(key.public, "scheme")), schemes[i]);
		assert_int_equal(qmr_key_sign(&key, "text", 4, signature, NULL), 0);
		assert_true(qmr_key_verify(key.public, signature, "text", 4));
		assert_false(qmr_key_verify(key.public, signature, "test", 4));
		qmr_key_done(&key);
	}
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(load_made(fd, bad[i], &key), -EBADMSG);
	assert_null(key.pkey);
}

static void what_is_saved_is_loaded(void **state)
{
	struct qmr_passphrase right = phrase("correct horse"), wrong = phrase("wrong horse"),
			      none = {0};
	struct qmr_key key = {0}, again = {0};
	struct qmr_error err = {0};
	int fd = *(int *)*state;
	struct stat st;

	assert_int_equal(qmr_key_generate(&key, NULL), 0);
	assert_int_equal(qmr_key_save(fd, "plain.pem", &key, NULL, NULL), 0);
	assert_int_equal(qmr_key_save(fd, "sealed.pem", &key, &right, NULL), 0);
	assert_int_equal(fstatat(fd, "plain.pem", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(qmr_key_load(fd, "plain.pem", &none, &again, NULL), 0);
	assert_string_equal(again.id, key.id);
	qmr_key_done(&again);
	assert_int_equal(qmr_key_load(fd, "sealed.pem", &right, &again, NULL), 0);
	assert_string_equal(again.id, key.id);
	qmr_key_done(&again);
	assert_int_equal(qmr_key_load(fd, "sealed.pem", &wrong, &again, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "passphrase is wrong"));
	assert_int_equal(qmr_key_load(fd, "sealed.pem", &none, &again, &err), -ENOKEY);
	assert_null(again.pkey);
	qmr_key_done(&key);
}

static void bad_files_are_refused(void **state)
{
	static const struct {
		const char *text;
		mode_t mode;
		int want;
	} cases[] = {
		{known_pem, 0640, -EACCES},
		{known_pem, 0604, -EACCES},
		{"", 0600, -EBADMSG},
		{"-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n", 0600, -EBADMSG},
		/* A key of another kind: X25519, as openssl genpkey makes it. */
		{"-----BEGIN PRIVATE "
		 "KEY-----\nMC4CAQAwBQYDK2VuBCIEIMWqjfQ/n4N77bdELzHct7Fm04U1B28JS4XOOi4LRFj3\n"
		 "-----END PRIVATE KEY-----\n",
		 0600, -EBADMSG},
	};
	struct qmr_passphrase none = {0};
	struct qmr_key key = {0};
	int fd = *(int *)*state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		put(fd, "bad.pem", cases[i].text, cases[i].mode);
		if (qmr_key_load(fd, "bad.pem", &none, &key, NULL) != cases[i].want)
			fail_msg("case %zu", i);
	}
	put(fd, "good.pem", known_pem, 0600);
	assert_int_equal(symlinkat("good.pem", fd, "link.pem"), 0);
	assert_int_equal(qmr_key_load(fd, "link.pem", &none, &key, NULL), -ELOOP);
	assert_int_equal(qmr_key_load(fd, "missing.pem", &none, &key, NULL), -ENOENT);
	assert_null(key.pkey);
}

static void a_public_key_is_enough_for_an_id(void **state)
{
	/* openssl pkey -pubout of the known key */
	static const char public_pem[] =
		"-----BEGIN PUBLIC KEY-----\n"
		"MCowBQYDK2VwAyEA/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU=\n"
		"-----END PUBLIC KEY-----\n";
	char folder[64] = "", path[128];
	struct qmr_key key = {0};
	int fd = *(int *)*state;

	assert_true(readlinkat(fd, "path", folder, sizeof(folder) - 1) > 0);
	snprintf(path, sizeof(path), "%s/known.pub", folder);
	put(fd, "known.pub", public_pem, 0644);
	assert_int_equal(qmr_key_load_public(path, &key, NULL), 0);
	assert_string_equal(key.id,
			    "e45b8d1fab21a7a7550adbca559eade41e36a398f14a577f8766ec32bf237101");
	assert_null(key.pkey);
	qmr_key_done(&key);
	put(fd, "known.pub", known_pem, 0600);
	assert_int_equal(qmr_key_load_public(path, &key, NULL), -EBADMSG);
}

static void a_passphrase_is_the_first_line(void **state)
{
	struct qmr_passphrase passphrase = {0};
	char path[128], folder[64] = "";
	int fd = *(int *)*state;

	assert_true(readlinkat(fd, "path", folder, sizeof(folder) - 1) > 0);
	snprintf(path, sizeof(path), "%s/phrase", folder);
	put(fd, "phrase", "open sesame\r\nmore\n", 0600);
	assert_int_equal(qmr_passphrase_load(path, &passphrase, NULL), 0);
	assert_string_equal(passphrase.text, "open sesame");
	assert_int_equal(passphrase.size, 11);
	put(fd, "phrase", "\nmore\n", 0600);
	assert_int_equal(qmr_passphrase_load(path, &passphrase, NULL), -EINVAL);
	put(fd, "phrase", "x", 0644);
	assert_int_equal(qmr_passphrase_load(path, &passphrase, NULL), -EACCES);
	assert_string_equal(passphrase.text, "open sesame");
	assert_int_equal(qmr_passphrase_ask("? ", 0, &passphrase, NULL), -ENOKEY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_known_key_signs_as_the_standard_says),
		cmocka_unit_test(keys_of_other_kinds_sign_what_machines_verify),
		cmocka_unit_test(what_is_saved_is_loaded),
		cmocka_unit_test(bad_files_are_refused),
		cmocka_unit_test(a_public_key_is_enough_for_an_id),
		cmocka_unit_test(a_passphrase_is_the_first_line),
	};

	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
