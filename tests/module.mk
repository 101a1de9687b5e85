# How the tests are run. Each folder's module.mk names its own unit tests and fuzzers.

check-build: all $(addprefix $(B)/tests/,$(UNIT_TESTS)) $(addprefix $(B)/fuzz/,$(FUZZERS))
.PHONY: check-build

# tests/run.sh runs what it is given, counts, prints "N passed, N failed" and exits 1 if something failed.
check: check-build
	tests/run.sh -B $(B) unit fuzz cli sanitize
check-unit: check-build
	tests/run.sh -B $(B) unit fuzz
check-vm: check-build
	tests/run.sh -B $(B) vm
check-sanitize: check-build
	tests/run.sh -B $(B) sanitize
.PHONY: check check-vm check-unit check-sanitize
