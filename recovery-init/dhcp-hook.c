/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "log.h"
#include "recovery.h"

/*
 * dhcpcd calls this with what it learned in the environment (dhcpcd-run-hooks(8)); addresses and routes it sets by itself. Here
 * the name servers of all interfaces become /etc/resolv.conf. The values come from the network: what is not a plain name or
 * address is left out.
 */

#define RESOLV_CONF "/etc/resolv.conf"
#define SERVERS_MAX 3 /* MAXNS, resolv.conf(5) */
#define LINK_BYTES_MAX 4096

static const char usage[] = "Usage: dhcp-hook\n"
			    "Called by dhcpcd in the recovery image: writes " RESOLV_CONF " from dhcpcd's environment.\n"
			    "\n"
			    "  --help     this text\n"
			    "  --version  the version\n";

/* What each reason of dhcpcd says about the interface. */
static const struct {
	const char *reason;
	int is_up;
} reasons[] = {
	{"BOUND", 1}, {"RENEW", 1}, {"REBIND", 1}, {"REBOOT", 1}, {"INFORM", 1}, {"STATIC", 1}, {"TIMEOUT", 1},
	{"BOUND6", 1}, {"RENEW6", 1}, {"REBIND6", 1}, {"REBOOT6", 1}, {"INFORM6", 1}, {"ROUTERADVERT", 1},
	{"EXPIRE", 0}, {"NAK", 0}, {"NOCARRIER", 0}, {"RELEASE", 0}, {"STOP", 0}, {"FAIL", 0}, {"DEPARTED", 0},
};

static int is_word(const char *word, const char *more)
{
	if (!*word || strlen(word) > 253)
		return 0;
	for (; *word; word++)
		if (!isalnum((unsigned char)*word) && !strchr(more, *word))
			return 0;
	return 1;
}

static void add_words(char *text, size_t room, const char *line, const char *variable, const char *allowed)
{
	cleanup_free char *copy = strdup(getenv(variable) ? getenv(variable) : "");
	char *place = NULL;

	for (char *word = copy ? strtok_r(copy, " ", &place) : NULL; word; word = strtok_r(NULL, " ", &place)) {
		size_t used = strlen(text);

		if (is_word(word, allowed) && used + strlen(line) + strlen(word) + 2 < room)
			snprintf(text + used, room - used, "%s%s\n", line, word);
	}
}

static int write_link(const char *interface, struct qmr_error *err)
{
	char text[LINK_BYTES_MAX] = "", path[sizeof(QMR_LINKS) + 32];

	add_words(text, sizeof(text), "nameserver ", "new_domain_name_servers", ".");
	add_words(text, sizeof(text), "nameserver ", "new_dhcp6_name_servers", ".:%");
	add_words(text, sizeof(text), "nameserver ", "nd1_rdnss1_servers", ".:%");
	add_words(text, sizeof(text), "search ", "new_domain_name", ".-_");
	snprintf(path, sizeof(path), QMR_LINKS "/%s", interface);
	return qmr_file_replace(AT_FDCWD, path, text, strlen(text), 0644, err);
}

/* The first search line and the first name servers of all interfaces. */
static int write_resolv_conf(struct qmr_error *err)
{
	cleanup_closedir DIR *dir = opendir(QMR_LINKS);
	char text[LINK_BYTES_MAX] = "options timeout:3 attempts:2\n";
	struct dirent *entry;
	int servers = 0, searches = 0;

	while (dir && (entry = readdir(dir))) {
		cleanup_free char *link = NULL;
		char *place = NULL;
		size_t size;

		if (entry->d_name[0] == '.' ||
		    qmr_file_read(dirfd(dir), entry->d_name, LINK_BYTES_MAX, &link, &size, NULL) < 0)
			continue;
		for (char *line = strtok_r(link, "\n", &place); line; line = strtok_r(NULL, "\n", &place)) {
			int *count = !strncmp(line, "nameserver ", 11) ? &servers : &searches;
			size_t used = strlen(text);

			if (*count < (count == &servers ? SERVERS_MAX : 1) && used + strlen(line) + 2 < sizeof(text)) {
				snprintf(text + used, sizeof(text) - used, "%s\n", line);
				(*count)++;
			}
		}
	}
	return qmr_file_replace(AT_FDCWD, RESOLV_CONF, text, strlen(text), 0644, err);
}

static int update(const char *interface, int is_up, struct qmr_error *err)
{
	char path[sizeof(QMR_LINKS) + 32];
	int r = qmr_file_mkdirs(AT_FDCWD, QMR_LINKS, 0755, err);

	if (r < 0)
		return r;
	if (is_up) {
		r = write_link(interface, err);
	} else {
		snprintf(path, sizeof(path), QMR_LINKS "/%s", interface);
		if (unlink(path) < 0 && errno != ENOENT)
			return qmr_error_errno(err, -errno, "removing '%s'", path);
	}
	return r < 0 ? r : write_resolv_conf(err);
}

int main(int argc, char **argv)
{
	const char *interface = getenv("interface"), *reason = getenv("reason");
	struct qmr_error err = {0};

	if (argc > 1 && !strcmp(argv[1], "--version"))
		return puts("dhcp-hook " QMR_VERSION) < 0;
	if (argc > 1)
		return fputs(usage, strcmp(argv[1], "--help") ? stderr : stdout) < 0 || strcmp(argv[1], "--help")
			       ? QMR_EXIT_USAGE
			       : QMR_EXIT_OK;
	qmr_log_open("dhcp-hook", 0);
	/* An interface's name has at most 15 bytes and no slash (Linux, dev_valid_name()). */
	if (!reason || !interface || strlen(interface) > 15 || strchr(interface, '/') || interface[0] == '.')
		return QMR_EXIT_OK; /* a call about no interface: PREINIT and such */
	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		if (!strcmp(reasons[i].reason, reason)) {
			if (update(interface, reasons[i].is_up, &err) == 0)
				return QMR_EXIT_OK;
			qmr_error_log("%s: %s; names may not be resolved", interface, err.text);
			return QMR_EXIT_FAILURE;
		}
	return QMR_EXIT_OK;
}
