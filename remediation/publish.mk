# qmr-publish: the owner's tool; see README.md.
PROGRAMS += qmr-publish

# What a plan would change, without the part that changes it.
PLAY_SRCS := $(addprefix remediation/,engine.c engine-block-module.c engine-remove-file.c engine-restore-file.c journal.c protect.c \
	transaction-changes.c transaction-copy.c transaction-node.c)

PUBLISH_SRCS := $(addprefix remediation/,canonical-json.c key-file.c publish-form.c publish-init.c publish-item.c publish-key.c \
	publish-keys.c publish-metadata.c publish-offline.c publish-order.c publish-plans.c publish-refresh.c publish-repository.c publish-rotate.c publish-session.c publish-set.c publish-simulate.c \
	publish-show.c tuf-key.c) $(PLAN_SRCS) $(PLAY_SRCS)

qmr-publish_SRCS := $(PUBLISH_SRCS) remediation/publish.c
qmr-publish_LIBS := jansson libcrypto inih

UNIT_TESTS += test-key-file test-publish
test-key-file_SRCS := tests/unit/test-key-file.c remediation/key-file.c remediation/canonical-json.c remediation/tuf-key.c
test-key-file_LIBS := cmocka jansson libcrypto
test-publish_SRCS := tests/unit/test-publish.c $(PUBLISH_SRCS)
test-publish_LIBS := cmocka jansson libcrypto inih

FUZZERS += fuzz-publish
fuzz-publish_SRCS := tests/fuzz/fuzz-publish.c tests/fuzz/main.c $(PUBLISH_SRCS)
fuzz-publish_LIBS := jansson libcrypto inih
