# qmrctl: the administrator's program.
PROGRAMS += qmrctl
qmrctl_SRCS := $(addprefix boot-hooks/,qmrctl.c qmrctl-check.c qmrctl-check-machine.c qmrctl-check-modules.c \
	qmrctl-check-trust.c qmrctl-healthy.c qmrctl-history.c qmrctl-image.c qmrctl-initramfs.c qmrctl-install.c qmrctl-keys.c \
	qmrctl-loader.c qmrctl-machine.c qmrctl-panic.c qmrctl-paths.c qmrctl-remediations.c qmrctl-second.c qmrctl-status.c qmrctl-switch.c qmrctl-test.c qmrctl-tries.c \
	qmrctl-uninstall.c qmrctl-units.c qmrctl-watchdog.c esp.c firmware.c grace.c guard.c guard-once.c history-read.c kernel-options.c luks.c run-apply.c \
	second-kernel.c systemd-conf.c systemd-files.c)
qmrctl_LIBS := efivar efiboot blkid inih jansson

UNIT_TESTS += test-firmware test-kernel-options test-loader-entries test-esp test-luks test-second-kernel
test-second-kernel_SRCS := tests/unit/test-second-kernel.c tests/unit/tree.c boot-hooks/second-kernel.c
test-second-kernel_LIBS := cmocka
test-kernel-options_SRCS := tests/unit/test-kernel-options.c boot-hooks/kernel-options.c
test-kernel-options_LIBS := cmocka
test-firmware_SRCS := tests/unit/test-firmware.c boot-hooks/firmware.c
test-firmware_LIBS := cmocka efivar efiboot
test-loader-entries_SRCS := tests/unit/test-loader-entries.c
test-loader-entries_LIBS := cmocka
test-esp_SRCS := tests/unit/test-esp.c boot-hooks/esp.c
test-esp_LIBS := cmocka blkid
test-luks_SRCS := tests/unit/test-luks.c boot-hooks/luks.c
test-luks_LIBS := cmocka jansson

FUZZERS += fuzz-systemd-conf
fuzz-systemd-conf_SRCS := tests/fuzz/fuzz-systemd-conf.c tests/fuzz/main.c boot-hooks/systemd-conf.c boot-hooks/systemd-files.c

FUZZERS += fuzz-history fuzz-kernel-options fuzz-loader-entry fuzz-luks fuzz-mount-table fuzz-uki-section
fuzz-kernel-options_SRCS := tests/fuzz/fuzz-kernel-options.c tests/fuzz/main.c boot-hooks/kernel-options.c
fuzz-loader-entry_SRCS := tests/fuzz/fuzz-loader-entry.c tests/fuzz/main.c
fuzz-history_SRCS := tests/fuzz/fuzz-history.c tests/fuzz/main.c boot-hooks/history-read.c
fuzz-history_LIBS := jansson
fuzz-luks_SRCS := tests/fuzz/fuzz-luks.c tests/fuzz/main.c boot-hooks/luks.c
fuzz-luks_LIBS := jansson
fuzz-mount-table_SRCS := tests/fuzz/fuzz-mount-table.c tests/fuzz/main.c boot-hooks/esp.c
fuzz-mount-table_LIBS := blkid
fuzz-uki-section_SRCS := tests/fuzz/fuzz-uki-section.c tests/fuzz/main.c
