# Plans, transactions, restore points; see README.md.
include remediation/apply.mk remediation/fetch.mk remediation/publish.mk

UNIT_TESTS += test-plan
test-plan_SRCS := tests/unit/test-plan.c remediation/plan.c
test-plan_LIBS := cmocka jansson
