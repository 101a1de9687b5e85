# Collecting evidence and sending it: see README.md
PROGRAMS += crash-collect diag-upload

crash-collect_SRCS := $(addprefix diag-upload/,changes.c collect.c crash-collect.c culprit.c evidence.c incident.c \
	link.c module-file.c notes.c oops.c pstore.c recent-changes.c save.c)
crash-collect_LIBS := jansson libcrypto zlib inih

diag-upload_SRCS := $(addprefix diag-upload/,bundle.c diag-upload.c envelope.c send.c spool.c transfer.c trust.c)
diag-upload_LIBS := jansson libcrypto libcurl libzstd inih

UNIT_TESTS += test-oops test-pstore test-culprit test-changes test-recent-changes test-bundle
test-oops_SRCS := tests/unit/test-oops.c diag-upload/oops.c
test-oops_LIBS := cmocka
test-pstore_SRCS := tests/unit/test-pstore.c diag-upload/pstore.c
test-pstore_LIBS := cmocka zlib
test-culprit_SRCS := tests/unit/test-culprit.c $(addprefix diag-upload/,culprit.c module-file.c oops.c)
test-culprit_LIBS := cmocka
test-changes_SRCS := tests/unit/test-changes.c $(addprefix diag-upload/,changes.c culprit.c link.c module-file.c notes.c oops.c)
test-changes_LIBS := cmocka jansson libcrypto
test-recent-changes_SRCS := tests/unit/test-recent-changes.c $(addprefix diag-upload/,culprit.c link.c module-file.c notes.c \
	oops.c recent-changes.c)
test-recent-changes_LIBS := cmocka jansson
test-bundle_SRCS := tests/unit/test-bundle.c $(addprefix diag-upload/,bundle.c envelope.c spool.c)
test-bundle_LIBS := cmocka jansson libcrypto libzstd

FUZZERS += fuzz-oops fuzz-pstore fuzz-module-text
fuzz-module-text_SRCS := tests/fuzz/fuzz-module-text.c tests/fuzz/main.c diag-upload/module-file.c diag-upload/culprit.c diag-upload/oops.c
fuzz-oops_SRCS := tests/fuzz/fuzz-oops.c tests/fuzz/main.c diag-upload/oops.c
fuzz-pstore_SRCS := tests/fuzz/fuzz-pstore.c tests/fuzz/main.c diag-upload/pstore.c
fuzz-pstore_LIBS := zlib
