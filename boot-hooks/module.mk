# boot-guard: what runs in the normal system's initramfs and judges. See docs/detector.md.
UNIT_TESTS += test-assess
test-assess_SRCS := tests/unit/test-assess.c boot-hooks/assess.c
test-assess_LIBS := cmocka inih

UNIT_TESTS += test-healthy
test-healthy_SRCS := tests/unit/test-healthy.c boot-hooks/healthy.c
test-healthy_LIBS := cmocka jansson

UNIT_TESTS += test-systemd-conf
test-systemd-conf_SRCS := tests/unit/test-systemd-conf.c boot-hooks/systemd-conf.c
test-systemd-conf_LIBS := cmocka

PROGRAMS += boot-guard
boot-guard_SRCS := $(addprefix boot-hooks/,boot-guard.c guard.c guard-end.c guard-fail.c guard-start.c guard-wait.c guard-watchdog.c \
	assess.c firmware.c healthy.c hold.c systemd-conf.c)
boot-guard_LIBS := efivar efiboot inih
include boot-hooks/qmrctl.mk
