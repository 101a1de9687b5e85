/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "json.h"
#include "plan-match.h"
#include "tree.h"

#define HELLO "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03" /* of "hello\n" */
#define OTHER "0000000000000000000000000000000000000000000000000000000000000000"

static const char incident_text[] =
	"{\"schema\":1,\"id\":\"i\",\"kind\":\"panic\",\"kernel\":\"6.1.0-40-amd64\","
	"\"culprit\":{\"module\":\"bad_driver\",\"function\":\"f\",\"module_version\":\"2.10\"},"
	"\"machine\":{\"machine_id\":\"0123456789abcdef0123456789abcdef\",\"os_id\":\"debian\",\"os_version\":\"12\","
	"\"architecture\":\"x86_64\",\"dmi_vendor\":\"Acme Inc.\",\"dmi_product\":\"Anvil 7\"}}";

static struct qmr_config config;

static enum qmr_match match(const char *selector, const char *id, const struct qmr_match_subject *subject)
{
	struct qmr_error err = {0};
	struct qmr_plan plan = {0};
	enum qmr_match result;
	char text[2048];

	snprintf(text, sizeof(text),
		 "{\"schema\":1,\"id\":\"%s\",\"title\":\"t\",\"match\":%s,\"actions\":[{\"type\":\"block-module\",\"module\":\"m\"}]}",
		 id, selector);
	if (qmr_plan_parse("p", text, strlen(text), &plan, &err) < 0)
		fail_msg("%s: %s", selector, err.text);
	result = qmr_plan_match(&plan, subject);
	qmr_plan_done(&plan);
	return result;
}

struct a_case {
	const char *selector;
	enum qmr_match want;
};

/* Each case, and its negation: "not" turns yes and no, and leaves unknown alone. */
static void check_cases(const struct a_case *cases, size_t n, const struct qmr_match_subject *subject)
{
	static const enum qmr_match negated[] = {QMR_MATCH_YES, QMR_MATCH_NO, QMR_MATCH_UNKNOWN};

	for (size_t i = 0; i < n; i++) {
		char negation[1024];

		if (match(cases[i].selector, "p", subject) != cases[i].want)
			fail_msg("%s is %d", cases[i].selector, match(cases[i].selector, "p", subject));
		snprintf(negation, sizeof(negation), "{\"not\":%s}", cases[i].selector);
		if (match(negation, "p", subject) != negated[cases[i].want])
			fail_msg("%s", negation);
	}
}

#define CHECK(cases, subject) check_cases(cases, sizeof(cases) / sizeof(*(cases)), subject)

