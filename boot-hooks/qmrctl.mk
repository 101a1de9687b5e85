# qmrctl: the administrator's program.
PROGRAMS += qmrctl
qmrctl_SRCS := $(addprefix boot-hooks/,qmrctl.c qmrctl-check.c qmrctl-image.c qmrctl-initramfs.c qmrctl-install.c \
	qmrctl-loader.c qmrctl-status.c qmrctl-switch.c qmrctl-uninstall.c qmrctl-units.c esp.c firmware.c guard.c assess.c \
	loader-entries.c uki-section.c)
qmrctl_LIBS := efivar efiboot blkid inih jansson
