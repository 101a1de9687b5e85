/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "file.h"
#include "health-check.h"
#include "json.h"
#include "log.h"

#define GREENBOOT_CONF_BYTES_MAX 65536

struct arguments {
	const char *root, *config;
	int list, json;
};

static const char usage[] =
	"usage: health-check [OPTION...]\n"
	"Runs the owner's health checks, which decide whether this boot is healthy.\n"
	"\n"
	"  --root DIR      look for checks, and keep results, below DIR (default /)\n"
	"  --list          print what would be run, one check a line, and run nothing\n"
	"  --json          print the results as JSON too\n"
	"  --config FILE   configuration (default " QMR_CONFIG_PATH ")\n"
	"  --help          this text\n"
	"  --version       the version\n"
	"\n"
	"Exits 0 if all required checks passed, 1 if one did not. See health-check(8).\n";

/* Returns -1 to go on, otherwise the exit code. */
static int parse(int argc, char **argv, struct arguments *a)
{
	static const struct option options[] = {
		{"root", required_argument, NULL, 'r'}, {"list", no_argument, NULL, 'l'}, {"json", no_argument, NULL, 'j'},
		{"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'r':
			a->root = strcmp(optarg, "/") ? optarg : "";
			break;
		case 'l':
			a->list = 1;
			break;
		case 'j':
			a->json = 1;
			break;
		case 'c':
			a->config = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return QMR_EXIT_OK;
		case 'V':
			puts("health-check " QMR_VERSION);
			return QMR_EXIT_OK;
		default:
			fputs(usage, stderr);
			return QMR_EXIT_USAGE;
		}
	if (optind == argc)
		return -1;
	fputs(usage, stderr);
	return QMR_EXIT_USAGE;
}

/* greenboot's own configuration may be missing or beyond us: then nothing is switched off, and that is said. */
static void read_greenboot_conf(const char *root, struct qmr_greenboot_names *ret_names)
{
	cleanup_close int fd = -1;
	cleanup_free char *text = NULL;
	struct qmr_error err = {0};
	char path[4096];
	size_t size;
	int r;

	if (snprintf(path, sizeof(path), "%s" QMR_GREENBOOT_CONF, root) >= (int)sizeof(path))
		return; /* nothing is found below such a root, and that is an error */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* may be a link, as for greenboot */
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return;
	r = fd < 0 ? qmr_error_errno(&err, -errno, "opening '%s'", path)
		   : qmr_file_read_fd(fd, path, GREENBOOT_CONF_BYTES_MAX, &text, &size, &err);
	if (r == 0 && strlen(text) != size)
		r = qmr_error_set(&err, -EINVAL, "%s: holds a NUL byte", path);
	if (r == 0)
		r = qmr_greenboot_conf_parse(path, text, ret_names, &err);
	if (r < 0)
		qmr_warning("%s; no check is switched off by it", err.text);
}

static void warn_of_unknown(const struct qmr_greenboot_names *names, const struct qmr_checks *checks)
{
	for (size_t i = 0; i < names->n; i++) {
		int found = 0;

		for (size_t k = 0; k < checks->n; k++)
			found |= checks->items[k].switched_off && !strcmp(checks->items[k].name, names->names[i]);
		if (!found)
			qmr_warning(QMR_GREENBOOT_CONF " switches off '%s': there is no such check; it may be misspelled", names->names[i]);
	}
}

static void list(const struct qmr_checks *checks)
{
	for (size_t i = 0; i < checks->n; i++) {
		const struct qmr_check *check = &checks->items[i];
		const char *kind = check->required ? "required" : "wanted";

		if (check->switched_off)
			continue;
		if (check->problem[0]) {
			qmr_warning("%s check '%s': %s", kind, check->path, check->problem);
			continue;
		}
		printf("%s ", kind);
		for (const unsigned char *p = (const unsigned char *)check->path; *p; p++)
			putchar(*p < 0x20 || *p == 0x7f ? '?' : *p); /* one check a line, whatever its name */
		putchar('\n');
	}
}

static void report(const struct qmr_check *check)
{
	const char *kind = check->required ? "required" : "wanted";
	char attempts[48] = "", line[201];

	if (check->result == QMR_CHECK_PASSED) {
		qmr_info("%s check '%s' passed in %lld ms", kind, check->name, (long long)check->duration_ms);
		return;
	}
	if (check->switched_off) {
		qmr_info("%s check '%s' was not run: %s", kind, check->name, check->why);
		return;
	}
	if (check->attempts > 1)
		snprintf(attempts, sizeof(attempts), ", in each of %d attempts", check->attempts);
	qmr_check_last_line(check, line);
	qmr_log(check->required ? QMR_LOG_ERROR : QMR_LOG_WARNING, "%s check '%s' did not pass%s: %s%s%s%s%s", kind, check->path,
		check->required ? "" : ", which does not count", check->why, attempts, line[0] ? "; it said '" : "", line,
		line[0] ? "'" : "");
}

static int run_all(const struct arguments *a, const struct qmr_config *config, struct qmr_checks *checks)
{
	int64_t started_unix_s = time(NULL);
	cleanup_json json_t *json = NULL;
	struct qmr_error err = {0};
	size_t failures = 0, required = 0;
	int r;

	for (size_t i = 0; i < checks->n; i++) {
		qmr_check_run(&checks->items[i], config);
		report(&checks->items[i]);
		required += (size_t)checks->items[i].required;
		failures += (size_t)qmr_check_is_failure(&checks->items[i]);
	}
	json = qmr_checks_json(checks, started_unix_s);
	r = json ? qmr_checks_save(a->root, checks, json, &err) : qmr_error_set(&err, -ENOMEM, "out of memory");
	if (r < 0)
		qmr_warning("keeping the results: %s; they are in the journal only", err.text);
	if (a->json && (!json || json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) < 0 || putchar('\n') == EOF))
		qmr_warning("the results could not be printed");
	if (failures)
		qmr_error_log("%zu of %zu required checks did not pass; this boot is not recorded as healthy", failures, required);
	return failures ? QMR_EXIT_FAILURE : QMR_EXIT_OK;
}

int main(int argc, char **argv)
{
	struct arguments a = {.root = "", .config = QMR_CONFIG_PATH};
	struct qmr_greenboot_names disabled = {0};
	struct qmr_checks checks = {0};
	struct qmr_error err = {0};
	struct qmr_config config;
	int code = parse(argc, argv, &a);

	if (code >= 0)
		return code;
	qmr_log_open("health-check", 0);
	if (qmr_config_load(a.config, &config, &err) < 0)
		qmr_warning("%s; going on with the defaults", err.text);
	if (config.mode == QMR_MODE_OFF && !a.list) {
		qmr_info("[policy] mode is off: no check is run");
		return QMR_EXIT_OK;
	}
	read_greenboot_conf(a.root, &disabled);
	if (qmr_checks_find(a.root, &disabled, &checks, &err) < 0) {
		qmr_error_log("%s; no check was run, this boot is not recorded as healthy", err.text);
		code = QMR_EXIT_FAILURE;
	} else {
		warn_of_unknown(&disabled, &checks);
		if (a.list)
			list(&checks);
		code = a.list ? QMR_EXIT_OK : run_all(&a, &config, &checks);
	}
	qmr_checks_done(&checks);
	qmr_greenboot_names_done(&disabled);
	return code;
}