static void what_the_incident_says(void **unused)
{
	static const struct a_case cases[] = {
		{"{\"culprit-module\":\"bad-driver\"}", QMR_MATCH_YES},
		{"{\"culprit-module\":\"bad\"}", QMR_MATCH_NO},
		{"{\"culprit-module-version\":\"2.10\"}", QMR_MATCH_YES},
		{"{\"culprit-module-version\":\"2.1\"}", QMR_MATCH_NO},
		{"{\"culprit-module-version\":{\"above\":\"2.9\",\"at-most\":\"2.10\"}}", QMR_MATCH_YES},
		{"{\"culprit-module-version\":{\"above\":\"2.10\"}}", QMR_MATCH_NO},
		{"{\"culprit-module-version\":{\"below\":\"2.10\"}}", QMR_MATCH_NO},
		{"{\"culprit-module-version\":{\"at-least\":\"2.10\"}}", QMR_MATCH_YES},
		{"{\"kernel-release\":\"6.1.0-40-amd64\"}", QMR_MATCH_YES},
		{"{\"kernel-release\":{\"at-least\":\"6.1.0-30\",\"below\":\"6.1.0-41\"}}", QMR_MATCH_YES},
		{"{\"kernel-release\":{\"at-least\":\"6.1.0-30\",\"below\":\"6.1.0-40\"}}", QMR_MATCH_NO},
		{"{\"kernel-release\":{\"at-least\":\"6.1.0-9\"}}", QMR_MATCH_YES},
		{"{\"os-id\":\"debian\"}", QMR_MATCH_YES},
		{"{\"os-version\":{\"at-least\":\"9\"}}", QMR_MATCH_YES},
		{"{\"os-version\":{\"below\":\"12\"}}", QMR_MATCH_NO},
		{"{\"architecture\":\"x86_64\"}", QMR_MATCH_YES},
		{"{\"architecture\":\"aarch64\"}", QMR_MATCH_NO},
		{"{\"dmi-vendor\":\"Acme Inc.\"}", QMR_MATCH_YES},
		{"{\"dmi-product\":\"Anvil 8\"}", QMR_MATCH_NO},
		{"{\"machine-id\":\"0123456789abcdef0123456789abcdef\"}", QMR_MATCH_YES},
		{"{\"oops-function\":\"f\"}", QMR_MATCH_YES},
		{"{\"incident-kind\":\"hang\"}", QMR_MATCH_NO},
		/* What nobody knows is not "no". */
		{"{\"label\":\"canary\"}", QMR_MATCH_UNKNOWN},
		{"{\"file\":{\"path\":\"/etc/x\"}}", QMR_MATCH_UNKNOWN},
		{"{\"package\":{\"name\":\"dpkg\"}}", QMR_MATCH_UNKNOWN},
	};
	static const struct a_case unknown[] = {
		{"{\"culprit-module\":\"bad-driver\"}", QMR_MATCH_UNKNOWN},
		{"{\"culprit-module-version\":{\"below\":\"9\"}}", QMR_MATCH_UNKNOWN},
		{"{\"kernel-release\":{\"below\":\"9\"}}", QMR_MATCH_UNKNOWN},
		{"{\"os-version\":\"12\"}", QMR_MATCH_UNKNOWN},
		{"{\"architecture\":\"x86_64\"}", QMR_MATCH_UNKNOWN},
		{"{\"dmi-vendor\":\"Acme Inc.\"}", QMR_MATCH_UNKNOWN},
		{"{\"percent\":100}", QMR_MATCH_UNKNOWN},
		{"{\"percent\":0}", QMR_MATCH_UNKNOWN},
	};
	json_t *incident = json_loads(incident_text, 0, NULL), *odd = json_loads("{\"kernel\":\"6.1 0\"}", 0, NULL);
	static const struct a_case no_version[] = {
		{"{\"kernel-release\":{\"below\":\"9\"}}", QMR_MATCH_UNKNOWN},
		{"{\"kernel-release\":\"9\"}", QMR_MATCH_NO},
	};

	CHECK(cases, (&(struct qmr_match_subject){incident, NULL, -1}));
	CHECK(unknown, (&(struct qmr_match_subject){NULL, &config, -1}));
	CHECK(no_version, (&(struct qmr_match_subject){odd, NULL, -1}));
	json_decref(incident);
	json_decref(odd);
}

static void labels_are_the_configuration_s(void **unused)
{
	static const struct a_case cases[] = {
		{"{\"label\":\"canary\"}", QMR_MATCH_YES},
		{"{\"label\":\"canar\"}", QMR_MATCH_NO},
		{"{\"label\":\"office\"}", QMR_MATCH_YES},
	};
	struct qmr_config labelled = {.label = {"canary", "office"}, .n_label = 2};

	CHECK(cases, (&(struct qmr_match_subject){NULL, &labelled, -1}));
	assert_int_equal(match("{\"label\":\"canary\"}", "p", &(struct qmr_match_subject){NULL, &config, -1}), QMR_MATCH_NO);
}

