/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "json.h"
#include "qmrctl.h"
#include "run-apply.h"

/* What recovery and vaccinations changed on this system, and taking it back: remediation-apply(8) knows and does it. */

#define OUTPUT_BYTES_MAX (64U << 20)
#define SHOWN_MAX 10 /* files of one remediation */

/* Returns the exit code and, where it is 0, what the program printed, owned by the caller. */
static int ask(const struct qmrctl *ctl, const char *const arguments[], json_t **ret_json, struct qmr_error *err)
{
	cleanup_free char *output = NULL;
	int r = qmr_run_apply(&ctl->config, arguments, &output, OUTPUT_BYTES_MAX, err);

	if (r == 0)
		r = qmr_json_parse("what remediation-apply printed", output, strlen(output), ret_json, err);
	return r;
}

int qmrctl_remediations_load(const struct qmrctl *ctl, json_t **ret_json, struct qmr_error *err)
{
	static const char *const arguments[] = {"list", NULL};
	int r = ask(ctl, arguments, ret_json, err);

	if (r > 0)
		return qmr_error_set(err, -EIO, "'remediation-apply list' ended with exit code %d", r);
	return r;
}

void qmrctl_remediations_count(const json_t *json, int *ret_in_effect, int *ret_undone)
{
	const json_t *entry;
	size_t i;

	*ret_in_effect = *ret_undone = 0;
	json_array_foreach (json_object_get(json, "transactions"), i, entry) {
		if (json_object_get(entry, "undoes"))
			continue;
		if (json_is_true(json_object_get(entry, "undone")))
			(*ret_undone)++;
		else
			(*ret_in_effect)++;
	}
}

static void print_file(const json_t *file)
{
	const char *path = qmr_json_string(file, "path"), *was = qmr_json_string(file, "was");
	char line[PATH_MAX];

	snprintf(line, sizeof(line), "%-9s %s", was ? was : "?", path ? path : "?");
	qmrctl_clean(line);
	printf("        %s\n", line);
}

static void print_one(const json_t *entry)
{
	const char *plan = qmr_json_string(entry, "plan"), *incident = qmr_json_string(entry, "incident");
	const json_t *boot = json_object_get(entry, "boot"), *files = json_object_get(entry, "files"), *file;
	char what[256];
	size_t i;

	snprintf(what, sizeof(what), "%s%s%s", plan ? plan : "?", incident ? ", incident " : "", incident ? incident : "");
	qmrctl_clean(what);
	printf("  %4lld  %-9s  %s", (long long)json_integer_value(json_object_get(entry, "id")),
	       json_is_true(json_object_get(entry, "undone")) ? "undone" : json_object_get(entry, "undoes") ? "undo" : "in effect", what);
	if (boot)
		printf(", vaccination of boot %lld", (long long)json_integer_value(boot));
	printf("\n");
	json_array_foreach (files, i, file)
		if (i < SHOWN_MAX)
			print_file(file);
	if (i > SHOWN_MAX)
		printf("        and %zu more, see --json\n", i - SHOWN_MAX);
}

int qmrctl_remediations(struct qmrctl *ctl, struct qmr_error *err)
{
	cleanup_json json_t *json = NULL;
	const json_t *list, *entry;
	int r = qmrctl_remediations_load(ctl, &json, err);
	size_t i;

	if (r < 0 || ctl->json)
		return r < 0 ? r : qmrctl_print_json(json, err);
	list = json_object_get(json, "transactions");
	json_array_foreach (list, i, entry)
		print_one(entry);
	if (json_array_size(list) == 0)
		printf("neither recovery nor a vaccination has changed anything on this system\n");
	return 0;
}

int qmrctl_undo(struct qmrctl *ctl, struct qmr_error *err)
{
	const char *const arguments[] = {"undo", "--id", ctl->argument, NULL};
	cleanup_json json_t *json = NULL;
	int r = ask(ctl, arguments, &json, err);

	switch (r) {
	case 0:
		printf("%s is undone, by transaction %lld: %zu files are what they were before\n", ctl->argument,
		       (long long)json_integer_value(json_object_get(json, "transaction")), json_array_size(json_object_get(json, "changed")));
		return 0;
	case QMR_EXIT_USAGE:
		return qmr_error_set(err, -EINVAL, "'%s' is not the number of a remediation; see 'qmrctl remediations'", ctl->argument);
	case QMR_EXIT_NOTHING:
		return qmr_error_set(err, -ENODATA, "there is no remediation %s that is in effect; see 'qmrctl remediations'", ctl->argument);
	default:
		return r < 0 ? r : qmr_error_set(err, -EIO, "'remediation-apply undo' ended with exit code %d", r);
	}
}
