/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "crc32.h"
#include "second-kernel.h"
#include "tree.h"

static const char *find(const struct qmr_state *state, const char *first, const char *kept)
{
	static char release[16];

	qmr_second_kernel_find(root_fd, state, first, kept, release, sizeof(release));
	return release;
}

static void install(const char *release, const char *file)
{
	char path[128];

	snprintf(path, sizeof(path), "usr/lib/modules/%s/modules.dep", release);
	put(path, "");
	if (file)
		put(file, "kernel");
}

static void ran(struct qmr_state *state, const char *release, uint8_t outcome)
{
	state->attempts[state->n_attempts++] =
		(struct qmr_attempt){.outcome = outcome, .kernel_crc32 = qmr_crc32(0, release, strlen(release))};
}

static void test_none(void **unused)
{
	struct qmr_state state = {0};

	assert_string_equal(find(&state, "6.1", ""), "");
	install("6.1", "boot/vmlinuz-6.1");
	ran(&state, "6.1", QMR_HEALTHY);
	assert_string_equal(find(&state, "6.1", "6.1"), "");
}

static void test_newest_healthy(void **unused)
{
	struct qmr_state state = {0};

	install("6.1", "boot/vmlinuz-6.1");
	install("6.9", "boot/vmlinuz-6.9");
	install("6.10", "usr/lib/modules/6.10/vmlinuz");
	install("6.11", "boot/vmlinuz-6.11");
	install("6.12", NULL); /* modules without a kernel */
	ran(&state, "6.11", QMR_PANIC);
	ran(&state, "6.12", QMR_HEALTHY);
	assert_string_equal(find(&state, "6.1", ""), "");
	ran(&state, "6.9", QMR_HEALTHY);
	assert_string_equal(find(&state, "6.1", ""), "6.9");
	ran(&state, "6.10", QMR_HEALTHY);
	assert_string_equal(find(&state, "6.1", ""), "6.10");
	assert_string_equal(find(&state, "6.10", ""), "6.9");
	strcpy(state.kernel, "6.11");
	assert_string_equal(find(&state, "6.10", ""), "6.11");
}

/* The ring has forgotten it. */
static void test_kept(void **unused)
{
	struct qmr_state state = {0};

	install("6.1", "boot/vmlinuz-6.1");
	assert_string_equal(find(&state, "6.9", "6.1"), "6.1");
	assert_string_equal(find(&state, "6.9", "6.0"), "");
}

static void test_long_name(void **unused)
{
	struct qmr_state state = {0};

	install("6.1-0123456789ab", "boot/vmlinuz-6.1-0123456789ab");
	assert_string_equal(find(&state, "6.9", "6.1-0123456789ab"), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_none, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_newest_healthy, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_kept, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(test_long_name, make_folder, remove_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
