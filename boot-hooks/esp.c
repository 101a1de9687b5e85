/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "esp.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "file.h"

#define TABLE_BYTES_MAX (4U << 20)
#define ESP_TYPE "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" /* UEFI 2.10, 5.3.3 */
#define ESP_TYPE_MBR "0xef"
#define XBOOTLDR_TYPE                                                                              \
	"bc13c2ff-59e6-4262-a352-b275fd6f7172" /* Discoverable Partitions Specification */

static const char *const esp_places[] = {"/efi", "/boot/efi", "/boot"};

/* Copies a field, in which the kernel and fstab(5) write white space and backslash as \NNN.
 * -ENAMETOOLONG. */
static int decode(const char *from, size_t length, char *to, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < length; i++) {
		char c = from[i];

		if (c == '\\' && i + 3 < length && from[i + 1] >= '0' && from[i + 1] <= '3' &&
		    from[i + 2] >= '0' && from[i + 2] <= '7' && from[i + 3] >= '0' &&
		    from[i + 3] <= '7') {
			c = (char)((from[i + 1] - '0') << 6 | (from[i + 2] - '0') << 3 |
				   (from[i + 3] - '0'));
			i += 3;
		}
		if (used + 1 >= size || !c)
			return -ENAMETOOLONG;
		to[used++] = c;
	}
	to[used] = '\0';
	return 0;
}

struct field {
	const char *text;
	size_t length;
};

/* Splits one line at blanks into at most max fields; more are not looked at. Returns how many. */
static int split(const char *line, size_t length, struct field *fields, int max)
{
	size_t i = 0;
	int n = 0;

	while (i < length && n < max) {
		size_t begin;

		while (i < length && (line[i] == ' ' || line[i] == '\t' || line[i] == '\r'))
			i++;
		begin = i;
		while (i < length && line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
			i++;
		if (i > begin)
			fields[n++] = (struct field){line + begin, i - begin};
	}
	return n;
}

#define GET(field, to) decode((field).text, (field).length, to, sizeof(to))

/* ID PARENT MAJOR:MINOR ROOT MOUNT-POINT OPTIONS [OPTIONAL...] - TYPE SOURCE SUPER-OPTIONS */
static int parse_mountinfo(const char *line, size_t length, struct qmr_mount *mount)
{
	struct field f[32];
	char device[32];
	int n = split(line, length, f, 32), dash = 6;

	while (dash < n && !(f[dash].length == 1 && f[dash].text[0] == '-'))
		dash++;
	if (dash + 2 >= n || GET(f[2], device) < 0 ||
	    sscanf(device, "%u:%u", &mount->major, &mount->minor) != 2)
		return -EINVAL;
	return GET(f[3], mount->subtree) < 0 || GET(f[4], mount->path) < 0 ||
			       GET(f[dash + 1], mount->type) < 0 ||
			       GET(f[dash + 2], mount->source) < 0
		       ? -EINVAL
		       : 0;
}

static int parse_fstab(const char *line, size_t length, struct qmr_mount *mount)
{
	struct field f[3];

	if (split(line, length, f, 3) < 3 || f[0].text[0] == '#')
		return -EINVAL;
	if (GET(f[0], mount->source) < 0 || GET(f[1], mount->path) < 0 ||
	    GET(f[2], mount->type) < 0)
		return -EINVAL;
	/* mount(8) takes "/var/" as well. */
	for (size_t n = strlen(mount->path); n > 1 && mount->path[n - 1] == '/'; n--)
		mount->path[n - 1] = '\0';
	return 0;
}

typedef int parse_fn(const char *line, size_t length, struct qmr_mount *mount);
typedef int match_fn(const char *mount_path, const char *path);

/* Both return 0 or how well it matches: a later mount lies on top of an earlier one that matches no
 * better. */
static int match_same(const char *mount_path, const char *path)
{
	return !strcmp(mount_path, path);
}

static int match_holding(const char *mount_path, const char *path)
{
	size_t n = strlen(mount_path);

	if (!strcmp(mount_path, "/"))
		return path[0] == '/';
	return n && !strncmp(mount_path, path, n) && (path[n] == '/' || !path[n]) ? (int)n : 0;
}

static int find(const char *text, const char *path, parse_fn *parse, match_fn *match,
		struct qmr_mount *ret_mount)
{
	int best = 0;

	for (size_t length; *text; text += length + (text[length] == '\n')) {
		struct qmr_mount mount = {0};
		int matches;

		length = strcspn(text, "\n");
		if (parse(text, length, &mount) < 0)
			continue;
		matches = match(mount.path, path);
		if (!matches || matches < best)
			continue;
		*ret_mount = mount;
		best = matches;
	}
	return best ? 0 : -ENOENT;
}

int qmr_mountinfo_find(const char *text, const char *path, struct qmr_mount *ret_mount)
{
	return find(text, path, parse_mountinfo, match_same, ret_mount);
}

int qmr_fstab_find(const char *text, const char *path, struct qmr_mount *ret_mount)
{
	return find(text, path, parse_fstab, match_same, ret_mount);
}

int qmr_mountinfo_find_holding(const char *text, const char *path, struct qmr_mount *ret_mount)
{
	return find(text, path, parse_mountinfo, match_holding, ret_mount);
}

int qmr_fstab_find_holding(const char *text, const char *path, struct qmr_mount *ret_mount)
{
	return find(text, path, parse_fstab, match_holding, ret_mount);
}

static void cleanup_probe(blkid_probe *probe)
{
	if (*probe)
		blkid_free_probe(*probe);
}

struct device_facts {
	char uuid[64], type[32], part_type[64];
};

static void copy_value(blkid_probe probe, const char *name, char *to, size_t size)
{
	const char *value;

	if (blkid_probe_lookup_value(probe, name, &value, NULL) < 0 ||
	    snprintf(to, size, "%s", value) >= (int)size)
		to[0] = '\0';
}

/* What libblkid reads from the device itself; what it does not find stays empty. */
static int probe_device(const char *device, struct device_facts *ret, struct qmr_error *err)
{
	__attribute__((cleanup(cleanup_probe))) blkid_probe probe =
		blkid_new_probe_from_filename(device);

	if (!probe)
		return qmr_error_errno(err, errno ? -errno : -EIO, "reading device '%s'", device);
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_UUID | BLKID_SUBLKS_TYPE);
	blkid_probe_enable_partitions(probe, 1);
	blkid_probe_set_partitions_flags(probe, BLKID_PARTS_ENTRY_DETAILS);
	if (blkid_do_safeprobe(probe) < 0)
		return qmr_error_set(
			err, -EIO, "device '%s' holds no file system that can be told for certain",
			device);
	copy_value(probe, "UUID", ret->uuid, sizeof(ret->uuid));
	copy_value(probe, "TYPE", ret->type, sizeof(ret->type));
	copy_value(probe, "PART_ENTRY_TYPE", ret->part_type, sizeof(ret->part_type));
	return 0;
}

