/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "file.h"
#include "qmrctl-check.h"
#include "restore-point.h"

#define MKRECOVERY "/usr/lib/qmr/mkrecovery"
#define LIST_MS 120000
#define LIST_BYTES_MAX (4U << 20)
#define NET "/sys/class/net"
#define MODULES "/sys/module"
#define SYSFS_BYTES_MAX 4096
#define DEPENDS_BYTES_MAX (16U << 20)
#define NAME_BYTES 64 /* the kernel's MODULE_NAME_LEN, and more */

/* A list of names for people; one that does not fit ends in dots. */
struct names {
	size_t n;
	char text[200];
};

static void add_name(struct names *names, const char *name)
{
	size_t used = strlen(names->text), length = strlen(name);

	if (used + length + sizeof(", , ...") <= sizeof(names->text))
		snprintf(names->text + used, sizeof(names->text) - used, "%s%s", names->n ? ", " : "", name);
	else if (strcmp(names->text + (used < 3 ? 0 : used - 3), "..."))
		snprintf(names->text + used, sizeof(names->text) - used, ", ...");
	names->n++;
}

/* The name of a module by its file: "a/b-c.ko.xz" is b_c. 0 if it is no module's file. */
static int module_name(const char *path, size_t length, char ret_name[NAME_BYTES])
{
	size_t begin = length, n = 0;

	while (begin > 0 && path[begin - 1] != '/')
		begin--;
	for (; begin + n < length && n < NAME_BYTES - 1 && path[begin + n] != '.'; n++)
		ret_name[n] = path[begin + n] == '-' ? '_' : path[begin + n];
	ret_name[n] = '\0';
	return n > 0 && length - begin - n >= 3 && !strncmp(path + begin + n, ".ko", 3);
}

/* Whether one of the lines of text begins with a module's file of that name; what follows a colon is something else. */
static int lists_module(const char *text, const char *name)
{
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		char found[NAME_BYTES];

		if (module_name(line, strcspn(line, ":\n"), found) && !strcmp(found, name))
			return 1;
	}
	return 0;
}

struct adapters {
	int n_wired, n_wireless, has_link;
	struct names missing, linked; /* drivers that the recovery image lacks; adapters with a link */
};

static int is_one(int dirfd, const char *adapter, const char *file, int number)
{
	cleanup_free char *text = NULL;
	char path[300];
	size_t size;

	snprintf(path, sizeof(path), "%s/%s", adapter, file);
	return qmr_file_read(dirfd, path, SYSFS_BYTES_MAX, &text, &size, NULL) == 0 && atoi(text) == number;
}

static int has(int dirfd, const char *adapter, const char *file)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", adapter, file);
	return faccessat(dirfd, path, F_OK, 0) == 0;
}

/* "" where the driver is built into the kernel. */
static void driver_of(int dirfd, const char *adapter, char ret_name[NAME_BYTES])
{
	char path[300], link[512];
	ssize_t length;

	*ret_name = '\0';
	snprintf(path, sizeof(path), "%s/device/driver/module", adapter);
	length = readlinkat(dirfd, path, link, sizeof(link) - 1);
	if (length <= 0)
		return;
	link[length] = '\0';
	snprintf(ret_name, NAME_BYTES, "%.63s", strrchr(link, '/') ? strrchr(link, '/') + 1 : link);
}

static void look_at_adapters(const char *list, struct adapters *ret)
{
	cleanup_closedir DIR *dir = opendir(NET);
	struct dirent *entry;

	memset(ret, 0, sizeof(*ret));
	while (dir && (entry = readdir(dir))) {
		const char *name = entry->d_name;
		char driver[NAME_BYTES];

		if (name[0] == '.' || strlen(name) > 200 || !is_one(dirfd(dir), name, "type", ARPHRD_ETHER) || !has(dirfd(dir), name, "device"))
			continue;
		if (has(dirfd(dir), name, "phy80211") || has(dirfd(dir), name, "wireless")) {
			ret->n_wireless++;
			continue;
		}
		ret->n_wired++;
		if (!is_one(dirfd(dir), name, "carrier", 1))
			continue;
		ret->has_link = 1;
		driver_of(dirfd(dir), name, driver);
		if (*driver && !lists_module(list, driver))
			add_name(&ret->missing, driver);
		else
			add_name(&ret->linked, name);
	}
}

