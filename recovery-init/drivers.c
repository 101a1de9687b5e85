/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libkmod.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"

#define ALIAS_BYTES_MAX 4096 /* a page, all that sysfs gives */
#define OPEN_FOLDERS 32
#define KERNEL_GROUP 1 /* events of the kernel itself; 2 are udev's */

struct qmr_drivers {
	struct kmod_ctx *kmod;
	int events; /* netlink socket, -1: none, and only what is present is seen */
	/* Aliases whose driver was looked for already: a machine has hundreds of devices and dozens of kinds. */
	char **seen;
	size_t n_seen, room;
};

static void ignore_log(void *data, int priority, const char *file, int line, const char *fn, const char *format,
		       va_list args)
{
}

static int open_events(void)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP};
	int size = 1 << 20;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)); /* a smaller one is only likelier to overflow */
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int qmr_drivers_new(struct qmr_drivers **ret_drivers, struct qmr_error *err)
{
	struct qmr_drivers *drivers = calloc(1, sizeof(*drivers));

	if (!drivers)
		return qmr_error_set(err, -ENOMEM, "looking for drivers: out of memory");
	drivers->kmod = kmod_new(NULL, NULL);
	if (!drivers->kmod) {
		free(drivers);
		return qmr_error_set(err, -ENOMEM, "opening the index of modules failed");
	}
	kmod_set_log_fn(drivers->kmod, ignore_log, NULL);
	(void)kmod_load_resources(drivers->kmod); /* a cache; without it each look-up opens the index */
	drivers->events = open_events();
	*ret_drivers = drivers;
	return 0;
}

void qmr_drivers_free(struct qmr_drivers *drivers)
{
	if (!drivers)
		return;
	for (size_t i = 0; i < drivers->n_seen; i++)
		free(drivers->seen[i]);
	free(drivers->seen);
	if (drivers->events >= 0)
		close(drivers->events);
	kmod_unref(drivers->kmod);
	free(drivers);
}

/* 1 if it is new; then it is remembered (unless memory is out, which costs a second look-up). */
static int is_new(struct qmr_drivers *drivers, const char *alias)
{
	for (size_t i = 0; i < drivers->n_seen; i++)
		if (!strcmp(drivers->seen[i], alias))
			return 0;
	if (drivers->n_seen == drivers->room) {
		size_t room = drivers->room ? 2 * drivers->room : 64;
		char **seen = reallocarray(drivers->seen, room, sizeof(*seen));

		if (!seen)
			return 1;
		drivers->seen = seen;
		drivers->room = room;
	}
	drivers->seen[drivers->n_seen] = strdup(alias);
	if (drivers->seen[drivers->n_seen])
		drivers->n_seen++;
	return 1;
}

void qmr_drivers_load(struct qmr_drivers *drivers, const char *name)
{
	struct kmod_list *list = NULL, *item;

	if (!is_new(drivers, name) || kmod_module_new_from_lookup(drivers->kmod, name, &list) < 0)
		return;
	kmod_list_foreach(item, list) {
		struct kmod_module *module = kmod_module_get_module(item);
		int r = kmod_module_probe_insert_module(module, KMOD_PROBE_APPLY_BLACKLIST, NULL, NULL, NULL, NULL);

			/* ENODEV: a driver that finds out it is not needed. */
		if (r < 0 && r != -ENODEV && r != -EEXIST)
			qmr_warning("loading module '%s': %s; going on without it", kmod_module_get_name(module),
				    strerror(-r));
		kmod_module_unref(module);
	}
	kmod_module_unref_list(list);
}

static struct qmr_drivers *walking; /* nftw(3) passes nothing to its function */

static int visit(const char *path, const struct stat *st, int type, struct FTW *place)
{
	cleanup_free char *alias = NULL;
	size_t size;

	if (type != FTW_F || strcmp(path + place->base, "modalias") ||
	    qmr_file_read(AT_FDCWD, path, ALIAS_BYTES_MAX, &alias, &size, NULL) < 0)
		return 0;
	alias[strcspn(alias, "\n")] = '\0';
	if (*alias)
		qmr_drivers_load(walking, alias);
	return 0;
}

void qmr_drivers_load_present(struct qmr_drivers *drivers)
{
	walking = drivers;
	/* What cannot be read is a device that has gone meanwhile. */
	(void)nftw("/sys/devices", visit, OPEN_FOLDERS, FTW_PHYS);
	walking = NULL;
}

/* An event is a header line and then NAME=value strings, each ending in NUL. */
static void handle_event(struct qmr_drivers *drivers, const char *data, size_t size, int *ret_added)
{
	const char *alias = NULL;
	int is_add = 0;

	for (size_t at = 0; at < size; at += strlen(data + at) + 1) {
		if (!strcmp(data + at, "ACTION=add") || !strcmp(data + at, "ACTION=change"))
			is_add = 1;
		else if (!strncmp(data + at, "MODALIAS=", 9))
			alias = data + at + 9;
	}
	*ret_added |= is_add;
	if (is_add && alias)
		qmr_drivers_load(drivers, alias);
}

int qmr_drivers_wait(struct qmr_drivers *drivers, int timeout_ms)
{
	struct pollfd fd = {.fd = drivers->events, .events = POLLIN};
	int added = 0;

	if (poll(&fd, 1, timeout_ms) <= 0)
		return 0;
	for (;;) {
		char data[8192 + 1];
		ssize_t n = recv(drivers->events, data, sizeof(data) - 1, 0);

		if (n < 0 && errno == ENOBUFS) { /* events were lost */
			qmr_drivers_load_present(drivers);
			return 1;
		}
		if (n <= 0)
			return added;
		data[n] = '\0';
		handle_event(drivers, data, (size_t)n, &added);
	}
}
