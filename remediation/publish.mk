# qmr-publish: the owner's tool; see README.md.
PROGRAMS += qmr-publish

PUBLISH_SRCS := $(addprefix remediation/,canonical-json.c key-file.c plan.c publish-change.c publish-form.c publish-init.c \
	publish-keys.c publish-metadata.c publish-order.c publish-repository.c publish-rotate.c publish-session.c \
	publish-show.c)

qmr-publish_SRCS := $(PUBLISH_SRCS) remediation/publish.c
qmr-publish_LIBS := jansson libcrypto
