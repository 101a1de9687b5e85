# recovery-init: PID 1 of the recovery image. See README.md.
PROGRAMS += recovery-init recovery-state dhcp-hook
recovery-init_SRCS := $(addprefix recovery-init/,acknowledge.c announce.c devices.c drivers.c end.c ladder.c loader.c log-view.c media.c network.c programs.c \
	recovery-init.c remedy.c root.c state.c test-run.c timeline.c watchdog.c)
recovery-init_LIBS := libkmod blkid inih jansson

dhcp-hook_SRCS := recovery-init/dhcp-hook.c

recovery-state_SRCS := recovery-init/recovery-state.c recovery-init/acknowledge.c
recovery-state_LIBS := efivar inih jansson

UNIT_TESTS += test-recovery
test-recovery_SRCS := tests/unit/test-recovery.c $(filter-out recovery-init/recovery-init.c,$(recovery-init_SRCS))
test-recovery_LIBS := cmocka $(recovery-init_LIBS)
