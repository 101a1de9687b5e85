# boot-guard: what runs in the normal system's initramfs and judges. See docs/detector.md.
UNIT_TESTS += test-assess
test-assess_SRCS := tests/unit/test-assess.c boot-hooks/assess.c
test-assess_LIBS := cmocka inih

UNIT_TESTS += test-healthy test-history
test-healthy_SRCS := tests/unit/test-healthy.c boot-hooks/healthy.c
test-healthy_LIBS := cmocka jansson
test-history_SRCS := tests/unit/test-history.c boot-hooks/history.c boot-hooks/history-read.c
test-history_LIBS := cmocka jansson

PROGRAMS += boot-guard
boot-guard_SRCS := $(addprefix boot-hooks/,boot-guard.c guard.c guard-end.c guard-fail.c guard-start.c guard-wait.c assess.c firmware.c \
	healthy.c history.c hold.c)
boot-guard_LIBS := efivar efiboot inih
include boot-hooks/qmrctl.mk
