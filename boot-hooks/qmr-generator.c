/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "error.h"
#include "file.h"
#include "log.h"
#include "unit-order.h"

/* systemd waits for its generators before it starts anything. */
#define LIMIT_S 5

#define DROPIN "50-qmr.conf"
#define TEXT "# By qmr-generator(8): boot-complete.target comes behind multi-user.target.\n[Unit]\nAfter=multi-user.target\n"

static const char usage[] =
	"usage: qmr-generator [OPTION...] NORMAL-DIR [EARLY-DIR LATE-DIR]\n"
	"Orders services behind boot-complete.target behind multi-user.target, too. Called by systemd(1).\n\n"
	"  --root DIR      look at the units of another root\n"
	"  --help          show this help\n"
	"  --version       show the version\n";

static int write_dropin(void *data, const char *unit, struct qmr_error *err)
{
	const char *folder = data;
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s/%s.d", folder, unit) >= PATH_MAX - 16)
		return qmr_error_set(err, -ENAMETOOLONG, "'%s/%s.d' is too long", folder, unit);
	r = qmr_file_mkdirs(AT_FDCWD, path, 0755, err);
	strcat(path, "/" DROPIN);
	return r < 0 ? r : qmr_file_replace(AT_FDCWD, path, TEXT, strlen(TEXT), 0644, err);
}

/* Returns an exit status, or -1 to go on. */
static int parse(int argc, char **argv, const char **ret_root)
{
	static const struct option options[] = {
		{"root", required_argument, NULL, 'r'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 'r':
			*ret_root = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return QMR_EXIT_OK;
		case 'V':
			puts("qmr-generator " QMR_VERSION);
			return QMR_EXIT_OK;
		default:
			fputs(usage, stderr);
			return QMR_EXIT_USAGE;
		}
	if (argc - optind == 1 || argc - optind == 3)
		return -1;
	fputs(usage, stderr);
	return QMR_EXIT_USAGE;
}

int main(int argc, char **argv)
{
	const char *root = "/";
	cleanup_close int root_fd = -1;
	struct qmr_error err = {0};
	int code = parse(argc, argv, &root);

	if (code >= 0)
		return code;
	(void)alarm(LIMIT_S);
	qmr_log_open("qmr-generator", 0);
	root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		qmr_error_errno(&err, -errno, "opening '%s'", root);
	else if (!qmr_unit_order_is_ours(root_fd) || qmr_unit_order_find(root_fd, write_dropin, argv[optind], &err) == 0)
		return QMR_EXIT_OK;
	qmr_error_log("%s; units are left as they are, and systemd may break a cycle at boot-complete.target", err.text);
	return QMR_EXIT_FAILURE;
}
