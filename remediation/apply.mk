# restore-point and remediation-apply: see README.md.
PROGRAMS += remediation-apply restore-point

TRANSACTION_SRCS := $(addprefix remediation/,journal.c transaction.c transaction-changes.c transaction-copy.c \
	transaction-modules.c transaction-node.c transaction-place.c transaction-prepare.c)

remediation-apply_SRCS := $(TRANSACTION_SRCS) $(addprefix remediation/,apply.c apply-list.c apply-plan.c apply-run.c apply-undo.c apply-vaccinate.c engine.c engine-block-module.c \
	engine-remove-file.c engine-restore-file.c protect.c revert.c) $(PLAN_SRCS)
remediation-apply_LIBS := jansson libcrypto efivar inih

restore-point_SRCS := $(addprefix remediation/,change-log-images.c change-log-update.c package-log.c restore-point.c \
	restore-point-take.c restore-point-verify.c transaction-changes.c transaction-copy.c transaction-node.c journal.c)
restore-point_LIBS := jansson libcrypto inih

UNIT_TESTS += test-watch test-restore-point test-transaction test-package-log test-change-log
test-package-log_SRCS := tests/unit/test-package-log.c remediation/package-log.c
test-package-log_LIBS := cmocka jansson
test-change-log_SRCS := tests/unit/test-change-log.c $(addprefix remediation/,change-log-images.c change-log-update.c package-log.c)
test-change-log_LIBS := cmocka jansson libcrypto
test-watch_SRCS := tests/unit/test-watch.c
test-watch_LIBS := cmocka jansson
test-restore-point_SRCS := tests/unit/test-restore-point.c
test-restore-point_LIBS := cmocka jansson
test-transaction_SRCS := tests/unit/test-transaction.c $(TRANSACTION_SRCS)
test-transaction_LIBS := cmocka jansson libcrypto efivar

FUZZERS += fuzz-journal fuzz-manifest fuzz-package-log fuzz-change-log
fuzz-package-log_SRCS := tests/fuzz/fuzz-package-log.c tests/fuzz/main.c
fuzz-package-log_LIBS := jansson
fuzz-change-log_SRCS := tests/fuzz/fuzz-change-log.c tests/fuzz/main.c
fuzz-change-log_LIBS := jansson
fuzz-journal_SRCS := tests/fuzz/fuzz-journal.c tests/fuzz/main.c remediation/journal.c remediation/transaction-node.c
fuzz-journal_LIBS := jansson libcrypto
fuzz-manifest_SRCS := tests/fuzz/fuzz-manifest.c tests/fuzz/main.c
fuzz-manifest_LIBS := jansson
