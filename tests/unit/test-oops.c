/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "oops.h"

/* Texts in the form kernels 6.1 (Debian 12), 6.12 and older ones print; names are invented. */

#define HEAD "CPU: 0 PID: 311 Comm: modprobe Tainted: G           OE      6.1.0-40-amd64 #1  Debian 6.1.153-1\n"

#define NULL_IN_INTERRUPT \
	"<6>[    6.900000] acme: reading channel\n" \
	"<1>[    7.101234] BUG: kernel NULL pointer dereference, address: 0000000000000010\n" \
	"<1>[    7.101240] #PF: supervisor read access in kernel mode\n" \
	"<1>[    7.101241] #PF: error_code(0x0000) - not-present page\n" \
	"<6>[    7.101242] PGD 0 P4D 0 \n" \
	"<4>[    7.101243] Oops: 0000 [#1] PREEMPT SMP PTI\n" \
	"<4>[    7.101244] " HEAD \
	"<4>[    7.101245] Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 2022.11-1 02/02/2022\n" \
	"<4>[    7.101246] RIP: 0010:acme_parse+0x12/0x40 [acme_drv]\n" \
	"<4>[    7.101247] Code: 00 00 0f 1f 44 00 00 <8b> 47 10 c3 cc cc cc cc\n" \
	"<4>[    7.101248] RSP: 0018:ffffb0a600003ef0 EFLAGS: 00010282\n" \
	"<4>[    7.101249] RAX: 0000000000000000 RBX: ffff9e0f01a5c000 RCX: 0000000000000000\n" \
	"<4>[    7.101250] Call Trace:\n" \
	"<4>[    7.101251]  <IRQ>\n" \
	"<4>[    7.101252]  ? __die_body.cold+0x1a/0x1f\n" \
	"<4>[    7.101253]  ? stale_function+0x1/0x2 [other_mod]\n" \
	"<4>[    7.101254]  acme_timer+0x20/0x30 [acme_drv]\n" \
	"<4>[    7.101255]  call_timer_fn+0x27/0x130\n" \
	"<4>[    7.101256]  </IRQ>\n" \
	"<4>[    7.101257]  <TASK>\n" \
	"<4>[    7.101258]  asm_sysvec_apic_timer_interrupt+0x16/0x20\n" \
	"<4>[    7.101259] RIP: 0010:native_safe_halt+0xb/0x10\n" \
	"<4>[    7.101260]  do_idle+0x1f0/0x2a0\n" \
	"<4>[    7.101261]  </TASK>\n" \
	"<4>[    7.101262] Modules linked in: acme_drv(OE) proprietary(PO) ext4 crc16 staging_thing(C+) [last unloaded: x]\n" \
	"<4>[    7.101263] CR2: 0000000000000010\n" \
	"<4>[    7.101264] ---[ end trace 0000000000000000 ]---\n" \
	"<4>[    7.101265] RIP: 0010:acme_parse+0x12/0x40 [acme_drv]\n" \
	"<0>[    7.101266] Kernel panic - not syncing: Fatal exception in interrupt\n" \
	"<0>[    7.101267] Kernel Offset: 0x1e000000 from 0xffffffff81000000\n"

static struct qmr_oops *parse(const char *text)
{
	struct qmr_oops *oops = calloc(1, sizeof(*oops));
	struct qmr_error err = {0};

	assert_non_null(oops);
	if (qmr_oops_parse(text, strlen(text), oops, &err) < 0)
		fail_msg("%s", err.text);
	return oops;
}

static void assert_oops(const char *text, enum qmr_oops_kind kind, const char *function, const char *module)
{
	struct qmr_oops *oops = parse(text);

	assert_string_equal(qmr_oops_kind_name(kind), qmr_oops_kind_name(oops->kind));
	assert_string_equal(function, oops->ip.function);
	assert_string_equal(module, oops->ip.module);
	free(oops);
}

static void test_null_pointer(void **state)
{
	struct qmr_oops *oops = parse(NULL_IN_INTERRUPT);

	assert_int_equal(QMR_OOPS_NULL_POINTER, oops->kind);
	assert_true(oops->panic);
	assert_string_equal("BUG: kernel NULL pointer dereference, address: 0000000000000010", oops->summary);
	assert_string_equal("acme_parse", oops->ip.function);
	assert_string_equal("acme_drv", oops->ip.module);
	assert_int_equal(0x12, oops->ip.offset);
	assert_int_equal(0x40, oops->ip.size);
	assert_string_equal("6.1.0-40-amd64", oops->kernel);
	assert_int_equal(7101, oops->uptime_ms);
	free(oops);
}