/* below: "", or "/.." for the disk of a partition. */
static int sysfs_read(const struct qmr_mount *mount, const char *below, char **ret_text)
{
	char path[128];
	size_t size;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u%s", mount->major, mount->minor, below);
	return qmr_file_read(AT_FDCWD, path, 65536, ret_text, &size, NULL);
}

/* The kernel's own name of a device: names in mount tables may be links, or from another /dev. */
static int sysfs_devname(const struct qmr_mount *mount, const char *below, char *ret_name,
			 size_t size)
{
	cleanup_free char *text = NULL;
	char *name;

	if (sysfs_read(mount, below, &text) < 0)
		return -ENOENT;
	name = strstr(text, "DEVNAME=");
	if (!name || (name != text && name[-1] != '\n'))
		return -ENOENT;
	name[strcspn(name, "\n")] = '\0';
	return snprintf(ret_name, size, "/dev/%s", name + strlen("DEVNAME=")) < (int)size
		       ? 0
		       : -ENAMETOOLONG;
}

static int sysfs_has(const struct qmr_mount *mount, const char *below)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u%s", mount->major, mount->minor, below);
	return stat(path, &st) == 0;
}

static void find_obstacle(const struct qmr_mount *mount, char *ret, size_t size)
{
	cleanup_free char *uuid = NULL;

	if (!strcmp(mount->type, "btrfs") && strcmp(mount->subtree, "/"))
		snprintf(ret, size, "a btrfs subvolume (%.80s)", mount->subtree);
	else if (sysfs_read(mount, "/dm/uuid", &uuid) == 0)
		snprintf(ret, size, "%s",
			 !strncmp(uuid, "LVM-", 4)     ? "an LVM volume"
			 : !strncmp(uuid, "CRYPT-", 6) ? "an encrypted volume (LUKS)"
						       : "a device-mapper volume");
	else if (sysfs_has(mount, "/md") || sysfs_has(mount, "/../md"))
		snprintf(ret, size, "an md array");
}

