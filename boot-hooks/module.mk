# boot-guard: what runs in the normal system's initramfs and judges. See docs/detector.md.
UNIT_TESTS += test-assess test-assess-random
test-assess_SRCS := tests/unit/test-assess.c tests/unit/boot-history.c boot-hooks/assess.c
test-assess_LIBS := cmocka inih
test-assess-random_SRCS := tests/unit/test-assess-random.c tests/unit/boot-history.c boot-hooks/assess.c
test-assess-random_LIBS := cmocka inih

UNIT_TESTS += test-healthy
test-healthy_SRCS := tests/unit/test-healthy.c boot-hooks/healthy.c
test-healthy_LIBS := cmocka jansson

UNIT_TESTS += test-hold
test-hold_SRCS := tests/unit/test-hold.c boot-hooks/hold.c
test-hold_LIBS := cmocka

FUZZERS += fuzz-crypttab
fuzz-crypttab_SRCS := tests/fuzz/fuzz-crypttab.c tests/fuzz/main.c boot-hooks/hold.c

PROGRAMS += boot-guard
boot-guard_SRCS := $(addprefix boot-hooks/,boot-guard.c guard.c guard-end.c guard-fail.c guard-start.c guard-tries.c guard-wait.c assess.c firmware.c \
	healthy.c hold.c)
boot-guard_LIBS := efivar efiboot inih
include boot-hooks/qmrctl.mk
