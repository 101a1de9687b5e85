/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "driver-list.h"
#include "tree.h"

#define LPC "pci:v00008086d00002918sv*sd*bc*sc*i*"

static char text[QMR_DRIVERS_BYTES];

static void parse(const char *lines, struct qmr_driver_list *ret_list)
{
	snprintf(text, sizeof(text), "%s", lines);
	qmr_driver_list_parse(text, ret_list);
}

static void expect(struct qmr_driver_list *list, const char *name)
{
	const char *is = qmr_driver_list_next(list, root_fd);

	if (name && is)
		assert_string_equal(is, name);
	else
		assert_ptr_equal(is, name);
}

static void only_what_has_a_device(void **unused)
{
	struct qmr_driver_list list;

	put("pci/devices/0000:00:00.0/modalias", "pci:v00008086d000029C0sv00001AF4sd00001100bc06sc00i00\n");
	put("pci/devices/0000:00:12.0/modalias", "pci:v00008086d000025ABsv00001AF4sd00001100bc08sc80i00\n");
	put("platform/devices/serial8250/uevent", "");
	parse("hpwdt pci:v0000103Cd0000B203sv*sd*bc*sc*i* pci:v0000103Cd00003306sv*sd*bc*sc*i*\n"
	      "i6300esb pci:v00008086d000025ABsv*sd*bc*sc*i*\nwdat_wdt platform:wdat_wdt\n", &list);
	expect(&list, "i6300esb");
	expect(&list, NULL);
}

static void preference_is_the_order_of_lines(void **unused)
{
	struct qmr_driver_list list;

	put("pci/devices/0000:00:01.0/modalias", "pci:v00008086d00002930sv0sd0bc0Csc05i00\n");
	put("pci/devices/0000:00:02.0/modalias", "pci:v00008086d00002918sv0sd0bc06sc01i00\n");
	put("platform/devices/wdat_wdt/modalias", "platform:wdat_wdt\n");
	parse("wdat_wdt platform:wdat_wdt\nlpc_ich " LPC "\ni2c-i801 pci:v00008086d00002930sv*sd*bc*sc*i*\n", &list);
	expect(&list, "wdat_wdt");
	expect(&list, "lpc_ich");
	expect(&list, "i2c-i801");
	expect(&list, NULL);
}

static void one_makes_the_device_of_another(void **unused)
{
	struct qmr_driver_list list;

	put("pci/devices/0000:00:1f.0/modalias", "pci:v00008086d00002918sv0sd0bc06sc01i00\n");
	parse("iTCO_wdt platform:iTCO_wdt\nlpc_ich pci:v00008086d00001C41sv*sd*bc*sc*i* " LPC "\n", &list);
	expect(&list, "lpc_ich");
	put("platform/devices/iTCO_wdt.1.auto/modalias", "platform:iTCO_wdt\n");
	expect(&list, "iTCO_wdt");
	expect(&list, NULL);
}

static void without_aliases_it_is_always_there(void **unused)
{
	struct qmr_driver_list list;

	parse("\n-v\nthis_wdt\n  \nthat_wdt \nno_wdt platform:no\nlast_wdt", &list);
	assert_int_equal(list.n, 4);
	expect(&list, "this_wdt");
	expect(&list, "that_wdt");
	expect(&list, "last_wdt");
	expect(&list, NULL);
}

static void too_much(void **unused)
{
	struct qmr_driver_list list;
	char lines[4096] = "long pci:";

	memset(lines + strlen(lines), '*', 1000);
	strcat(lines, "\n");
	for (int i = 0; i < QMR_DRIVERS_MAX + 3; i++)
		strcat(lines, "a_wdt\n");
	put("pci/devices/0000:00:1f.0/modalias", "pci:v0\n");
	parse(lines, &list);
	assert_int_equal(list.n, QMR_DRIVERS_MAX);
	for (int i = 1; i < QMR_DRIVERS_MAX; i++)
		expect(&list, "a_wdt");
	expect(&list, NULL);
	parse("", &list);
	expect(&list, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(only_what_has_a_device), TEST(preference_is_the_order_of_lines), TEST(one_makes_the_device_of_another),
		TEST(without_aliases_it_is_always_there), TEST(too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