static void test_trace(void **state)
{
	static const char *const functions[] = {"__die_body.cold", "stale_function", "acme_timer", "call_timer_fn",
						"asm_sysvec_apic_timer_interrupt", "do_idle"};
	struct qmr_oops *oops = parse(NULL_IN_INTERRUPT);

	assert_int_equal(6, oops->n_trace);
	for (size_t i = 0; i < 6; i++) {
		assert_string_equal(functions[i], oops->trace[i].function);
		assert_int_equal(i < 2, oops->trace[i].unreliable);
	}
	assert_string_equal("acme_drv", oops->trace[2].module);
	assert_string_equal("", oops->trace[3].module);
	free(oops);
}

static void test_modules(void **state)
{
	struct qmr_oops *oops = parse(NULL_IN_INTERRUPT);

	assert_int_equal(3, oops->n_modules);
	assert_string_equal("acme_drv", oops->modules[0].name);
	assert_string_equal("OE", oops->modules[0].flags);
	assert_true(qmr_oops_module_is_foreign(&oops->modules[0]));
	assert_string_equal("proprietary", oops->modules[1].name);
	assert_string_equal("staging_thing", oops->modules[2].name);
	assert_false(qmr_oops_module_is_foreign(&oops->modules[2]));
	free(oops);
}

static void test_modules_on_two_lines(void **state)
{
	struct qmr_oops *oops = parse("[1.0] BUG: unable to handle page fault for address: ffff8000\n"
				      "[1.0] Modules linked in: a(O) b c\n"
				      "[1.0]  d(OE+) e f(E) [last unloaded: g(O)]\n"
				      "[1.0] ---[ end trace 0 ]---\n");

	assert_int_equal(3, oops->n_modules);
	assert_string_equal("d", oops->modules[1].name);
	assert_string_equal("OE", oops->modules[1].flags);
	assert_string_equal("f", oops->modules[2].name);
	free(oops);
}

static void test_kinds_with_ip(void **state)
{
	static const struct {
		const char *line;
		enum qmr_oops_kind kind;
	} cases[] = {
		{"BUG: unable to handle page fault for address: ffffdeadbeef0000", QMR_OOPS_PAGE_FAULT},
		{"BUG: unable to handle kernel paging request at ffffc90000d5f000", QMR_OOPS_PAGE_FAULT},
		{"BUG: unable to handle kernel NULL pointer dereference at 0000000000000008", QMR_OOPS_NULL_POINTER},
		{"general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1] SMP",
		 QMR_OOPS_GENERAL_PROTECTION},
		{"Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
		 QMR_OOPS_GENERAL_PROTECTION},
		{"divide error: 0000 [#1] PREEMPT SMP NOPTI", QMR_OOPS_DIVIDE_ERROR},
		{"Oops: divide error: 0000 [#1] PREEMPT SMP NOPTI", QMR_OOPS_DIVIDE_ERROR},
		{"invalid opcode: 0000 [#1] PREEMPT SMP NOPTI", QMR_OOPS_INVALID_OPCODE},
		{"watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [kworker/1:2:77]", QMR_OOPS_SOFT_LOCKUP},
		{"watchdog: Watchdog detected hard LOCKUP on cpu 3", QMR_OOPS_HARD_LOCKUP},
		{"NMI watchdog: Watchdog detected hard LOCKUP on cpu 3", QMR_OOPS_HARD_LOCKUP},
		{"rcu: INFO: rcu_preempt self-detected stall on CPU", QMR_OOPS_RCU_STALL},
		{"rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", QMR_OOPS_RCU_STALL},
		{"stack segment: 0000 [#1] PREEMPT SMP", QMR_OOPS_UNKNOWN},
	};
	char text[1024];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		snprintf(text, sizeof(text), "[   12.5] %s\n[   12.5] " HEAD "[   12.5] RIP: 0010:f_%zu+0x1/0x2 [m]\n",
			 cases[i].line, i);
		{
			char function[16];

			snprintf(function, sizeof(function), "f_%zu", i);
			assert_oops(text, cases[i].kind, function, "m");
		}
	}
}

