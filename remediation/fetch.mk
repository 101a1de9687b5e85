# remediation-fetch: the TUF client; see README.md.
UNIT_TESTS += test-canonical-json
test-canonical-json_SRCS := tests/unit/test-canonical-json.c remediation/canonical-json.c
test-canonical-json_LIBS := cmocka jansson
