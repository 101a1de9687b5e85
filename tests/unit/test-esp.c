/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "esp.h"

static const char mountinfo[] =
	"22 1 254:2 / / rw,relatime shared:1 - ext4 /dev/vda2 rw\n"
	"30 22 0:25 / /efi rw shared:9 - autofs systemd-1 rw,fd=50\n"
	"31 30 254:1 / /efi rw shared:10 master:3 - vfat /dev/vda1 rw,umask=0077\n"
	"32 22 0:30 /@root /mnt/a\\040b\\134c rw - btrfs /dev/sdb rw,subvol=/@root\n"
	"33 22 8:1 / /broken rw - vfat\n"
	"not a line\n"
	"34 22 x:y / /bad-device rw - vfat /dev/x rw\n"
	"35 22 8:2 / /last rw - vfat /dev/sda2 rw";

static void test_mountinfo(void **state)
{
	struct qmr_mount m = {.path = "untouched"};

	assert_int_equal(qmr_mountinfo_find(mountinfo, "/", &m), 0);
	assert_string_equal(m.source, "/dev/vda2");
	assert_string_equal(m.type, "ext4");
	assert_int_equal(m.major, 254);
	assert_int_equal(m.minor, 2);
	/* The mount on top counts, not the automount below it. */
	assert_int_equal(qmr_mountinfo_find(mountinfo, "/efi", &m), 0);
	assert_string_equal(m.type, "vfat");
	assert_int_equal(qmr_mountinfo_find(mountinfo, "/mnt/a b\\c", &m), 0);
	assert_string_equal(m.subtree, "/@root");
	assert_int_equal(qmr_mountinfo_find(mountinfo, "/last", &m), 0);
	assert_string_equal(m.source, "/dev/sda2");
	strcpy(m.path, "untouched");
	assert_int_equal(qmr_mountinfo_find(mountinfo, "/broken", &m), -ENOENT);
	assert_int_equal(qmr_mountinfo_find(mountinfo, "/bad-device", &m), -ENOENT);
	assert_int_equal(qmr_mountinfo_find(mountinfo, "/ef", &m), -ENOENT);
	assert_int_equal(qmr_mountinfo_find("", "/", &m), -ENOENT);
	assert_string_equal(m.path, "untouched");
}

static void test_fstab(void **state)
{
	static const char fstab[] = "# comment / ext4\n\n"
				    "UUID=5c8b2b4e-0d3c-4d8f-9d55-2f8a4c1b7e01\t/  ext4 rw 0 1\n"
				    "#UUID=AAAA-BBBB /efi vfat x 0 2\n"
				    "  PARTUUID=\"1-2\" /boot/efi vfat umask=0077 0 2\r\n"
				    "LABEL=a\\040b /mnt vfat\n"
				    "/dev/x /short\n";
	struct qmr_mount m;

	assert_int_equal(qmr_fstab_find(fstab, "/", &m), 0);
	assert_string_equal(m.source, "UUID=5c8b2b4e-0d3c-4d8f-9d55-2f8a4c1b7e01");
	assert_string_equal(m.type, "ext4");
	assert_int_equal(qmr_fstab_find(fstab, "/boot/efi", &m), 0);
	assert_string_equal(m.source, "PARTUUID=\"1-2\"");
	assert_int_equal(qmr_fstab_find(fstab, "/mnt", &m), 0);
	assert_string_equal(m.source, "LABEL=a b");
	assert_int_equal(qmr_fstab_find(fstab, "/efi", &m), -ENOENT);
	assert_int_equal(qmr_fstab_find(fstab, "/short", &m), -ENOENT);
}

static void test_holding(void **state)
{
	static const char fstab[] =
		"UUID=1 / ext4\nUUID=2 /var/ ext4\nUUID=3 none swap\nUUID=4 /var/lib/qmr-old xfs\n"
		"UUID=5 /opt/a ext4\nUUID=6 /opt/a btrfs\n";
	static const struct {
		const char *path, *source;
	} cases[] = {
		{"/", "UUID=1"},         {"/etc/fstab", "UUID=1"},
		{"/var", "UUID=2"},      {"/var/lib/qmr", "UUID=2"},
		{"/variable", "UUID=1"}, {"/opt", "UUID=1"},
		{"/opt/a/b", "UUID=6"},  {"/var/lib/qmr-old/x", "UUID=4"},
	};
	struct qmr_mount m;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(qmr_fstab_find_holding(fstab, cases[i].path, &m), 0);
		assert_string_equal(m.source, cases[i].source);
	}
	assert_int_equal(qmr_fstab_find_holding("UUID=2 /var ext4", "/etc", &m), -ENOENT);
	assert_int_equal(qmr_mountinfo_find_holding(mountinfo, "/efi/EFI", &m), 0);
	assert_string_equal(m.type, "vfat");
	assert_int_equal(qmr_mountinfo_find_holding(mountinfo, "/efi-not", &m), 0);
	assert_string_equal(m.path, "/");
}

/* A field that does not fit must not be cut into another name. */
static void test_long(void **state)
{
	char text[1200];
	struct qmr_mount m;

	memset(text, 'a', sizeof(text));
	memcpy(text, "UUID=1 /", 8);
	strcpy(text + 8 + QMR_MOUNT_PATH, " vfat x\nUUID=2 /b vfat x\n");
	assert_int_equal(qmr_fstab_find(text, "/b", &m), 0);
	assert_string_equal(m.source, "UUID=2");
	text[8 + QMR_MOUNT_PATH - 1] = '\0';
	assert_int_equal(qmr_fstab_find(text, text + 7, &m), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mountinfo), cmocka_unit_test(test_fstab),
		cmocka_unit_test(test_holding), cmocka_unit_test(test_long)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
