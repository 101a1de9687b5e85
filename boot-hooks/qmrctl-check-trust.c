/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "child.h"
#include "cleanup.h"
#include "json.h"
#include "qmrctl-check.h"

/* What expires. diag-upload reads the certificates: this program links no OpenSSL. */

#define DIAG_UPLOAD "/usr/lib/qmr/diag-upload"
#define CHECK_MS 60000
#define OUTPUT_BYTES_MAX 65536
#define ROOT_BYTES_MAX (1U << 20)
#define SOON_S (30 * 86400)
#define BUNDLE_OF_MANY 8 /* a file with more certificates is a general one, in which some have always ended */

static const char advice[] = "put a new one there and run 'qmrctl install'";

static void format_date(int64_t unix_s, char ret_text[16])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(ret_text, 16, "%Y-%m-%d", &tm))
		strcpy(ret_text, "?");
}

/* An earlier finding that is worse stays. */
static void judge(struct qmrctl_finding *f, const char *what, const char *path, int64_t end, int64_t now, enum qmrctl_result if_over)
{
	enum qmrctl_result result = end <= now ? if_over : QMRCTL_WARNING;
	char date[16];

	if (end - now > SOON_S || (f->result == QMRCTL_FAILED || f->result == result))
		return;
	format_date(end, date);
	qmrctl_find(f, result, advice, "%s '%s' %s on %s", what, path, end <= now ? "ended" : "ends", date);
}

static void judge_certificates(struct qmrctl_finding *f, const json_t *files, int64_t now)
{
	const json_t *file;
	size_t i;

	json_array_foreach (files, i, file) {
		const char *use = qmr_json_string(file, "use"), *path = qmr_json_string(file, "path");
		int64_t first = json_integer_value(json_object_get(file, "first_unix_s"));
		int64_t last = json_integer_value(json_object_get(file, "last_unix_s"));
		int is_ca = use && !strcmp(use, "ca");

		/* Encrypting asks for no date; but whoever reads the bundles may have let the key go with it. */
		if (!is_ca)
			judge(f, "the upload certificate", path ? path : "?", first, now, QMRCTL_WARNING);
		else if (json_integer_value(json_object_get(file, "certificates")) > BUNDLE_OF_MANY)
			judge(f, "the last CA in", path ? path : "?", last, now, QMRCTL_FAILED);
		else
			judge(f, "a CA in", path ? path : "?", first, now, last <= now ? QMRCTL_FAILED : QMRCTL_WARNING);
	}
}

/* The built-in root may have expired, if the repository has a newer one that it vouches for (TUF 1.0, 5.3.10). */
static void judge_root(struct qmrctl_finding *f, const char *path, int64_t now)
{
	cleanup_json json_t *json = NULL;
	const char *expires;
	struct tm tm = {0};
	struct qmr_error err = {0};

	if (qmr_json_load(AT_FDCWD, path, ROOT_BYTES_MAX, &json, &err) < 0)
		return qmrctl_find(f, QMRCTL_FAILED, advice, "%s", err.text);
	expires = qmr_json_string(json_object_get(json, "signed"), "expires");
	if (!expires || !strptime(expires, "%Y-%m-%dT%H:%M:%SZ", &tm))
		return qmrctl_find(f, QMRCTL_FAILED, advice, "'%s' does not say when it expires", path);
	judge(f, "the root of the repository's metadata", path, timegm(&tm), now, QMRCTL_WARNING);
}

void qmrctl_check_trust(struct qmrctl *ctl, struct qmrctl_finding *f)
{
	char *argv[] = {DIAG_UPLOAD, "check", "--config", (char *)ctl->config_path, NULL};
	cleanup_free char *output = NULL;
	cleanup_json json_t *json = NULL;
	int64_t now = (int64_t)time(NULL);
	struct qmr_error err = {0};
	int r;

	if (!ctl->config.upload_url[0] && !qmr_config_has_source(&ctl->config, "https:")) {
		qmrctl_find(f, QMRCTL_OK, NULL, "no server is configured: nothing is sent, and no signed remediation fetched%s",
			    ctl->config.n_repository_urls ? " but from a folder or stick" : "");
		if (ctl->config.n_repository_urls)
			judge_root(f, ctl->config.repository_root, now);
		return;
	}
	r = qmr_child_run(argv, CHECK_MS, &output, OUTPUT_BYTES_MAX, &err);
	if (r == QMR_EXIT_REFUSED || r == QMR_EXIT_FAILURE)
		return qmrctl_find(f, QMRCTL_FAILED, advice, "'%s' check ended with exit code %d: a certificate cannot be used", DIAG_UPLOAD, r);
	if (r != QMR_EXIT_OK || qmr_json_parse(DIAG_UPLOAD, output, strlen(output), &json, &err) < 0)
		return qmrctl_find(f, QMRCTL_UNKNOWN, NULL, "'%s' check: %s", DIAG_UPLOAD, err.code ? err.text : "failed");
	qmrctl_find(f, QMRCTL_OK, NULL, "nothing ends within 30 days");
	judge_certificates(f, json_object_get(json, "files"), now);
	if (ctl->config.n_repository_urls)
		judge_root(f, ctl->config.repository_root, now);
}
