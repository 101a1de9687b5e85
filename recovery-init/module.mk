# recovery-init: PID 1 of the recovery image. See README.md.
PROGRAMS += recovery-init dhcp-hook
recovery-init_SRCS := $(addprefix recovery-init/,acknowledge.c announce.c console.c devices.c drivers.c end.c programs.c \
	recovery-init.c remedy.c root.c timeline.c)
recovery-init_LIBS := libkmod blkid efivar inih jansson

dhcp-hook_SRCS := recovery-init/dhcp-hook.c
