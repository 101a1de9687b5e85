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
