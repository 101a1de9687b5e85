# boot-guard: what runs in the normal system's initramfs and judges. See docs/detector.md.
UNIT_TESTS += test-assess
test-assess_SRCS := tests/unit/test-assess.c boot-hooks/assess.c
test-assess_LIBS := cmocka inih

UNIT_TESTS += test-healthy
test-healthy_SRCS := tests/unit/test-healthy.c boot-hooks/healthy.c
test-healthy_LIBS := cmocka jansson

PROGRAMS += boot-guard
boot-guard_SRCS := boot-hooks/boot-guard.c boot-hooks/guard.c boot-hooks/assess.c boot-hooks/firmware.c boot-hooks/healthy.c
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