static int is_filled(const char *text)
{
	return text && *text;
}

static int set_text(const char *option, const char *value, char *to, size_t size,
		    struct qmr_error *err)
{
	if (!is_filled(value))
		return 0;
	if (snprintf(to, size, "%s", value) >= (int)size)
		return qmr_error_set(err, -EINVAL, "%s '%s' is too long", option, value);
	return 0;
}

static int set_known(const struct qmr_machine_known *known, struct qmr_machine *m,
		     struct qmr_error *err)
{
	int r = set_text("--root-uuid", known->root_uuid, m->root_uuid, sizeof(m->root_uuid), err);

	if (r == 0)
		r = set_text("--root-fstype", known->root_fstype, m->root_fstype,
			     sizeof(m->root_fstype), err);
	if (r == 0)
		r = set_text("--esp-path", known->esp_path, m->esp_path, sizeof(m->esp_path), err);
	if (r == 0)
		r = set_text("--esp-uuid", known->esp_uuid, m->esp_uuid, sizeof(m->esp_uuid), err);
	return r;
}

static void default_text(char *to, size_t size, const char *value)
{
	if (!to[0])
		snprintf(to, size, "%s", value);
}

static int require(const char *text, const char *what, const char *option, struct qmr_error *err)
{
	return text[0] ? 0
		       : qmr_error_set(err, -ENOENT, "%s is not known; give it with %s", what,
				       option);
}

static int require_all(const struct qmr_machine *m, struct qmr_error *err)
{
	int r = require(m->root_uuid, "the UUID of the root file system", "--root-uuid", err);

	if (r == 0)
		r = require(m->root_fstype, "the type of the root file system", "--root-fstype",
			    err);
	if (r == 0)
		r = require(m->esp_path, "the EFI system partition's mount point", "--esp-path",
			    err);
	if (r == 0)
		r = require(m->esp_uuid, "the UUID of the EFI system partition", "--esp-uuid", err);
	return r;
}

static void find_running_root(const char *mounts, struct qmr_machine *m)
{
	struct device_facts facts = {0};
	struct qmr_mount mount;
	char device[160];

	if (qmr_mountinfo_find(mounts, "/", &mount) < 0)
		return;
	find_obstacle(&mount, m->root_obstacle, sizeof(m->root_obstacle));
	/* btrfs has an anonymous device number; its source is a node. */
	if (sysfs_devname(&mount, "/uevent", device, sizeof(device)) < 0 &&
	    snprintf(device, sizeof(device), "%s", mount.source) >= (int)sizeof(device))
		return;
	default_text(m->root_fstype, sizeof(m->root_fstype), mount.type);
	if (device[0] == '/' && probe_device(device, &facts, NULL) == 0)
		default_text(m->root_uuid, sizeof(m->root_uuid), facts.uuid);
}

/* 0 if path is a mounted ESP, filled in; otherwise err says what it is instead. */
static int examine_esp(const char *mounts, const char *path, struct qmr_machine *m,
		       struct qmr_error *err)
{
	cleanup_closedir DIR *dir =
		opendir(path); /* has an automount point mount what it stands for */
	cleanup_free char *number = NULL;
	struct device_facts facts = {0};
	struct qmr_mount mount;
	char device[160];
	int r;

	if (!dir || qmr_mountinfo_find(mounts, path, &mount) < 0 || !strcmp(mount.type, "autofs"))
		return qmr_error_set(err, -ENOENT, "nothing is mounted at '%s'", path);
	if (strcmp(mount.type, "vfat"))
		return qmr_error_set(err, -ENOENT,
				     "'%s' is %s, not the EFI system partition's vfat", path,
				     mount.type);
	r = sysfs_devname(&mount, "/uevent", device, sizeof(device));
	if (r < 0)
		return qmr_error_set(err, r, "the device of '%s' is not in /sys", path);
	r = probe_device(device, &facts, err);
	if (r < 0)
		return r;
	if (strcmp(facts.part_type, ESP_TYPE) && strcmp(facts.part_type, ESP_TYPE_MBR))
		return qmr_error_set(
			err, -ENOENT,
			"'%s' (%s) is a partition of type '%s', not an EFI system partition", path,
			device, facts.part_type);
	if (sysfs_read(&mount, "/partition", &number) < 0 ||
	    sysfs_devname(&mount, "/../uevent", m->esp_disk, sizeof(m->esp_disk)) < 0)
		return qmr_error_set(err, -ENOENT, "the disk of '%s' (%s) is not in /sys", path,
				     device);
	m->esp_partition = atoi(number);
	default_text(m->esp_path, sizeof(m->esp_path), path);
	default_text(m->esp_uuid, sizeof(m->esp_uuid), facts.uuid);
	return 0;
}

