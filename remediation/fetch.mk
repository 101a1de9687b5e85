# remediation-fetch: see README.md.
PROGRAMS += remediation-fetch

TUF_SRCS := $(addprefix remediation/,canonical-json.c tuf-client.c tuf-key.c tuf-metadata.c tuf-trusted.c)

remediation-fetch_SRCS := $(TUF_SRCS) $(addprefix remediation/,fetch.c fetch-child.c fetch-message.c fetch-plans.c fetch-run.c \
	fetch-sandbox.c fetch-store.c fetch-transfer.c fetch-update.c plan.c)
remediation-fetch_LIBS := jansson libcrypto libcurl libseccomp inih

UNIT_TESTS += test-canonical-json
test-canonical-json_SRCS := tests/unit/test-canonical-json.c remediation/canonical-json.c
test-canonical-json_LIBS := cmocka jansson

UNIT_TESTS += test-tuf-sandbox
test-tuf-sandbox_SRCS := tests/unit/test-tuf-sandbox.c remediation/fetch-sandbox.c
test-tuf-sandbox_LIBS := cmocka libseccomp
