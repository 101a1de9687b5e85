# mkrecovery: builds the recovery image. See README.md.
PROGRAMS += mkrecovery
mkrecovery_SRCS := $(addprefix initramfs/,compress.c content.c elf-file.c image.c kernel.c mkrecovery.c module-index.c \
	module-set.c module-table.c modules.c newc.c pe.c programs.c uki.c)
mkrecovery_LIBS := libkmod libzstd inih

UNIT_TESTS += test-newc test-elf test-pe test-modules test-mkrecovery
test-newc_SRCS := tests/unit/test-newc.c initramfs/newc.c
test-newc_LIBS := cmocka
test-elf_SRCS := tests/unit/test-elf.c initramfs/elf-file.c
test-elf_LIBS := cmocka
test-pe_SRCS := tests/unit/test-pe.c initramfs/pe.c
test-pe_LIBS := cmocka
test-modules_SRCS := tests/unit/test-modules.c initramfs/module-index.c
test-modules_LIBS := cmocka libkmod
test-mkrecovery_SRCS := tests/unit/test-mkrecovery.c $(addprefix initramfs/,image.c newc.c pe.c uki.c)
test-mkrecovery_LIBS := cmocka

FUZZERS += fuzz-elf fuzz-pe
fuzz-elf_SRCS := tests/fuzz/fuzz-elf.c tests/fuzz/main.c initramfs/elf-file.c
fuzz-pe_SRCS := tests/fuzz/fuzz-pe.c tests/fuzz/main.c initramfs/pe.c