/* Machines keep their number for a plan, other plans take other machines first, and the share is what was asked for. */
static void percent_takes_a_stable_share(void **unused)
{
	unsigned int taken[3] = {0}, both = 0, lost = 0;

	for (int i = 0; i < 2000; i++) {
		char id[40];
		json_t *incident;
		struct qmr_match_subject subject = {NULL, NULL, -1};
		int ten, ten_of_other;

		snprintf(id, sizeof(id), "%032x", i * 7919);
		incident = json_pack("{s:{s:s}}", "machine", "machine_id", id);
		subject.incident = incident;
		ten = match("{\"percent\":10}", "a", &subject) == QMR_MATCH_YES;
		ten_of_other = match("{\"percent\":10}", "b", &subject) == QMR_MATCH_YES;
		taken[0] += match("{\"percent\":0}", "a", &subject) == QMR_MATCH_YES;
		taken[1] += ten;
		taken[2] += match("{\"percent\":100}", "a", &subject) == QMR_MATCH_YES;
		both += ten && ten_of_other;
		lost += ten && match("{\"percent\":11}", "a", &subject) != QMR_MATCH_YES;
		json_decref(incident);
	}
	assert_int_equal(taken[0], 0);
	assert_in_range(taken[1], 140, 260);
	assert_int_equal(taken[2], 2000);
	assert_in_range(both, 0, 60);
	assert_int_equal(lost, 0);
}

/* What docs/remediation.md says the number is. */
static void percent_is_as_documented(void **unused)
{
	json_t *incident = json_loads(incident_text, 0, NULL);
	struct qmr_match_subject subject = {incident, NULL, -1};

	/* printf '0123456789abcdef0123456789abcdef\np' | sha256sum: ada1..., its first 8 bytes modulo 100 are 6 */
	for (int n = 0; n <= 100; n++) {
		char selector[32];

		snprintf(selector, sizeof(selector), "{\"percent\":%d}", n);
		assert_int_equal(match(selector, "p", &subject), 6 < n ? QMR_MATCH_YES : QMR_MATCH_NO);
	}
	json_decref(incident);
}

static void files_in_the_root(void **unused)
{
	static const struct a_case cases[] = {
		{"{\"file\":{\"path\":\"/opt/v/1.bin\"}}", QMR_MATCH_YES},
		{"{\"file\":{\"path\":\"/opt/v/*.bin\"}}", QMR_MATCH_YES},
		{"{\"file\":{\"path\":\"/opt/*\"}}", QMR_MATCH_YES}, /* a folder is there too */
		{"{\"file\":{\"path\":\"/opt/*.bin\"}}", QMR_MATCH_NO},
		{"{\"file\":{\"path\":\"/opt/v/?.bin\",\"sha256\":\"" HELLO "\"}}", QMR_MATCH_YES},
		{"{\"file\":{\"path\":\"/opt/v/*\",\"sha256\":\"" OTHER "\"}}", QMR_MATCH_NO},
		{"{\"file\":{\"path\":\"/opt/v\",\"sha256\":\"" HELLO "\"}}", QMR_MATCH_NO},
		{"{\"file\":{\"path\":\"/opt/none/x\"}}", QMR_MATCH_NO},
		{"{\"file\":{\"path\":\"/opt/v/1.bin/x\"}}", QMR_MATCH_NO},
		{"{\"file\":{\"path\":\"/opt/v/.h*\"}}", QMR_MATCH_YES},
		{"{\"file\":{\"path\":\"/opt/w/*\"}}", QMR_MATCH_NO}, /* no leading dot */
		/* A link is there, and has no content of its own; one in a folder's place leads inside the root. */
		{"{\"file\":{\"path\":\"/opt/link\"}}", QMR_MATCH_YES},
		{"{\"file\":{\"path\":\"/opt/link\",\"sha256\":\"" HELLO "\"}}", QMR_MATCH_NO},
		{"{\"file\":{\"path\":\"/away/v/1.bin\",\"sha256\":\"" HELLO "\"}}", QMR_MATCH_YES},
		{"{\"file\":{\"path\":\"/up/etc/hostname\"}}", QMR_MATCH_NO},
		{"{\"file\":{\"path\":\"/loop/x\"}}", QMR_MATCH_UNKNOWN},
		{"{\"file\":{\"path\":\"/huge\",\"sha256\":\"" HELLO "\"}}", QMR_MATCH_UNKNOWN},
		{"{\"file\":{\"path\":\"/huge\"}}", QMR_MATCH_YES},
	};
	char path[128];

	put("opt/v/1.bin", "hello\n");
	put("opt/v/2.bin", "other\n");
	put("opt/v/.hidden", "");
	put("opt/w/.hidden", "");
	put("huge", "");
	snprintf(path, sizeof(path), "%s/huge", folder);
	assert_int_equal(truncate(path, (256LL << 20) + 1), 0);
	assert_int_equal(symlinkat("v/1.bin", root_fd, "opt/link"), 0);
	assert_int_equal(symlinkat("/opt", root_fd, "away"), 0);
	assert_int_equal(symlinkat("../../../..", root_fd, "up"), 0);
	assert_int_equal(symlinkat("loop", root_fd, "loop"), 0);
	CHECK(cases, (&(struct qmr_match_subject){NULL, NULL, root_fd}));
}