static int read_mounts(char **ret_text, struct qmr_error *err)
{
	size_t size;

	return qmr_file_read(AT_FDCWD, "/proc/self/mountinfo", TABLE_BYTES_MAX, ret_text, &size,
			     err);
}

/* Follows links in what exists of the path; the rest stays as it is. */
static int resolve(const char *path, char ret_path[PATH_MAX], struct qmr_error *err)
{
	char head[PATH_MAX], real[PATH_MAX];
	size_t n = strlen(path);

	if (path[0] != '/' || n >= sizeof(head))
		return qmr_error_set(err, -EINVAL, "'%s' is not absolute, or too long", path);
	memcpy(head, path, n + 1);
	while (!realpath(n ? head : "/", real)) {
		if (n == 0 || (errno != ENOENT && errno != ENOTDIR))
			return qmr_error_errno(err, -errno, "looking for '%s'", path);
		while (head[--n] != '/')
			;
		head[n] = '\0';
	}
	if (snprintf(ret_path, PATH_MAX, "%s%s", strcmp(real, "/") || !path[n] ? real : "",
		     path + n) >= PATH_MAX)
		return qmr_error_set(err, -ENAMETOOLONG, "'%s' is too long", path);
	return 0;
}

/*
 * By mounts, not by device numbers: a folder of the root that is mounted elsewhere in it has the
 * root's number, and a subvolume that is mounted with the root has not.
 */
int qmr_machine_is_on_root(int is_built, const char *path, struct qmr_mount *ret_mount,
			   struct qmr_error *err)
{
	cleanup_free char *text = NULL;
	struct qmr_mount mount, root = {0};
	char real[PATH_MAX];
	size_t size;
	int r = resolve(path, real, err);

	if (r == 0)
		r = is_built ? qmr_file_read(AT_FDCWD, "/etc/fstab", TABLE_BYTES_MAX, &text, &size,
					     err)
			     : read_mounts(&text, err);
	if (r < 0)
		return is_built && r == -ENOENT ? 1 : r;
	r = is_built ? qmr_fstab_find_holding(text, real, &mount)
		     : qmr_mountinfo_find_holding(text, real, &mount);
	if (r < 0 || !strcmp(mount.path, "/"))
		return 1;
	/* A folder that is mounted onto itself is where it was. */
	if (!is_built && qmr_mountinfo_find(text, "/", &root) == 0 && root.major == mount.major &&
	    root.minor == mount.minor && !strcmp(root.subtree, "/") &&
	    !strcmp(mount.subtree, mount.path))
		return 1;
	*ret_mount = mount;
	return 0;
}

static int find_running_esp(struct qmr_machine *m, struct qmr_error *err)
{
	struct qmr_error why = {0};
	size_t n = m->esp_path[0] ? 1 : sizeof(esp_places) / sizeof(*esp_places);
	int r = -ENOENT;

	for (size_t i = 0; r < 0 && i < n; i++) {
		const char *path = m->esp_path[0] ? m->esp_path : esp_places[i];
		cleanup_free char *mounts = NULL;
		cleanup_closedir DIR *dir = opendir(path);

		/* Read anew each time: looking may have mounted it. */
		r = read_mounts(&mounts, err);
		if (r < 0)
			return r;
		r = examine_esp(mounts, path, m, &why);
	}
	if (r < 0)
		return qmr_error_set(err, r,
				     "no EFI system partition is mounted at /efi, /boot/efi or "
				     "/boot (last: %s); mount "
				     "it, or give its mount point with --esp-path",
				     why.text);
	return 0;
}