void qmrctl_check_network(struct qmrctl *ctl, struct qmrctl_finding *f)
{
	struct qmrctl_image image = {0};
	char *argv[] = {MKRECOVERY, "--list", "--config", (char *)ctl->config_path, "--kernel", image.kernel,
			NULL}; /* as it was built */
	cleanup_free char *list = NULL;
	struct qmr_error err = {0};
	struct adapters adapters;
	int r;

	if (!ctl->config.upload_url[0] && !qmr_config_has_source(&ctl->config, "https:"))
		return qmrctl_find(f, QMRCTL_OK, NULL, "no server is configured, and none is needed");
	if (!ctl->machine.esp_path[0] || qmrctl_image_examine(ctl, QMR_SLOT_FIRST, &image, NULL) < 0)
		argv[4] = NULL; /* what one for the running kernel would hold */
	r = qmr_child_run(argv, LIST_MS, &list, LIST_BYTES_MAX, &err);
	if (r > 0)
		return qmrctl_find(f, QMRCTL_UNKNOWN, NULL, "'%s --list' ended with exit code %d", MKRECOVERY, r);
	if (r < 0)
		return qmrctl_find(f, QMRCTL_UNKNOWN, NULL, "%s", err.text);
	look_at_adapters(list, &adapters);
	if (!adapters.n_wired)
		return qmrctl_find(f, QMRCTL_WARNING, NULL, "%s: recovery reaches no server, and bundles wait for the healed system",
				   adapters.n_wireless ? "there are wireless adapters only, which recovery does not use" : "no network adapter");
	if (!adapters.has_link)
		return qmrctl_find(f, QMRCTL_WARNING, "plug in a cable", "no wired adapter has a link: recovery reaches no server");
	if (adapters.missing.n)
		return qmrctl_find(f, adapters.linked.n ? QMRCTL_WARNING : QMRCTL_FAILED, NULL,
				   "the recovery image has no driver for a wired adapter with a link: %s", adapters.missing.text);
	qmrctl_find(f, QMRCTL_OK, NULL, "the recovery image has the driver of %s", adapters.linked.text);
}

struct third_party {
	const struct qmr_restore_point *point;
	const char *release;
	struct names covered, uncovered;
};

static int is_loaded(const char *name)
{
	char path[sizeof(MODULES) + NAME_BYTES + 16];

	snprintf(path, sizeof(path), MODULES "/%s/initstate", name);
	return access(path, F_OK) == 0;
}

/* O: not of the kernel's tree, E: not signed by who built the kernel (Documentation/admin-guide/tainted-kernels.rst). */
static int is_foreign(const char *name)
{
	cleanup_free char *text = NULL;
	char path[sizeof(MODULES) + NAME_BYTES + 16];
	size_t size;

	snprintf(path, sizeof(path), MODULES "/%s/taint", name);
	return qmr_file_read(AT_FDCWD, path, SYSFS_BYTES_MAX, &text, &size, NULL) == 0 && strpbrk(text, "OE");
}

/* Folders where packages and people put modules that do not come with the kernel. */
static int is_added(const char *path)
{
	static const char *const folders[] = {"updates/", "extra/", "weak-updates/"};

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++)
		if (!strncmp(path, folders[i], strlen(folders[i])))
			return 1;
	return 0;
}

/* modules.dep(5): "kernel/a/b.ko: kernel/c/d.ko", relative to the release's folder. */
static void look_at_files(char *depends, struct third_party *t)
{
	char *place;

	for (char *line = strtok_r(depends, "\n", &place); line; line = strtok_r(NULL, "\n", &place)) {
		char name[NAME_BYTES], path[600];

		line[strcspn(line, ":")] = '\0';
		if (!module_name(line, strlen(line), name) || !is_loaded(name) || (!is_added(line) && !is_foreign(name)))
			continue;
		snprintf(path, sizeof(path), "/usr/lib/modules/%s/%s", t->release, line);
		add_name(t->point && qmr_restore_point_find(t->point, path) ? &t->covered : &t->uncovered, name);
	}
}

/* Loaded from nowhere that modprobe knows. */
static void look_at_strangers(const char *depends, struct third_party *t)
{
	cleanup_closedir DIR *dir = opendir(MODULES);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && strlen(entry->d_name) < NAME_BYTES && is_loaded(entry->d_name) &&
		    is_foreign(entry->d_name) && !lists_module(depends, entry->d_name))
			add_name(&t->uncovered, entry->d_name);
}

void qmrctl_check_modules(struct qmrctl *ctl, struct qmrctl_finding *f)
{
	cleanup_close int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_free char *depends = NULL;
	struct qmr_restore_point point = {0};
	struct third_party third = {0};
	struct utsname uts = {0};
	struct qmr_error err = {0};
	char path[256];
	size_t size;

	(void)uname(&uts); /* cannot fail with a valid pointer */
	third.release = uts.release;
	snprintf(path, sizeof(path), "/usr/lib/modules/%.100s/modules.dep", uts.release);
	if (qmr_file_read(AT_FDCWD, path, DEPENDS_BYTES_MAX, &depends, &size, &err) < 0)
		return qmrctl_find(f, QMRCTL_UNKNOWN, NULL, "%s", err.text);
	if (qmr_restore_point_load_newest(root_fd, &point, &err) == 0)
		third.point = &point;
	look_at_strangers(depends, &third);
	look_at_files(depends, &third); /* takes the text apart */
	if (third.uncovered.n && !third.point)
		qmrctl_find(f, QMRCTL_WARNING, "a healthy boot takes the first one", "loaded kernel modules that are not the kernel's own: %s; "
			    "there is no restore point yet", third.uncovered.text);
	else if (third.uncovered.n)
		qmrctl_find(f, QMRCTL_WARNING, "add their folder as [watch] path, or take one: systemctl start qmr-restore-point.service",
			    "loaded kernel modules that are not the kernel's own and in no restore point (the newest is %llu): %s",
			    (unsigned long long)point.id, third.uncovered.text);
	else if (third.covered.n)
		qmrctl_find(f, QMRCTL_OK, NULL, "loaded kernel modules that are not the kernel's own, all in restore point %llu: %s",
			    (unsigned long long)point.id, third.covered.text);
	else
		qmrctl_find(f, QMRCTL_OK, NULL, "all loaded kernel modules are the kernel's own");
	qmr_restore_point_done(&point);
}
