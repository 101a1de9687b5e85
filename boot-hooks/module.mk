# boot-guard: what runs in the normal system's initramfs and judges. See docs/detector.md.
UNIT_TESTS += test-assess test-assess-random
test-assess_SRCS := tests/unit/test-assess.c tests/unit/boot-history.c boot-hooks/assess.c
test-assess_LIBS := cmocka inih
test-assess-random_SRCS := tests/unit/test-assess-random.c tests/unit/boot-history.c boot-hooks/assess.c
test-assess-random_LIBS := cmocka inih

UNIT_TESTS += test-healthy test-history
test-healthy_SRCS := tests/unit/test-healthy.c boot-hooks/healthy.c
test-healthy_LIBS := cmocka jansson
test-history_SRCS := tests/unit/test-history.c boot-hooks/history.c boot-hooks/history-read.c
test-history_LIBS := cmocka jansson

UNIT_TESTS += test-driver-list
test-driver-list_SRCS := tests/unit/test-driver-list.c tests/unit/tree.c boot-hooks/driver-list.c
test-driver-list_LIBS := cmocka

UNIT_TESTS += test-hold
test-hold_SRCS := tests/unit/test-hold.c tests/unit/tree.c boot-hooks/hold.c
test-hold_LIBS := cmocka

FUZZERS += fuzz-crypttab
fuzz-crypttab_SRCS := tests/fuzz/fuzz-crypttab.c tests/fuzz/main.c boot-hooks/hold.c
UNIT_TESTS += test-systemd-conf
test-systemd-conf_SRCS := tests/unit/test-systemd-conf.c tests/unit/tree.c boot-hooks/systemd-conf.c boot-hooks/systemd-files.c
test-systemd-conf_LIBS := cmocka

PROGRAMS += boot-guard
boot-guard_SRCS := $(addprefix boot-hooks/,boot-guard.c guard.c guard-end.c guard-fail.c guard-floor.c guard-once.c guard-start.c guard-tries.c guard-wait.c \
	guard-watchdog.c assess.c driver-list.c firmware.c healthy.c history.c hold.c systemd-conf.c systemd-files.c)
boot-guard_LIBS := efivar efiboot inih
include boot-hooks/qmrctl.mk

# health-check: the owner's checks, which boot-complete.target waits for.
PROGRAMS += health-check
health-check_SRCS := $(addprefix boot-hooks/,health-check.c health-check-find.c health-check-run.c health-check-save.c greenboot-conf.c)
health-check_LIBS := inih jansson

UNIT_TESTS += test-health-check test-greenboot-conf
test-health-check_SRCS := tests/unit/test-health-check.c $(addprefix boot-hooks/,health-check-find.c health-check-run.c health-check-save.c \
	greenboot-conf.c)
test-health-check_LIBS := cmocka jansson
test-greenboot-conf_SRCS := tests/unit/test-greenboot-conf.c boot-hooks/greenboot-conf.c
test-greenboot-conf_LIBS := cmocka

FUZZERS += fuzz-greenboot-conf
fuzz-greenboot-conf_SRCS := tests/fuzz/fuzz-greenboot-conf.c tests/fuzz/main.c boot-hooks/greenboot-conf.c

# qmr-generator: keeps boot-complete.target behind multi-user.target without a cycle.
PROGRAMS += qmr-generator
qmr-generator_SRCS := $(addprefix boot-hooks/,qmr-generator.c unit-order.c systemd-files.c)

UNIT_TESTS += test-unit-order
test-unit-order_SRCS := tests/unit/test-unit-order.c tests/unit/tree.c boot-hooks/unit-order.c boot-hooks/systemd-files.c
test-unit-order_LIBS := cmocka

# request-poll: recovery that the owner asks for through the repository, docs/requests.md.
PROGRAMS += request-poll
request-poll_SRCS := $(addprefix boot-hooks/,request-poll.c request-record.c poll-fetch.c poll-program.c grace.c power.c)
request-poll_LIBS := inih jansson

# vaccinate: plans for a machine that has not crashed, docs/remediation.md.
PROGRAMS += vaccinate
vaccinate_SRCS := $(addprefix boot-hooks/,vaccinate.c poll-fetch.c poll-program.c run-apply.c)
vaccinate_LIBS := inih jansson

UNIT_TESTS += test-grace test-power test-request
test-grace_SRCS := tests/unit/test-grace.c tests/unit/tree.c boot-hooks/grace.c
test-grace_LIBS := cmocka
test-power_SRCS := tests/unit/test-power.c tests/unit/tree.c boot-hooks/power.c
test-power_LIBS := cmocka
test-request_SRCS := tests/unit/test-request.c tests/unit/tree.c boot-hooks/request-record.c
test-request_LIBS := cmocka jansson
