/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "boot-state.h"
#include "crc32.h"
#include "file.h"

/* Both stores over folders: libefivar's EFIVARFS_PATH, and a folder in the place of the EFI system partition. */

#define VARIABLE "variables/QmrState-3f1c8b6e-6a55-4e0b-9a0c-5a7d1c0de9e4"
#define SLOT_A "esp/EFI/qmr/state-a"
#define SLOT_B "esp/EFI/qmr/state-b"
#define NOBODY 65534

static const uint8_t root[16] = {1, 2, 3}, other_root[16] = {4};
static struct qmr_error err;

/* Each test begins with empty stores. in_doubt as qmr_state_set_place(), -1: no place. */
static int set_up(void **unused)
{
	qmr_state_set_place(NULL, 0);
	(void)chmod("variables", 0755); /* the first time it is not there */
	if (qmr_file_remove_tree(AT_FDCWD, "variables", NULL) < 0 || qmr_file_remove_tree(AT_FDCWD, "esp", NULL) < 0 ||
	    mkdir("variables", 0755) < 0 || mkdir("esp", 0755) < 0)
		return -1;
	memset(&err, 0, sizeof(err));
	return 0;
}

static void use(int in_doubt)
{
	char path[512];

	assert_non_null(getcwd(path, sizeof(path) - 8));
	strcat(path, "/esp");
	qmr_state_set_place(path, in_doubt);
}

