# SPDX-License-Identifier: LGPL-2.1-or-later
# quick machine recovery. Non-recursive: each folder's module.mk adds its programs, tests and fuzzers.
#
#   make                build everything into $(B)
#   make check          all tests; check-unit and check-sanitize are its parts
#
# V=1 prints commands, WERROR=1 makes warnings errors, SAN=address,undefined builds with sanitizers.

B ?= build
CC ?= gcc
CFLAGS ?= -O2 -g
VERSION := 0.1.0

override SHELL := /bin/bash
Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-7s %s\n' $(1) $(2))

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wformat=2 \
	-Wno-unused-parameter $(if $(WERROR),-Werror)
HARDEN := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE $(if $(SAN),,-D_FORTIFY_SOURCE=2)
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
QMR_CFLAGS = -std=gnu11 -D_GNU_SOURCE -DQMR_VERSION='"$(VERSION)"' -Ilib -ffunction-sections -fdata-sections \
	$(WARN) $(HARDEN) $(SANFLAGS) -MMD -MP
QMR_LDFLAGS = -pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed,--gc-sections $(SANFLAGS)

PROGRAMS :=
UNIT_TESTS :=
FUZZERS :=
LIB_SRCS :=

include lib/module.mk boot-hooks/module.mk recovery-init/module.mk diag-upload/module.mk \
	remediation/module.mk initramfs/module.mk tests/module.mk

all: $(B)/libqmr.a $(addprefix $(B)/,$(PROGRAMS))
.PHONY: all
.DEFAULT_GOAL := all

# A source's object lies at the same path below $(B)/obj.
objs = $(patsubst %.c,$(B)/obj/%.o,$(1))
# Libraries by pkg-config name, or "-lname" as it is.
libs = $(shell pkg-config --libs $(filter-out -l%,$(1)) $(if $(filter-out -l%,$(1)),,--version >/dev/null) 2>/dev/null) $(filter -l%,$(1))

$(B)/obj/%.o: %.c | build-deps
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(QMR_CFLAGS) $(if $(filter tests/%,$<),-I. -Iboot-hooks -Idiag-upload -Iremediation -Iinitramfs -Irecovery-init) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(B)/libqmr.a: $(call objs,$(LIB_SRCS))
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# $(1): path below $(B), $(2): its name, which <name>_SRCS and <name>_LIBS go by.
define link_rule
$(B)/$(1): $$(call objs,$$($(2)_SRCS)) $(B)/libqmr.a
	$$(call say,LINK,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(QMR_LDFLAGS) $$(CFLAGS) $$(LDFLAGS) $$($(2)_LDFLAGS) -o $$@ $$^ $$(call libs,$$($(2)_LIBS))
endef
$(foreach p,$(PROGRAMS),$(eval $(call link_rule,$(p),$(p))))
$(foreach t,$(UNIT_TESTS),$(eval $(call link_rule,tests/$(t),$(t))))
# With clang's fuzzer in place of the replaying main(): make fuzz.
ifdef FUZZING
$(foreach f,$(FUZZERS),$(eval $(f)_SRCS := $(filter-out tests/fuzz/main.c,$($(f)_SRCS)))$(eval $(f)_LDFLAGS += -fsanitize=fuzzer))
endif
$(foreach f,$(FUZZERS),$(eval $(call link_rule,fuzz/$(f),$(f))))

# Installs the packages that building needs, through apt, if something is missing (says so). Skipped where pkg-config finds all.
build-deps:
	$(Q)tests/deps.sh build
.PHONY: build-deps

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)

clean:
	rm -rf $(B)
.PHONY: clean

PREFIX := /usr
I = $(DESTDIR)$(PREFIX)
install: all
	install -d $(I)/lib/qmr
	install -m 0755 $(addprefix $(B)/,$(filter-out qmrctl qmr-publish qmr-generator,$(PROGRAMS))) $(I)/lib/qmr
	install -D -m 0755 -t $(I)/sbin $(B)/qmrctl
	install -D -m 0755 -t $(I)/bin $(B)/qmr-publish
	install -D -m 0755 -t $(I)/lib/systemd/system-generators $(B)/qmr-generator
	install -D -m 0755 boot-hooks/initramfs-tools/hook $(I)/share/initramfs-tools/hooks/qmr
	install -D -m 0755 boot-hooks/initramfs-tools/init-top $(I)/share/initramfs-tools/scripts/init-top/00-qmr
	install -D -m 0755 boot-hooks/initramfs-tools/init-bottom $(I)/share/initramfs-tools/scripts/init-bottom/qmr
	install -D -m 0755 boot-hooks/initramfs-tools/local-top $(I)/share/initramfs-tools/scripts/local-top/00-qmr
	install -D -m 0755 boot-hooks/initramfs-tools/panic $(I)/share/initramfs-tools/scripts/panic/qmr
	install -D -m 0755 boot-hooks/systemd/sleep-hook $(I)/lib/systemd/system-sleep/qmr
	install -D -m 0755 boot-hooks/systemd/shutdown-hook $(I)/lib/systemd/system-shutdown/qmr
	install -d $(I)/lib/systemd/system $(I)/lib/qmr/checks.d/{required,wanted}.d $(DESTDIR)/etc/qmr/checks.d/{required,wanted}.d
	install -m 0644 boot-hooks/checks.d-README $(DESTDIR)/etc/qmr/checks.d/README
	install -m 0644 $(wildcard $(addprefix boot-hooks/systemd/qmr-*.,service timer path)) $(I)/lib/systemd/system
	install -D -m 0644 -t $(I)/share/qmr docs/plan.schema.json
	for section in 1 5 8; do for page in docs/man/*.$$section; do \
		[ ! -f $$page ] || install -D -m 0644 -t $(I)/share/man/man$$section $$page || exit 1; done; done
.PHONY: install
