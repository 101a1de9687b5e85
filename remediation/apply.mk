# restore-point and remediation-apply: see README.md.
PROGRAMS += remediation-apply restore-point

TRANSACTION_SRCS := $(addprefix remediation/,journal.c transaction.c transaction-changes.c transaction-copy.c \
	transaction-modules.c transaction-node.c transaction-place.c transaction-prepare.c)

remediation-apply_SRCS := $(TRANSACTION_SRCS) $(addprefix remediation/,apply.c engine.c engine-block-module.c \
	engine-remove-file.c engine-restore-file.c plan.c revert.c)
remediation-apply_LIBS := jansson libcrypto efivar

restore-point_SRCS := $(addprefix remediation/,restore-point.c restore-point-take.c restore-point-verify.c \
	transaction-changes.c transaction-copy.c transaction-node.c journal.c)
restore-point_LIBS := jansson libcrypto inih
