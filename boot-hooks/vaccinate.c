/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "config.h"
#include "json.h"
#include "log.h"
#include "poll-fetch.h"
#include "poll-program.h"
#include "run-apply.h"

/* Plans for a machine that has not crashed: docs/remediation.md, "Vaccination". What is done with them is remediation-apply's part. */

#define FOLDER "/run/qmr/vaccinate"
#define REPORT FOLDER "/fetch.json"
#define FACTS FOLDER "/facts.json"
#define TRANSACTIONS "/var/lib/qmr/transactions"
#define REPORT_BYTES_MAX (4u << 20)

static const char usage[] =
	"Usage: vaccinate [--config FILE]\n"
	"\n"
	"Applies what the owner's signed plans have for a machine that has not crashed yet.\n"
	"\n"
	"  --config FILE  configuration (default " QMR_CONFIG_PATH ")\n"
	"  --help         this text\n"
	"  --version      the version\n";

/* Why this boot is none that a plan may change, NULL if it may. */
static const char *find_obstacle(const json_t *status)
{
	const json_t *newest = json_array_get(json_object_get(json_object_get(status, "state"), "attempts"), 0);
	const char *stage = qmr_json_string(status, "stage"), *phase = qmr_json_string(newest, "phase");

	if (!stage || (strcmp(stage, "none") && strcmp(stage, "healed")))
		return "something is being done about failed boots";
	return phase && !strcmp(phase, "healthy") ? NULL : "this boot has not become healthy";
}

/* 1 and the number of this boot, or 0 if nothing is to be done in it now. */
static int ask_status(const char *config_path, int64_t *ret_boot, struct qmr_error *err)
{
	cleanup_json json_t *status = NULL;
	const char *obstacle;
	int r = qmr_poll_status(config_path, &status, err);

	if (r < 0)
		return r;
	obstacle = find_obstacle(status);
	if (obstacle)
		qmr_info("%s: no plan is applied", obstacle);
	*ret_boot = json_integer_value(json_object_get(json_object_get(status, "state"), "boots"));
	return !obstacle;
}

/*
 * 1 if there is something to do: plans that were fetched or withdrawn, or transactions among which may be what this boot proves; says the plans
 * where the mode is one that does nothing.
 */
static int has_work(const struct qmr_config *config, struct qmr_error *err)
{
	cleanup_json json_t *report = NULL;
	int r = qmr_json_load(AT_FDCWD, REPORT, REPORT_BYTES_MAX, &report, err);
	const json_t *plans = json_object_get(report, "plans"), *entry;
	size_t i;

	if (r < 0)
		return r;
	if (config->mode == QMR_MODE_AUTOMATIC)
		return json_array_size(plans) || json_array_size(json_object_get(report, "withdrawn")) || access(TRANSACTIONS, F_OK) == 0;
	json_array_foreach (plans, i, entry)
		qmr_notice("plan '%.63s' would be tried on this healthy machine; mode %s does nothing", qmr_json_string(entry, "id"),
			   qmr_mode_name(config->mode));
	return 0;
}

static int apply(const char *config_path, const struct qmr_config *config, int64_t boot_number, struct qmr_error *err)
{
	char boot[24];
	const char *const arguments[] = {"vaccinate", "--plans", FOLDER, "--report", REPORT, "--incident", FACTS, "--boot", boot,
					 "--config", config_path, NULL};
	int r;

	snprintf(boot, sizeof(boot), "%" PRId64, boot_number);
	r = qmr_run_apply(config, arguments, NULL, 0, err);
	if (r <= 0 || r == QMR_EXIT_NOTHING || r == QMR_EXIT_REFUSED) /* it has said which plan was refused, and why */
		return r < 0 ? r : 0;
	return qmr_error_set(err, -EIO, "'remediation-apply vaccinate' ended with exit code %d", r);
}

static int vaccinate(const char *config_path, const struct qmr_config *config, struct qmr_error *err)
{
	int64_t boot = 0;
	int r = ask_status(config_path, &boot, err);

	if (r <= 0)
		return r;
	r = qmr_poll_fetch(config_path, config, QMR_POLL_PLANS, FOLDER, err);
	if (r == 0)
		r = has_work(config, err);
	return r > 0 ? apply(config_path, config, boot, err) : r;
}

static int run(const char *config_path)
{
	static struct qmr_config config;
	struct qmr_error err = {0};
	int r = qmr_config_load(config_path, &config, &err);

	if (r < 0) {
		qmr_error_log("%s; no plan is applied", err.text);
		return QMR_EXIT_FAILURE;
	}
	if (!config.vaccinate || config.n_repository_urls == 0 || config.mode == QMR_MODE_OFF) {
		qmr_info("healthy machines are left alone: %s", config.mode == QMR_MODE_OFF ? "the mode is off" :
			 config.vaccinate ? "no [repository] url is configured" : "[policy] vaccinate is not yes");
		return QMR_EXIT_OK;
	}
	r = vaccinate(config_path, &config, &err);
	if (r < 0)
		qmr_error_log("%s", err.text);
	return r < 0 ? QMR_EXIT_FAILURE : QMR_EXIT_OK;
}

int main(int argc, char **argv)
{
	return qmr_poll_main(argc, argv, "vaccinate", usage, run);
}