/* What is a cut to the file: not more bytes are written. */
static void limit(rlim_t bytes)
{
	struct rlimit limit = {bytes, RLIM_INFINITY};

	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Whether a variable that is there can be changed, and whether one can be made or deleted. */
static void allow(int change, int make)
{
	(void)chmod(VARIABLE, change ? 0600 : 0400); /* there may be none */
	assert_int_equal(chmod("variables", make ? 0755 : 0555), 0);
}

static void make(struct qmr_state *state, uint64_t sequence, const char *note)
{
	qmr_state_init(state, root);
	state->sequence = sequence;
	state->boots = 7;
	snprintf(state->note, sizeof(state->note), "%s", note);
}

static void put(const char *path, const void *bytes, size_t size)
{
	assert_int_equal(qmr_file_mkdirs(AT_FDCWD, "esp/EFI/qmr", 0755, NULL), 0);
	assert_int_equal(qmr_file_replace(AT_FDCWD, path, bytes, size, 0600, NULL), 0);
}

static void put_slot(const char *path, uint64_t sequence, const char *note)
{
	uint8_t bytes[QMR_STATE_BYTES];
	struct qmr_state state;

	make(&state, sequence, note);
	qmr_state_encode(&state, bytes);
	put(path, bytes, sizeof(bytes));
}

/* The sequence that a slot's bytes hold, by the document; -1: no file. */
static int64_t sequence_of(const char *path)
{
	uint8_t bytes[QMR_STATE_BYTES + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, bytes, sizeof(bytes));
	int64_t sequence = 0;

	if (fd < 0)
		return -1;
	close(fd);
	assert_int_equal(n, QMR_STATE_BYTES);
	for (int i = 7; i >= 0; i--)
		sequence = sequence << 8 | bytes[16 + i];
	return sequence;
}

static void assert_note(const char *note)
{
	struct qmr_state state;

	if (qmr_state_load(root, &state, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(state.note, note);
}

static void a_working_variable_is_enough(void **unused)
{
	struct qmr_state state;

	use(0);
	make(&state, 0, "here");
	assert_int_equal(qmr_state_save(&state, &err), 0);
	assert_int_equal(qmr_state_is_in_file(), 0);
	assert_int_equal(access("esp/EFI", F_OK), -1);
	put_slot(SLOT_A, 99, "the file is not looked at");
	assert_note("here");
	/* Nor is it for a state that is there and not ours. */
	assert_int_equal(qmr_state_load(other_root, &state, &err), -ESTALE);
	put(VARIABLE, "torn", 4);
	assert_int_equal(qmr_state_load(root, &state, &err), -EBADMSG);
}

static void the_file_takes_over_and_gives_back(void **unused)
{
	struct qmr_state state;

	use(0);
	make(&state, 5, "one");
	assert_int_equal(qmr_state_save(&state, &err), 0);
	allow(0, 1);
	snprintf(state.note, sizeof(state.note), "two");
	if (qmr_state_save(&state, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(qmr_state_is_in_file(), 1);
	assert_int_equal(state.sequence, 7);
	assert_int_equal(sequence_of(SLOT_A), 7);
	assert_int_equal(access(VARIABLE, F_OK), -1);
	/* Another process: the variable is gone, so it looks there, and stays there. */
	use(0);
	assert_note("two");
	assert_int_equal(qmr_state_is_in_file(), 1);
	snprintf(state.note, sizeof(state.note), "three");
	assert_int_equal(qmr_state_save(&state, &err), 0);
	assert_int_equal(access(VARIABLE, F_OK), -1);
	assert_int_equal(sequence_of(SLOT_B), 8);
	use(0);
	assert_note("three");
	qmr_state_move_back();
	assert_int_equal(qmr_state_save(&state, &err), 0);
	assert_int_equal(qmr_state_is_in_file(), 0);
	assert_int_equal(sequence_of(SLOT_A), 0);
	assert_int_equal(sequence_of(SLOT_B), 0);
	assert_note("three");
	/* What is left behind is no history for anybody. */
	assert_int_equal(unlink(VARIABLE), 0);
	assert_int_equal(qmr_state_load(root, &state, &err), -ENOENT);
}

/* efivarfs leaves an empty file where the firmware had no room for a new variable: that is no state that cannot be read. */
static void a_variable_that_was_refused(void **unused)
{
	struct qmr_state state;

	put(VARIABLE, "", 0);
	allow(0, 0);
	assert_int_equal(qmr_state_load(root, &state, &err), -ENOENT);
	use(0);
	assert_int_equal(qmr_state_load(root, &state, &err), -ENOENT);
	make(&state, 0, "x");
	assert_int_equal(qmr_state_save(&state, &err), 0);
	assert_int_equal(qmr_state_is_in_file(), 1);
	use(0);
	assert_note("x");
}

static void without_a_place_the_variable_is_all(void **unused)
{
	struct qmr_state state;

	make(&state, 5, "one");
	assert_int_equal(qmr_state_save(&state, &err), 0);
	allow(0, 0);
	assert_true(qmr_state_save(&state, &err) < 0);
	qmr_state_set_place("/nonexistent/device", 0);
	assert_true(qmr_state_save(&state, &err) < 0);
	assert_non_null(strstr(err.text, "writing EFI variable 'QmrState'"));
	assert_non_null(strstr(err.text, "/nonexistent/device"));
	assert_note("one");
}

/* Nobody who looks at both is misled by what could not be deleted. */
static void a_variable_that_stays(void **unused)
{
	struct qmr_state state;

	use(0);
	make(&state, 5, "one");
	assert_int_equal(qmr_state_save(&state, &err), 0);
	allow(0, 0);
	snprintf(state.note, sizeof(state.note), "two");
	assert_int_equal(qmr_state_save(&state, &err), 0);
	assert_note("two");
	use(1);
	assert_note("two");
	assert_int_equal(access(VARIABLE, F_OK), 0);
}

static void the_larger_sequence_wins(void **unused)
{
	static const struct {
		uint64_t variable, a, b;
		const char *note;
	} cases[] = {{9, 8, 7, "variable"}, {9, 9, 8, "a"}, {9, 10, 11, "b"}, {9, 12, 11, "a"}, {0, 1, 2, "b"}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_state state;

		assert_int_equal(set_up(NULL), 0);
		make(&state, cases[i].variable ? cases[i].variable - 1 : 0, "variable");
		if (cases[i].variable)
			assert_int_equal(qmr_state_save(&state, &err), 0);
		put_slot(SLOT_A, cases[i].a, "a");
		put_slot(SLOT_B, cases[i].b, "b");
		use(1);
		assert_note(cases[i].note);
		/* What is written then goes beyond all of them. */
		make(&state, 3, "new");
		assert_int_equal(qmr_state_save(&state, &err), 0);
		assert_true(state.sequence > cases[i].a && state.sequence > cases[i].b);
		assert_note("new");
	}
}

static void a_cut_at_any_byte_of_a_write(void **unused)
{
	char note[sizeof(((struct qmr_state *)0)->note)] = "";

	memset(note, 'n', sizeof(note) - 1);
	allow(0, 0);
	for (rlim_t bytes = 0; bytes < QMR_STATE_BYTES; bytes++) {
		struct qmr_state state;

		put_slot(SLOT_A, 4, "old");
		put_slot(SLOT_B, 5, "newest");
		use(1);
		make(&state, 5, note);
		memset(&state.floor, 0xff, sizeof(state.floor)); /* no byte is as it was */
		limit(bytes);
		assert_true(qmr_state_save(&state, &err) < 0);
		limit(RLIM_INFINITY);
		use(1);
		assert_note("newest");
		/* And goes on from there. */
		make(&state, 5, "next");
		assert_int_equal(qmr_state_save(&state, &err), 0);
		assert_int_equal(sequence_of(SLOT_A), 6);
		assert_int_equal(sequence_of(SLOT_B), 5);
		use(1);
		assert_note("next");
	}
}

/* Slots as a program made them that knew of no floor: read, and written at today's size; a cut there leaves the other one. */
static void slots_of_an_earlier_size_are_used(void **unused)
{
	static const uint8_t zero[4];
	uint8_t bytes[QMR_STATE_BYTES];
	struct qmr_state state;
	uint32_t crc;

	for (int i = 0; i < 2; i++) {
		make(&state, 4u + (unsigned int)i, i ? "newest" : "old");
		qmr_state_encode(&state, bytes);
		memcpy(bytes + 6, "\xc0\x03", 2);
		memcpy(bytes + 8, zero, 4);
		crc = qmr_crc32(0, bytes, 960);
		for (int b = 0; b < 4; b++)
			bytes[8 + b] = (uint8_t)(crc >> 8 * b);
		put(i ? SLOT_B : SLOT_A, bytes, 960);
	}
	allow(0, 0);
	use(1);
	assert_note("newest");
	make(&state, 5, "cut");
	limit(960); /* the size in the header is the new one, the file's is the old one */
	assert_true(qmr_state_save(&state, &err) < 0);
	limit(RLIM_INFINITY);
	use(1);
	assert_note("newest");
	make(&state, 5, "next");
	assert_int_equal(qmr_state_save(&state, &err), 0);
	assert_int_equal(sequence_of(SLOT_A), 6);
	use(1);
	assert_note("next");
}

static void an_overwrite_keeps_the_file(void **unused)
{
	struct stat before, after;
	struct qmr_state state;

	use(1);
	assert_int_equal(qmr_state_load(root, &state, &err), -ENOENT);
	assert_int_equal(qmr_state_files_create("esp", &err), 2);
	assert_int_equal(qmr_state_files_create("esp", &err), 0);
	assert_int_equal(qmr_state_load(root, &state, &err), -ENOENT);
	assert_int_equal(stat(SLOT_B, &before), 0);
	for (int i = 0; i < 4; i++) {
		make(&state, 0, "x");
		assert_int_equal(qmr_state_save(&state, &err), 0);
		assert_int_equal(state.sequence, i + 1);
	}
	assert_int_equal(stat(SLOT_B, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(after.st_size, QMR_STATE_BYTES);
	assert_int_equal(qmr_state_files_remove("esp", &err), 0);
	assert_int_equal(access("esp/EFI/qmr", F_OK), -1);
	assert_int_equal(qmr_state_files_remove("esp", &err), 0);
}

static void what_is_not_ours_is_not_overwritten(void **unused)
{
	static const char *const others[] = {"MZ", "QMRS\x02"}; /* padded with zeroes; a newer version */
	struct qmr_state state;

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		char bytes[QMR_STATE_BYTES] = "";

		assert_int_equal(set_up(NULL), 0);
		strcpy(bytes, others[i]);
		put(SLOT_A, bytes, sizeof(bytes));
		put(SLOT_B, others[i], strlen(others[i]));
		use(1);
		assert_int_equal(qmr_state_load(root, &state, &err), -EBADMSG);
		make(&state, 0, "x");
		allow(0, 0);
		assert_true(qmr_state_save(&state, &err) < 0);
		assert_non_null(strstr(err.text, "fsck.vfat"));
		assert_int_equal(qmr_state_files_create("esp", &err), -EUCLEAN);
		assert_int_equal(sequence_of(SLOT_A), 0);
		/* One empty slot is room for one; the only whole one is not risked for the next. */
		put(SLOT_B, "", 0);
		assert_int_equal(qmr_state_save(&state, &err), 0);
		assert_true(qmr_state_save(&state, &err) < 0);
		assert_note("x");
	}
}

static void a_link_in_its_place_is_not_followed(void **unused)
{
	struct qmr_state state;

	put("victim", "content", 7);
	assert_int_equal(qmr_file_mkdirs(AT_FDCWD, "esp/EFI/qmr", 0755, NULL), 0);
	assert_int_equal(symlink("../../../victim", SLOT_A), 0);
	assert_int_equal(symlink("../../../victim", SLOT_B), 0);
	use(1);
	make(&state, 0, "x");
	allow(0, 0);
	assert_true(qmr_state_save(&state, &err) < 0);
	assert_int_equal(qmr_state_load(root, &state, &err), -EBADMSG);
}

static void machines(void **unused)
{
	uint32_t a = qmr_state_machine_id("4C4C4544-0042-3510-8057-B4C04F564332\n");

	assert_int_not_equal(a, 0);
	assert_int_equal(a, qmr_state_machine_id("4c4c4544-0042-3510-8057-b4c04f564332"));
	assert_int_not_equal(a, qmr_state_machine_id("4c4c4544-0042-3510-8057-b4c04f564333\n"));
	assert_int_equal(qmr_state_machine_id("00000000-0000-0000-0000-000000000000\n"), 0);
	assert_int_equal(qmr_state_machine_id("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF\n"), 0);
	assert_int_equal(qmr_state_machine_id("Not Settable\n"), 0);
	assert_int_equal(qmr_state_machine_id(""), 0);
	assert_int_equal(qmr_state_machine_id("4c4c4544-0042-3510-8057-b4c04f5643322"), 0);
}

static void places_by_uuid(void **unused)
{
	qmr_state_set_place_uuid("ABCD-1234", 0);
	assert_string_equal(qmr_state_get_place(), "/dev/disk/by-uuid/ABCD-1234");
	qmr_state_set_place_uuid("../../sda", 0);
	assert_null(qmr_state_get_place());
	qmr_state_set_place_uuid("", 0);
	assert_null(qmr_state_get_place());
}

/* libefivar looks for the variables when it is loaded. */
static int run_again(char **argv)
{
	char folder[] = "/tmp/qmr-test-store-XXXXXX", path[64];

	if (!mkdtemp(folder))
		return 1;
	snprintf(path, sizeof(path), "%s/variables/", folder);
	setenv("EFIVARFS_PATH", path, 1);
	setenv("STORE_FOLDER", folder, 1);
	if (mkdir(path, 0755) < 0)
		return 1;
	execv("/proc/self/exe", argv);
	return 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_working_variable_is_enough, set_up),
		cmocka_unit_test_setup(the_file_takes_over_and_gives_back, set_up),
		cmocka_unit_test_setup(without_a_place_the_variable_is_all, set_up),
		cmocka_unit_test_setup(a_variable_that_stays, set_up),
		cmocka_unit_test_setup(a_variable_that_was_refused, set_up),
		cmocka_unit_test_setup(the_larger_sequence_wins, set_up),
		cmocka_unit_test_setup(a_cut_at_any_byte_of_a_write, set_up),
		cmocka_unit_test_setup(slots_of_an_earlier_size_are_used, set_up),
		cmocka_unit_test_setup(an_overwrite_keeps_the_file, set_up),
		cmocka_unit_test_setup(what_is_not_ours_is_not_overwritten, set_up),
		cmocka_unit_test_setup(a_link_in_its_place_is_not_followed, set_up),
		cmocka_unit_test(machines),
		cmocka_unit_test(places_by_uuid),
	};
	int failed;

	if (!getenv("STORE_FOLDER"))
		return run_again(argv);
	(void)signal(SIGXFSZ, SIG_IGN);
	/* Without privilege: permissions are what keeps from writing here. */
	if (chdir(getenv("STORE_FOLDER")) < 0 ||
	    (geteuid() == 0 && (chown(".", NOBODY, NOBODY) < 0 || chown("variables", NOBODY, NOBODY) < 0 ||
				setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	(void)set_up(NULL);
	(void)!qmr_file_remove_tree(AT_FDCWD, getenv("STORE_FOLDER"), NULL); /* the result is that of the tests */
	return failed;
}
