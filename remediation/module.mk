# Plans, transactions, restore points; see README.md.
include remediation/apply.mk remediation/fetch.mk remediation/publish.mk

FUZZERS += fuzz-plan
fuzz-plan_SRCS := tests/fuzz/fuzz-plan.c tests/fuzz/main.c remediation/plan.c
fuzz-plan_LIBS := jansson

UNIT_TESTS += test-plan
test-plan_SRCS := tests/unit/test-plan.c remediation/plan.c
test-plan_LIBS := cmocka jansson