static void test_bug_at(void **state)
{
	/* "invalid opcode" is how BUG() is made, not what happened. */
	assert_oops("[    3.0] ------------[ cut here ]------------\n"
		    "[    3.0] kernel BUG at /build/acme/main.c:42!\n"
		    "[    3.0] invalid opcode: 0000 [#1] PREEMPT SMP PTI\n"
		    "[    3.0] RIP: 0010:acme_init+0x5/0x1000 [acme]\n",
		    QMR_OOPS_BUG, "acme_init", "acme");
}

static void test_bare_panic(void **state)
{
	struct qmr_oops *oops =
		parse("[    2.5] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n"
		      "[    2.5] CPU: 0 PID: 1 Comm: swapper/0 Not tainted 6.1.0-40-amd64 #1  Debian 6.1.153-1\n"
		      "[    2.5] Call Trace:\n[    2.5]  <TASK>\n[    2.5]  dump_stack_lvl+0x44/0x5c\n"
		      "[    2.5]  panic+0x118/0x2ed\n[    2.5]  acme_die+0x8/0x10 [acme]\n[    2.5]  </TASK>\n"
		      "[    2.5] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs ]---\n");

	assert_int_equal(QMR_OOPS_PANIC, oops->kind);
	assert_true(oops->panic);
	assert_int_equal(3, oops->n_trace);
	assert_string_equal("acme", oops->trace[2].module);
	assert_string_equal("", oops->ip.function);
	assert_string_equal("6.1.0-40-amd64", oops->kernel);
	free(oops);
}

static void test_first_fault_counts(void **state)
{
	struct qmr_oops *oops = parse("[   1.0] WARNING: CPU: 0 PID: 1 at kernel/x.c:3 warn_here+0x1/0x2 [warner]\n"
				      "[   1.0] RIP: 0010:warn_here+0x1/0x2 [warner]\n[   1.0] ---[ end trace 0 ]---\n"
				      "[   2.0] BUG: kernel NULL pointer dereference, address: 0\n"
				      "[   2.0] RIP: 0010:first+0x1/0x2 [culprit]\n[   2.0] ---[ end trace 0 ]---\n"
				      "[   3.0] BUG: unable to handle page fault for address: f\n"
				      "[   3.0] RIP: 0010:second+0x1/0x2 [victim]\n[   3.0] ---[ end trace 0 ]---\n"
				      "[   3.1] Kernel panic - not syncing: Fatal exception\n");

	assert_string_equal("first", oops->ip.function);
	assert_int_equal(2000, oops->uptime_ms);
	assert_true(oops->panic);
	free(oops);
}

static void test_lockup_panic(void **state)
{
	static const char lockup[] = "[ 40.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [spin:9]\n"
				     "[ 40.0] RIP: 0010:spin+0x4/0x10 [spinner]\n"
				     "[ 40.0] Call Trace:\n[ 40.0]  work+0x1/0x2\n";
	char text[512];

	snprintf(text, sizeof(text), "%s[ 41.0] Kernel panic - not syncing: softlockup: hung tasks\n", lockup);
	assert_oops(text, QMR_OOPS_SOFT_LOCKUP, "spin", "spinner");
	/* A panic for another reason is not explained by an earlier stall. */
	snprintf(text, sizeof(text), "%s[ 90.0] Kernel panic - not syncing: Attempted to kill init!\n", lockup);
	assert_oops(text, QMR_OOPS_PANIC, "", "");
}

static void test_hung_task(void **state)
{
	struct qmr_oops *oops =
		parse("[  242.6] INFO: task mount:311 blocked for more than 120 seconds.\n"
		      "[  242.6]       Tainted: G           OE      6.1.0-40-amd64 #1 Debian 6.1.153-1\n"
		      "[  242.6] \"echo 0 > /proc/sys/kernel/hung_task_timeout_secs\" disables this message.\n"
		      "[  242.6] task:mount           state:D stack:0     pid:311   ppid:1      flags:0x00004002\n"
		      "[  242.6] Call Trace:\n[  242.6]  <TASK>\n[  242.6]  __schedule+0x34d/0x9e0\n"
		      "[  242.6]  acme_wait+0x4/0x9 [acme]\n[  242.6]  </TASK>\n");

	assert_int_equal(QMR_OOPS_HUNG_TASK, oops->kind);
	assert_false(oops->panic);
	assert_string_equal("6.1.0-40-amd64", oops->kernel);
	assert_string_equal("acme", oops->trace[1].module);
	free(oops);
}

