# How the tests are run. Each folder's module.mk names its own unit tests and fuzzers.

check-build: all $(addprefix $(B)/tests/,$(UNIT_TESTS)) $(addprefix $(B)/fuzz/,$(FUZZERS))
.PHONY: check-build

# tests/run.sh runs what it is given, counts, prints "N passed, N failed" and exits 1 if something failed.
check: check-build
	tests/deps.sh cli net vm
	tests/run.sh -B $(B) unit fuzz cli net vm sanitize
check-unit: check-build
	tests/run.sh -B $(B) unit fuzz
check-net: check-build
	tests/deps.sh net
	tests/run.sh -B $(B) net
# With the scenarios that are left out of `check`, since they take long and resemble others.
check-vm: check-build
	tests/deps.sh vm
	QMR_VM_ALL=1 tests/run.sh -B $(B) vm
check-sanitize: check-build
	tests/run.sh -B $(B) sanitize
.PHONY: check check-net check-vm check-unit check-sanitize

# Each parser under clang's fuzzer, FUZZ_SECONDS each, two at a time; FUZZ="fuzz-plan ..." chooses.
FUZZ_SECONDS ?= 60
FUZZ ?= $(sort $(FUZZERS))
fuzz:
	tests/deps.sh build fuzz
	$(MAKE) -s -j2 B=$(B)-fuzz CC=clang CFLAGS="-O1 -g" SAN=address,undefined,fuzzer-no-link FUZZING=1 $(addprefix $(B)-fuzz/fuzz/,$(FUZZ))
	tests/fuzz/run.sh $(B)-fuzz $(FUZZ_SECONDS) $(FUZZ)
.PHONY: fuzz

# A whole machine that recovers, shown live; DEMO="--no-server" or "--no-plan" shows the other ends.
demo: all
	tests/deps.sh vm
	python3 tests/vm/demo.py -B $(B) $(DEMO)
.PHONY: demo

include tests/bench/module.mk
