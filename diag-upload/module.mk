# Collecting evidence and sending it: see docs/incident.md
PROGRAMS += crash-collect diag-upload

crash-collect_SRCS := $(addprefix diag-upload/,changes.c collect.c crash-collect.c culprit.c evidence.c incident.c \
	module-file.c notes.c oops.c pstore.c save.c)
crash-collect_LIBS := jansson libcrypto zlib inih

diag-upload_SRCS := $(addprefix diag-upload/,bundle.c diag-upload.c envelope.c send.c spool.c transfer.c)
diag-upload_LIBS := jansson libcrypto libcurl libzstd inih

UNIT_TESTS += test-oops
test-oops_SRCS := tests/unit/test-oops.c diag-upload/oops.c
test-oops_LIBS := cmocka

FUZZERS += fuzz-oops
fuzz-oops_SRCS := tests/fuzz/fuzz-oops.c tests/fuzz/main.c diag-upload/oops.c