static void too_many_files_are_unknown(void **unused)
{
	const struct qmr_match_subject subject = {NULL, NULL, root_fd};
	char path[64];

	for (int i = 0; i <= 1000; i++) {
		snprintf(path, sizeof(path), "many/%d", i);
		put(path, "x");
	}
	assert_int_equal(match("{\"file\":{\"path\":\"/many/*\",\"sha256\":\"" HELLO "\"}}", "p", &subject), QMR_MATCH_UNKNOWN);
	assert_int_equal(match("{\"not\":{\"file\":{\"path\":\"/many/*\",\"sha256\":\"" HELLO "\"}}}", "p", &subject),
			 QMR_MATCH_UNKNOWN);
	assert_int_equal(match("{\"file\":{\"path\":\"/many/10\"}}", "p", &subject), QMR_MATCH_YES);
}

#define STATUS "var/lib/dpkg/status"

static const char status_text[] =
	"Package: sensor\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:7.10-2\nDescription: x\n Package: fake\n .\n y\n\n"
	"Package: both\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.0\n\n"
	"Package: both\nStatus: deinstall ok config-files\nArchitecture: i386\nVersion: 1.0\n\n"
	"Package: left\nStatus: deinstall ok config-files\nVersion: 1.0\n\n"
	"Package: half\nStatus: install reinstreq half-installed\nVersion: 1.0\n\n"
	"Package: cut\nStatus: install ok unpacked\nVersion: 3.0\n\n"
	"Package: odd\nStatus: install ok installed\nVersion: 3 0\n";

