# What two parts need. Depends on no part.
LIB_SRCS += $(addprefix lib/,boot-state.c boot-state-efi.c boot-state-file.c boot-state-json.c boot-state-store.c change-log.c child.c \
	config.c console.c crc32.c error.c esp-mount.c file.c file-fat.c file-root.c floor.c floor-report.c form.c glob.c hash.c json.c loader-efi.c loader-entries.c loader-once.c loader-tries.c \
	log.c network.c records.c request.c restore-point.c retry.c secret.c uki-section.c url.c uuid.c watch.c watchdog.c)

UNIT_TESTS += test-lib test-boot-state test-boot-state-store test-config test-floor-report test-loader-once test-loader-tries test-records test-retry test-watchdog
test-boot-state-store_SRCS := tests/unit/test-boot-state-store.c
test-boot-state-store_LIBS := cmocka efivar
test-floor-report_SRCS := tests/unit/test-floor-report.c tests/unit/tree.c
test-floor-report_LIBS := cmocka jansson
test-loader-once_SRCS := tests/unit/test-loader-once.c
test-loader-once_LIBS := cmocka
test-loader-tries_SRCS := tests/unit/test-loader-tries.c
test-loader-tries_LIBS := cmocka
test-watchdog_SRCS := tests/unit/test-watchdog.c tests/unit/tree.c
test-watchdog_LIBS := cmocka
test-retry_SRCS := tests/unit/test-retry.c
test-retry_LIBS := cmocka
test-records_SRCS := tests/unit/test-records.c
test-records_LIBS := cmocka
test-lib_SRCS := tests/unit/test-lib.c
test-lib_LIBS := cmocka jansson libcrypto
test-boot-state_SRCS := tests/unit/test-boot-state.c
test-boot-state_LIBS := cmocka jansson
test-config_SRCS := tests/unit/test-config.c
test-config_LIBS := cmocka inih

FUZZERS += fuzz-boot-state fuzz-config fuzz-request fuzz-retry
fuzz-request_SRCS := tests/fuzz/fuzz-request.c tests/fuzz/main.c
fuzz-request_LIBS := jansson
fuzz-retry_SRCS := tests/fuzz/fuzz-retry.c tests/fuzz/main.c
fuzz-config_SRCS := tests/fuzz/fuzz-config.c tests/fuzz/main.c
fuzz-config_LIBS := inih
fuzz-boot-state_SRCS := tests/fuzz/fuzz-boot-state.c tests/fuzz/main.c