static void test_warning(void **state)
{
	assert_oops("[ 5.0] WARNING: CPU: 1 PID: 9 at drivers/acme/x.c:17 acme_check+0x21/0x30 [acme]\n"
		    "[ 5.0] Modules linked in: acme(OE)\n",
		    QMR_OOPS_WARNING, "acme_check", "acme");
	assert_oops("[ 5.0] WARNING: CPU: 1 PID: 9 at a.c:17 acme_check+0x21/0x30 [acme]\n"
		    "[ 5.0] Kernel panic - not syncing: panic_on_warn set ...\n",
		    QMR_OOPS_WARNING, "acme_check", "acme");
	assert_oops("[ 5.0] WARNING: drivers/acme/x.c:17 at acme_check+0x21/0x30 [acme], CPU#1: x/9\n",
		    QMR_OOPS_WARNING, "acme_check", "acme");
}

static void test_arm64(void **state)
{
	struct qmr_oops *oops =
		parse("[    9.8] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010\n"
		      "[    9.8] Mem abort info:\n[    9.8]   ESR = 0x0000000096000004\n"
		      "[    9.8] Internal error: Oops: 0000000096000004 [#1] SMP\n"
		      "[    9.8] Modules linked in: acme(OE) ext4\n"
		      "[    9.8] CPU: 2 PID: 0 Comm: swapper/2 Tainted: G           OE      6.1.0-40-arm64 #1  Debian\n"
		      "[    9.8] pc : acme_parse+0x18/0x50 [acme]\n[    9.8] lr : acme_timer+0x20/0x30 [acme]\n"
		      "[    9.8] sp : ffff800008013e60\n"
		      "[    9.8] Call trace:\n[    9.8]  acme_parse+0x18/0x50 [acme]\n"
		      "[    9.8]  call_timer_fn+0x3c/0x1e0\n[    9.8] ---[ end trace 0000000000000000 ]---\n");

	assert_int_equal(QMR_OOPS_NULL_POINTER, oops->kind);
	assert_string_equal("acme_parse", oops->ip.function);
	assert_int_equal(2, oops->n_trace);
	assert_string_equal("6.1.0-40-arm64", oops->kernel);
	free(oops);
}

static void test_bad_ip(void **state)
{
	/* A call through a bad pointer: nothing to learn from RIP, and the RIPs that follow are others'. */
	struct qmr_oops *oops = parse("[ 1.0] BUG: kernel NULL pointer dereference, address: 0000000000000000\n"
				      "[ 1.0] #PF: supervisor instruction fetch in kernel mode\n"
				      "[ 1.0] RIP: 0010:0x0\n[ 1.0] Code: Unable to access opcode bytes at 0xffffd6.\n"
				      "[ 1.0] Call Trace:\n[ 1.0]  <TASK>\n[ 1.0]  acme_call+0x9/0x10 [acme]\n"
				      "[ 1.0] RIP: 0033:0x7f1e0a3b5d87\n[ 1.0] RIP: 0010:other+0x1/0x2 [other]\n");

	assert_string_equal("", oops->ip.function);
	assert_string_equal("acme", oops->trace[0].module);
	free(oops);
}

static void test_first_ip_counts(void **state)
{
	assert_oops("[ 1.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [a:1]\n[ 1.0] RIP: 0010:f+0x1/0x2 [m]\n"
		    "[ 1.0] RIP: 0010:g+0x1/0x2 [n]\n",
		    QMR_OOPS_SOFT_LOCKUP, "f", "m");
}

static void test_user_ip_is_not_it(void **state)
{
	assert_oops("[ 1.0] BUG: soft lockup - CPU#0 stuck\n[ 1.0] RIP: 0033:0x7f1e0a3b5d87\n", QMR_OOPS_SOFT_LOCKUP, "",
		    "");
}

static void test_line_prefixes(void **state)
{
	static const char *const prefixes[] = {"", "<4>", "[   12.345678] ", "<4>[   12.345678] ",
					       "<4>[   12.345678][    T1] ", "[12345.678901][ T1234] ",
					       "[    0.000000][    C0] "};
	char text[512];

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
		snprintf(text, sizeof(text),
			 "%sBUG: kernel NULL pointer dereference, address: 0\r\n%sRIP: 0010:f+0x1/0x2 [m]\r\n", prefixes[i],
			 prefixes[i]);
		assert_oops(text, QMR_OOPS_NULL_POINTER, "f", "m");
	}
}