static void find_xbootldr(const char *mounts, struct qmr_machine *m)
{
	struct device_facts facts = {0};
	struct qmr_mount mount;
	char device[160];

	if (strcmp(m->esp_path, "/boot") && qmr_mountinfo_find(mounts, "/boot", &mount) == 0 &&
	    sysfs_devname(&mount, "/uevent", device, sizeof(device)) == 0 &&
	    probe_device(device, &facts, NULL) == 0 && !strcmp(facts.part_type, XBOOTLDR_TYPE))
		strcpy(m->xbootldr_path, "/boot");
}

int qmr_machine_find_running(const struct qmr_machine_known *known, struct qmr_machine *ret_machine,
			     struct qmr_error *err)
{
	struct qmr_machine machine = {0};
	cleanup_free char *mounts = NULL;
	int r = set_known(known, &machine, err);

	if (r == 0)
		r = find_running_esp(&machine, err);
	if (r == 0)
		r = read_mounts(&mounts, err);
	if (r < 0)
		return r;
	find_running_root(mounts, &machine);
	find_xbootldr(mounts, &machine);
	r = require_all(&machine, err);
	if (r == 0)
		*ret_machine = machine;
	return r;
}

/* fstab's "UUID=x" is the answer; any other name is looked up among the devices that are there. */
static void resolve_source(const char *source, struct device_facts *ret)
{
	char tag[256], *value, *device;

	snprintf(tag, sizeof(tag), "%s", source);
	value = tag[0] == '/' ? NULL : strchr(tag, '=');
	if (value) {
		size_t end;

		*value++ = '\0';
		value += *value == '"';
		end = strlen(value);
		if (end && value[end - 1] == '"')
			value[end - 1] = '\0';
	}
	if (value && !strcmp(tag, "UUID")) {
		snprintf(ret->uuid, sizeof(ret->uuid), "%.63s", value);
		return;
	}
	device = value ? blkid_evaluate_tag(tag, value, NULL) : strdup(source);
	if (device && device[0] == '/')
		(void)probe_device(device, ret, NULL); /* what is not found is asked for */
	free(device);
}

static void find_built_root(const char *fstab, struct qmr_machine *m)
{
	struct device_facts facts = {0};
	struct qmr_mount mount;

	if (qmr_fstab_find(fstab, "/", &mount) < 0)
		return;
	if (!strncmp(mount.source, "/dev/mapper/", 12) || !strncmp(mount.source, "/dev/md", 7))
		snprintf(m->root_obstacle, sizeof(m->root_obstacle), "%.100s", mount.source);
	resolve_source(mount.source, &facts);
	default_text(m->root_uuid, sizeof(m->root_uuid), facts.uuid);
	default_text(m->root_fstype, sizeof(m->root_fstype),
		     strcmp(mount.type, "auto") ? mount.type : facts.type);
}

static void find_built_esp(const char *fstab, struct qmr_machine *m)
{
	struct device_facts facts = {0};
	struct qmr_mount mount;

	for (size_t i = 0; i < sizeof(esp_places) / sizeof(*esp_places); i++) {
		if (qmr_fstab_find(fstab, esp_places[i], &mount) < 0 ||
		    (strcmp(mount.type, "vfat") && strcmp(mount.type, "auto")))
			continue;
		resolve_source(mount.source, &facts);
		default_text(m->esp_path, sizeof(m->esp_path), esp_places[i]);
		default_text(m->esp_uuid, sizeof(m->esp_uuid), facts.uuid);
		return;
	}
}

int qmr_machine_find_built(const struct qmr_machine_known *known, struct qmr_machine *ret_machine,
			   struct qmr_error *err)
{
	struct qmr_machine machine = {0};
	cleanup_free char *fstab = NULL;
	struct stat st;
	size_t size;
	int r = set_known(known, &machine, err);

	if (r == 0)
		r = qmr_file_read(AT_FDCWD, "/etc/fstab", TABLE_BYTES_MAX, &fstab, &size, err);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0) {
		find_built_root(fstab, &machine);
		find_built_esp(fstab, &machine);
	}
	r = require_all(&machine, err);
	if (r < 0)
		return r;
	if (stat(machine.esp_path, &st) < 0 || !S_ISDIR(st.st_mode))
		return qmr_error_set(
			err, -ENOTDIR,
			"'%s' is no folder; give the one of the EFI system partition with "
			"--esp-path",
			machine.esp_path);
	if (strcmp(machine.esp_path, "/boot") && stat("/boot/loader/entries", &st) == 0)
		strcpy(machine.xbootldr_path, "/boot");
	*ret_machine = machine;
	return 0;
}