static void packages_of_dpkg(void **unused)
{
	static const struct a_case cases[] = {
		{"{\"package\":{\"name\":\"sensor\"}}", QMR_MATCH_YES},
		{"{\"package\":{\"name\":\"sensor\",\"version\":\"1:7.10-2\"}}", QMR_MATCH_YES},
		{"{\"package\":{\"name\":\"sensor\",\"version\":\"7.10-2\"}}", QMR_MATCH_NO},
		{"{\"package\":{\"name\":\"sensor\",\"version\":{\"at-least\":\"1:7.9\",\"below\":\"1:7.11\"}}}", QMR_MATCH_YES},
		{"{\"package\":{\"name\":\"sensor\",\"version\":{\"below\":\"8\"}}}", QMR_MATCH_NO}, /* the epoch */
		{"{\"package\":{\"name\":\"fake\"}}", QMR_MATCH_NO},
		{"{\"package\":{\"name\":\"none\"}}", QMR_MATCH_NO},
		{"{\"package\":{\"name\":\"both\",\"version\":{\"at-least\":\"2\"}}}", QMR_MATCH_YES},
		{"{\"package\":{\"name\":\"both\",\"version\":\"1.0\"}}", QMR_MATCH_NO},
		{"{\"package\":{\"name\":\"left\"}}", QMR_MATCH_NO},
		{"{\"package\":{\"name\":\"half\"}}", QMR_MATCH_UNKNOWN},
		{"{\"package\":{\"name\":\"cut\",\"version\":\"3.0\"}}", QMR_MATCH_YES},
		{"{\"package\":{\"name\":\"odd\"}}", QMR_MATCH_YES},
		{"{\"package\":{\"name\":\"odd\",\"version\":{\"below\":\"9\"}}}", QMR_MATCH_UNKNOWN},
	};
	/* A cut in the middle of a run of dpkg: what it noted last is not in the file yet. */
	static const struct a_case updated[] = {
		{"{\"package\":{\"name\":\"sensor\",\"version\":{\"below\":\"1:7.11\"}}}", QMR_MATCH_UNKNOWN},
		{"{\"package\":{\"name\":\"cut\",\"version\":\"3.1\"}}", QMR_MATCH_YES},
		{"{\"package\":{\"name\":\"cut\",\"version\":\"3.0\"}}", QMR_MATCH_NO},
	};
	static const struct a_case unreadable[] = {
		{"{\"package\":{\"name\":\"sensor\"}}", QMR_MATCH_UNKNOWN},
		{"{\"package\":{\"name\":\"none\"}}", QMR_MATCH_UNKNOWN},
	};
	static const char *const damaged[] = {
		"Package: sensor\nStatus: install ok perhaps\n",
		"Package: sensor\n\n",
		"Status: install ok installed\n\n",
		"Package: sensor\nStatus: install ok installed\nVersion: 1\n\n\0\0\0\0\0\0\0\0",
		"Package: sensor\nStatus: installed\n",
	};
	const struct qmr_match_subject subject = {NULL, NULL, root_fd};

	CHECK(unreadable, &subject);
	put(STATUS, status_text);
	CHECK(cases, &subject);
	put("var/lib/dpkg/updates/0001", "Package: sensor\nStatus: install ok half-installed\nArchitecture: amd64\nVersion: 1:7.11\n");
	put("var/lib/dpkg/updates/0000", "Package: cut\nStatus: install ok half-installed\nVersion: 3.0\n");
	put("var/lib/dpkg/updates/0002", "Package: cut\nStatus: install ok unpacked\nVersion: 3.1\n");
	put("var/lib/dpkg/updates/tmp.i", "rubbish");
	CHECK(updated, &subject);
	put("var/lib/dpkg/updates/0003", "rubbish");
	CHECK(unreadable, &subject);
	assert_int_equal(unlinkat(root_fd, "var/lib/dpkg/updates/0003", 0), 0);
	for (size_t i = 0; i < sizeof(damaged) / sizeof(*damaged); i++) {
		put_bytes(STATUS, damaged[i], i == 3 ? 58 : strlen(damaged[i]));
		CHECK(unreadable, &subject);
	}
	assert_int_equal(unlinkat(root_fd, STATUS, 0), 0);
	assert_int_equal(symlinkat("/etc/passwd", root_fd, STATUS), 0);
	CHECK(unreadable, &subject);
}

static void asking_the_root_is_told(void **unused)
{
	static const struct {
		const char *match;
		int asks;
	} cases[] = {
		{"{\"os-id\":\"x\"}", 0},
		{"{\"all\":[{\"os-id\":\"x\"},{\"any\":[{\"os-id\":\"y\"},{\"not\":{\"file\":{\"path\":\"/x\"}}}]}]}", 1},
		{"{\"not\":{\"package\":{\"name\":\"x\"}}}", 1},
		{"{\"not\":{\"kernel-release\":{\"above\":\"1\"}}}", 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct qmr_plan plan = {.match = json_loads(cases[i].match, 0, NULL)};

		assert_int_equal(qmr_plan_asks_root(&plan), cases[i].asks);
		json_decref((json_t *)plan.match);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_incident_says),
		cmocka_unit_test(labels_are_the_configuration_s),
		cmocka_unit_test(percent_takes_a_stable_share),
		cmocka_unit_test(percent_is_as_documented),
		cmocka_unit_test_setup_teardown(files_in_the_root, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(too_many_files_are_unknown, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(packages_of_dpkg, make_folder, remove_folder),
		cmocka_unit_test(asking_the_root_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