static void test_build_id(void **state)
{
	assert_oops("BUG: kernel NULL pointer dereference, address: 0\n"
		    "RIP: 0010:f+0x1/0x2 [m 0123456789abcdef0123456789abcdef01234567]\n",
		    QMR_OOPS_NULL_POINTER, "f", "m");
}

static void test_beginning_lost(void **state)
{
	/* pstore keeps the last 10 KiB: the first lines of the fault may be gone. */
	static const char text[] = "[ 8.0] RIP: 0010:acme_parse+0x12/0x40 [acme]\n"
				   "[ 8.0] Modules linked in: acme(OE)\n[ 8.0] ---[ end trace 0 ]---\n"
				   "[ 8.1] Kernel panic - not syncing: Fatal exception in interrupt\n";
	struct qmr_oops *oops = parse(text);

	assert_int_equal(QMR_OOPS_UNKNOWN, oops->kind);
	assert_string_equal("acme", oops->ip.module);
	assert_string_equal("Kernel panic - not syncing: Fatal exception in interrupt", oops->summary);
	assert_int_equal(1, oops->n_modules);
	free(oops);
}

static void test_kernel_release_of_strange_comm(void **state)
{
	struct qmr_oops *oops =
		parse("BUG: kernel NULL pointer dereference, address: 0\n"
		      "CPU: 3 UID: 0 PID: 1 Comm: a #1 Tainted: x Tainted: G           OE      6.12.9+deb13 #1 SMP\n");

	assert_true(oops->kernel[0] == '\0' || !strcmp(oops->kernel, "6.12.9+deb13"));
	free(oops);
}

static void test_nothing(void **state)
{
	struct qmr_oops oops = {.kind = QMR_OOPS_BUG};
	struct qmr_error err = {0};
	static const char text[] = "[    1.0] everything is fine\n";

	assert_int_equal(-ENOENT, qmr_oops_parse(text, strlen(text), &oops, &err));
	assert_int_equal(-ENOENT, qmr_oops_parse("", 0, &oops, &err));
	assert_int_equal(QMR_OOPS_BUG, oops.kind);
}

static void test_hostile(void **state)
{
	static char text[300000];
	struct qmr_oops *oops;
	size_t n = 0;

	n += (size_t)sprintf(text, "BUG: kernel NULL pointer dereference\x1b[31m \xff\n");
	n += (size_t)sprintf(text + n, "Call Trace:\n");
	while (n < sizeof(text) / 2)
		n += (size_t)sprintf(text + n, " f%zu+0x1/0x2 [m]\n", n);
	n += (size_t)sprintf(text + n, "Modules linked in:");
	while (n < sizeof(text) - 100)
		n += (size_t)sprintf(text + n, " m%zu(OE)", n);
	oops = parse(text);
	assert_int_equal(QMR_OOPS_TRACE_MAX, oops->n_trace);
	assert_true(oops->n_modules <= QMR_OOPS_MODULES_MAX);
	for (const char *p = oops->summary; *p; p++)
		assert_true(*p >= 0x20 && *p < 0x7f);
	free(oops);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_null_pointer), cmocka_unit_test(test_trace), cmocka_unit_test(test_modules),
		cmocka_unit_test(test_modules_on_two_lines), cmocka_unit_test(test_kinds_with_ip),
		cmocka_unit_test(test_bug_at), cmocka_unit_test(test_bare_panic),
		cmocka_unit_test(test_first_fault_counts), cmocka_unit_test(test_lockup_panic),
		cmocka_unit_test(test_hung_task), cmocka_unit_test(test_warning), cmocka_unit_test(test_arm64),
		cmocka_unit_test(test_bad_ip), cmocka_unit_test(test_first_ip_counts),
		cmocka_unit_test(test_user_ip_is_not_it),
		cmocka_unit_test(test_line_prefixes), cmocka_unit_test(test_build_id),
		cmocka_unit_test(test_beginning_lost), cmocka_unit_test(test_kernel_release_of_strange_comm),
		cmocka_unit_test(test_nothing), cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
