# remediation-fetch: see README.md.
PROGRAMS += remediation-fetch

TUF_SRCS := $(addprefix remediation/,canonical-json.c tuf-client.c tuf-delegation.c tuf-key.c tuf-metadata.c tuf-trusted.c)

# Without main(): the run is tested by itself too.
FETCH_SRCS := $(TUF_SRCS) $(addprefix remediation/,fetch-child.c fetch-folder.c fetch-hold.c fetch-message.c fetch-mirrors.c fetch-plans.c fetch-requests.c fetch-run.c \
	fetch-sandbox.c fetch-source.c fetch-store.c fetch-time.c fetch-transfer.c fetch-update.c) $(PLAN_SRCS)

remediation-fetch_SRCS := remediation/fetch.c $(FETCH_SRCS)
remediation-fetch_LIBS := jansson libcrypto libssl libcurl libseccomp inih

# The command line of public conformance tests over the same objects; not installed.
UNIT_TESTS += tuf-client
tuf-client_SRCS := tests/tuf-client.c $(TUF_SRCS) $(addprefix remediation/,fetch-message.c fetch-store.c fetch-transfer.c)
tuf-client_LIBS := jansson libcrypto libssl libcurl

UNIT_TESTS += test-canonical-json
test-canonical-json_SRCS := tests/unit/test-canonical-json.c remediation/canonical-json.c
test-canonical-json_LIBS := cmocka jansson

UNIT_TESTS += test-tuf-sandbox
test-tuf-sandbox_SRCS := tests/unit/test-tuf-sandbox.c remediation/fetch-sandbox.c
test-tuf-sandbox_LIBS := cmocka libseccomp

UNIT_TESTS += test-fetch-folder
test-fetch-folder_SRCS := tests/unit/test-fetch-folder.c remediation/fetch-folder.c remediation/fetch-source.c
test-fetch-folder_LIBS := cmocka
UNIT_TESTS += test-fetch-store
test-fetch-store_SRCS := tests/unit/test-fetch-store.c remediation/fetch-store.c remediation/fetch-message.c $(TUF_SRCS)
test-fetch-store_LIBS := cmocka jansson libcrypto
test-fetch-store_LDFLAGS := -Wl,--wrap=fsync
UNIT_TESTS += test-fetch-time
test-fetch-time_SRCS := tests/unit/test-fetch-time.c remediation/fetch-time.c remediation/fetch-message.c $(TUF_SRCS)
test-fetch-time_LIBS := cmocka jansson libcrypto

# A run of remediation-fetch's own objects whose child has been taken over.
UNIT_TESTS += test-fetch-escape
test-fetch-escape_SRCS := tests/unit/test-fetch-escape.c $(FETCH_SRCS)
test-fetch-escape_LIBS := cmocka jansson libcrypto libssl libcurl libseccomp
test-fetch-escape_LDFLAGS := -Wl,--wrap=qmr_fetch_update_run

TUF_TEST_SRCS := tests/unit/test-tuf-repository.c $(TUF_SRCS) remediation/fetch-message.c
UNIT_TESTS += test-tuf-metadata
test-tuf-metadata_SRCS := tests/unit/test-tuf-metadata.c $(TUF_TEST_SRCS)
test-tuf-metadata_LIBS := cmocka jansson libcrypto
UNIT_TESTS += test-tuf-delegation
test-tuf-delegation_SRCS := tests/unit/test-tuf-delegation.c $(TUF_SRCS)
test-tuf-delegation_LIBS := cmocka jansson libcrypto
UNIT_TESTS += test-tuf-client
test-tuf-client_SRCS := tests/unit/test-tuf-client.c $(TUF_TEST_SRCS)
test-tuf-client_LIBS := cmocka jansson libcrypto
UNIT_TESTS += test-tuf-trusted
test-tuf-trusted_SRCS := tests/unit/test-tuf-trusted.c $(TUF_TEST_SRCS)
test-tuf-trusted_LIBS := cmocka jansson libcrypto
UNIT_TESTS += test-tuf-accept
test-tuf-accept_SRCS := tests/unit/test-tuf-accept.c tests/unit/test-tuf-repository.c $(FETCH_SRCS)
test-tuf-accept_LIBS := cmocka jansson libcrypto libssl libcurl libseccomp
UNIT_TESTS += test-tuf-message
test-tuf-message_SRCS := tests/unit/test-tuf-message.c remediation/fetch-message.c
test-tuf-message_LIBS := cmocka

FUZZERS += fuzz-tuf-metadata fuzz-tuf-message fuzz-canonical-json fuzz-fetch-source
fuzz-canonical-json_SRCS := tests/fuzz/fuzz-canonical-json.c tests/fuzz/main.c remediation/canonical-json.c
fuzz-canonical-json_LIBS := jansson
fuzz-fetch-source_SRCS := tests/fuzz/fuzz-fetch-source.c tests/fuzz/main.c remediation/fetch-source.c remediation/fetch-folder.c
fuzz-tuf-metadata_SRCS := tests/fuzz/fuzz-tuf-metadata.c tests/fuzz/main.c $(TUF_SRCS)
fuzz-tuf-metadata_LIBS := jansson libcrypto
fuzz-tuf-message_SRCS := tests/fuzz/fuzz-tuf-message.c tests/fuzz/main.c remediation/fetch-message.c

UNIT_TESTS += test-fetch-plans
test-fetch-plans_SRCS := tests/unit/test-fetch-plans.c tests/unit/tree.c $(FETCH_SRCS)
test-fetch-plans_LIBS := cmocka jansson libcrypto libssl libcurl libseccomp
