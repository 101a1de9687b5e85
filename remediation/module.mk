# Plans, transactions, restore points; see README.md.
# A plan, and what it is held against.
PLAN_SRCS := $(addprefix remediation/,dpkg-status.c plan.c plan-form.c plan-match.c plan-root.c request-form.c utc.c version.c)

include remediation/apply.mk remediation/fetch.mk remediation/publish.mk

FUZZERS += fuzz-plan
fuzz-plan_SRCS := tests/fuzz/fuzz-plan.c tests/fuzz/main.c $(PLAN_SRCS)
fuzz-plan_LIBS := jansson libcrypto

UNIT_TESTS += test-plan
test-plan_SRCS := tests/unit/test-plan.c $(PLAN_SRCS)
test-plan_LIBS := cmocka jansson libcrypto

FUZZERS += fuzz-version fuzz-dpkg-status
fuzz-version_SRCS := tests/fuzz/fuzz-version.c tests/fuzz/main.c remediation/version.c
fuzz-dpkg-status_SRCS := tests/fuzz/fuzz-dpkg-status.c tests/fuzz/main.c remediation/dpkg-status.c

UNIT_TESTS += test-plan-match test-version
test-plan-match_SRCS := tests/unit/test-plan-match.c tests/unit/tree.c $(PLAN_SRCS)
test-plan-match_LIBS := cmocka jansson libcrypto
test-version_SRCS := tests/unit/test-version.c remediation/version.c
test-version_LIBS := cmocka
