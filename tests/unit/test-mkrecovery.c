/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>

#include <cmocka.h>

#include "image.h"
#include "uki.h"

static void paths(void **unused)
{
	struct qmr_image image = {.root_fd = -1};

	assert_int_equal(qmr_image_add_data(&image, "/lib//x/./y", 0644, "1", 1, NULL), 0);
	assert_int_equal(qmr_image_add_data(&image, "usr/lib/x/y", 0644, "2", 1, NULL), 0);
	assert_int_equal(image.n_entries, 4); /* usr, usr/lib, usr/lib/x and the file, which came first */
	assert_string_equal(image.entries[0].path, "usr");
	assert_string_equal(image.entries[3].path, "usr/lib/x/y");
	assert_int_equal(image.entries[3].data[0], '1');
	assert_ptr_equal(qmr_image_find(&image, "/lib/x/y"), &image.entries[3]);
	assert_null(qmr_image_find(&image, "/lib/x/z"));
	assert_int_equal(qmr_image_add_dir(&image, "a/../b", 0755, NULL), -EINVAL);
	assert_int_equal(qmr_image_add_dir(&image, "/", 0755, NULL), -EINVAL);
	assert_int_equal(qmr_image_add_link(&image, "lib", "usr/lib", NULL), 0);
	assert_int_equal(image.n_entries, 5);
	qmr_image_done(&image);
	assert_int_equal(image.n_entries, 0);
}

static void cmdline(void **unused)
{
	static const char running[] = "root=UUID=x console=tty0 quiet console=ttyS0,115200\n";
	char text[QMR_CMDLINE_BYTES], large[QMR_CMDLINE_BYTES];

	assert_int_equal(qmr_uki_format_cmdline(NULL, NULL, "", text, NULL), 0);
	assert_string_equal(text, "quiet loglevel=4 panic=30 qmr.recovery");
	assert_int_equal(qmr_uki_format_cmdline(NULL, running, "a=b", text, NULL), 0);
	assert_string_equal(text, "quiet loglevel=4 panic=30 qmr.recovery console=tty0 console=ttyS0,115200 a=b");
	assert_int_equal(qmr_uki_format_cmdline("x=y", running, "a=b", text, NULL), 0);
	assert_string_equal(text, "quiet loglevel=4 panic=30 qmr.recovery x=y a=b");
	memset(large, 'x', sizeof(large));
	large[sizeof(large) - 1] = '\0';
	assert_int_equal(qmr_uki_format_cmdline(large, NULL, "", text, NULL), -E2BIG);
	assert_string_equal(text, "quiet loglevel=4 panic=30 qmr.recovery x=y a=b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths),
		cmocka_unit_test(cmdline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
