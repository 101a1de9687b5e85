/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "cleanup.h"
#include "drivers.h"
#include "file.h"
#include "log.h"
#include "recovery.h"

#define ADAPTERS_MAX 16
#define POLL_MS 500
#define SYSFS_BYTES_MAX 4096 /* a page, which its files say is their size */

struct adapters {
	unsigned int n;
	char names[ADAPTERS_MAX][IF_NAMESIZE];
};

/* An Ethernet device that hangs on a bus; a wireless one has neither drivers nor keys here. */
static int is_wired(int dirfd, const char *name)
{
	cleanup_free char *type = NULL;
	char path[300];
	size_t size;

	snprintf(path, sizeof(path), "%s/type", name);
	if (qmr_file_read(dirfd, path, SYSFS_BYTES_MAX, &type, &size, NULL) < 0 || atoi(type) != ARPHRD_ETHER)
		return 0;
	snprintf(path, sizeof(path), "%s/phy80211", name);
	if (faccessat(dirfd, path, F_OK, 0) == 0)
		return 0;
	snprintf(path, sizeof(path), "%s/device", name);
	return faccessat(dirfd, path, F_OK, 0) == 0;
}

static void list_adapters(struct adapters *ret)
{
	cleanup_closedir DIR *dir = opendir("/sys/class/net");
	struct dirent *entry;

	ret->n = 0;
	while (dir && (entry = readdir(dir)) && ret->n < ADAPTERS_MAX)
		if (strlen(entry->d_name) < IF_NAMESIZE && entry->d_name[0] != '.' && is_wired(dirfd(dir), entry->d_name))
			strcpy(ret->names[ret->n++], entry->d_name);
}

/* An adapter on USB may have come after the disk was found, or may be on its way still. */
static int find_adapters(void *context, void *answer, struct qmr_error *err)
{
	struct adapters *adapters = answer;
	struct qmr_drivers *drivers;
	int left_ms = *(int *)context;
	int r = qmr_drivers_new(&drivers, err);

	if (r < 0)
		return r;
	qmr_drivers_load_present(drivers);
	for (list_adapters(adapters); adapters->n == 0 && left_ms > 0; left_ms -= POLL_MS) {
		(void)qmr_drivers_wait(drivers, POLL_MS); /* whether one of them is an adapter is looked up */
		list_adapters(adapters);
	}
	qmr_drivers_free(drivers);
	return adapters->n ? 0 : qmr_error_set(err, -ENODEV, "no wired network adapter");
}

/* Files in QMR_LINKS: interfaces that have an address. */
static int count_links(void)
{
	cleanup_closedir DIR *dir = opendir(QMR_LINKS);
	struct dirent *entry;
	int n = 0;

	while (dir && (entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	return n;
}

enum qmr_result qmr_step_network(struct qmr_recovery *recovery, int deadline_ms, struct qmr_error *err)
{
	char timeout[16];
	/*
	 * No address of its own making (-L): it reaches nobody. No probing of an address that the server gave (-A): the server
	 * does that, and it costs 5 s. It stays in the background and renews the lease until the machine restarts. The adapters
	 * are named, since dhcpcd 9.4.1 crashes when it has to find them itself and has no user to separate privileges by.
	 */
	char *argv[20 + ADAPTERS_MAX] = {"/usr/sbin/dhcpcd", "-f", "/dev/null", "-c", QMR_PROGRAM("dhcp-hook"), "-L", "-A",
					 "-w", "-t", timeout, "-o", "domain_name_servers", "-o", "domain_name", "-o",
					 "classless_static_routes", "-o", "interface_mtu"};
	int wait_ms = deadline_ms / 2, n_args = 0, r;
	struct adapters adapters;
	enum qmr_result result;

	r = qmr_child_call(find_adapters, &wait_ms, deadline_ms, &adapters, sizeof(adapters), err);
	if (r < 0)
		return r == -ENODEV ? QMR_RESULT_NETWORK : qmr_result_from(r);
	while (argv[n_args])
		n_args++;
	for (unsigned int i = 0; i < adapters.n; i++)
		argv[n_args++] = adapters.names[i];
	snprintf(timeout, sizeof(timeout), "%d", recovery->config.network_s);
	result = qmr_recovery_program(argv, recovery->config.network_s * 1000 + deadline_ms, err);
	/* It also goes to the background, successfully, when time is up: dhcp-hook knows whether there is an address. */
	recovery->has_network = count_links() > 0;
	if (recovery->has_network)
		return QMR_RESULT_OK;
	if (result == QMR_RESULT_OK || result == QMR_RESULT_FAILED) {
		qmr_error_set(err, -ENETUNREACH, "no address within %s s", timeout);
		result = QMR_RESULT_NETWORK;
	}
	return result;
}
