/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMR_PUBLISH_H
#define QMR_PUBLISH_H

#include <stddef.h>
#include <stdio.h>

#include "publish-repository.h"

/*
 * The commands of qmr-publish. Each logs its own errors and returns an exit status
 * (docs/architecture.md); QMR_EXIT_NOTHING: nothing is published by it.
 */

struct qmr_publish_arguments {
	const char *repository, *keys, *passphrase_file, *key, *root, *replace, *drop, *public_key;
	const char *to, *from, *signature; /* of what is signed elsewhere */
	const char *uri, *incident, *tree, *config;
	int ask_passphrase, add, json;
	int warn_days;     /* -1: a quarter of each role's days */
	int new_threshold; /* of rotate; 0: as it is */
	int days[QMR_ROLE_COUNT];
	int n_keys[QMR_ROLE_COUNT], threshold[QMR_ROLE_COUNT];
	unsigned int roles; /* bits (1 << role) of --role */
	char **names;       /* operands */
	size_t n_names;
};

/* Makes keys and an empty repository. */
int qmr_publish_init(const struct qmr_publish_arguments *arguments);

/* Checks plans and publishes them, or stages that. */
int qmr_publish_add(const struct qmr_publish_arguments *arguments);

/* Publishes that plans are not to be applied any more, or stages that. */
int qmr_publish_withdraw(const struct qmr_publish_arguments *arguments);

/* Takes plans and holds out, or stages that. */
int qmr_publish_remove(const struct qmr_publish_arguments *arguments);

/* Replaces, adds or drops a key of a role, or changes its threshold. */
int qmr_publish_rotate(const struct qmr_publish_arguments *arguments);

/* Renews timestamp, snapshot when it is old, and the roles that are asked for; publishes what is staged and signed. */
int qmr_publish_refresh(const struct qmr_publish_arguments *arguments);

/* Adds a signature to a staged change, and publishes it if that was the last one. */
int qmr_publish_sign(const struct qmr_publish_arguments *arguments);

/* Writes the bytes of a staged change that are to be signed elsewhere; QMR_EXIT_OK, though nothing is published. */
int qmr_publish_export(const struct qmr_publish_arguments *arguments);

/* Adds a signature that was made elsewhere, and publishes the change if that was the last one. */
int qmr_publish_import(const struct qmr_publish_arguments *arguments);

/* Makes a key, or notes where one is; the repository is not looked at. */
int qmr_publish_key(const struct qmr_publish_arguments *arguments);

/* Prints what plans would do about incidents; changes nothing. */
int qmr_publish_simulate(const struct qmr_publish_arguments *arguments);

/* Prints what another state of the repository has that this one has not; QMR_EXIT_NOTHING: nothing. */
int qmr_publish_diff(const struct qmr_publish_arguments *arguments);

/* Prints plans, versions and what is staged; changes nothing. */
int qmr_publish_list(const struct qmr_publish_arguments *arguments);

/* Verifies everything as a client does; QMR_EXIT_REFUSED: problems were printed. Changes nothing. */
int qmr_publish_check(const struct qmr_publish_arguments *arguments);

/*
 * What every changing command begins and ends with. Zeroed before, descriptors -1; release with
 * _done.
 */
struct qmr_publish_session {
	struct qmr_repository repository;
	struct qmr_key_ring ring;
	const char *to; /* borrowed; what is begun is signed elsewhere, and written there to be */
};

/*
 * Opens and locks the repository and the keys that the arguments name, and loads what is published and what is staged. session is released by
 * the caller after a failure too. -EBUSY: another one is at work; -EBADMSG: a client would refuse what is there.
 */
int qmr_publish_begin(const struct qmr_publish_arguments *arguments,
		      struct qmr_publish_session *session, struct qmr_error *err) QMR_MUST_CHECK;

/* Signs next[TARGETS] with what is at hand, for the newest root and for one that is staged. -ENOKEY: nothing is. */
int qmr_publish_sign_targets(struct qmr_publish_session *session, struct qmr_error *err) QMR_MUST_CHECK;

/*
 * Publishes, says what was done, and warns about what expires. roles: those whose change was asked
 * for; renew: as of qmr_repository_publish(), both bits (1 << role). Returns an exit status or a negative errno.
 */
int qmr_publish_finish(struct qmr_publish_session *session, unsigned int roles, unsigned int renew,
		       struct qmr_error *err) QMR_MUST_CHECK;

/* Closes the repository, wipes the keys. */
void qmr_publish_done(struct qmr_publish_session *session);

/*
 * Takes the passphrase from where the arguments say, or QMR_PASSPHRASE; it stays empty if there is
 * none.
 */
int qmr_publish_passphrase(const struct qmr_publish_arguments *arguments, int is_new,
			   struct qmr_passphrase *ret, struct qmr_error *err) QMR_MUST_CHECK;

/* Logs err, with what it means for the repository, and returns the exit status for it. */
int qmr_publish_failed(const char *what, const struct qmr_publish_session *session,
		       const struct qmr_error *err);

/* Writes the bytes of next[role] that are to be signed, and says how; QMR_EXIT_NOTHING: nothing is published by that. */
int qmr_publish_export_to(const struct qmr_repository *repository, enum qmr_role role, const char *path,
			  struct qmr_error *err) QMR_MUST_CHECK;

/*
 * What next[role] changes against now[role], as [{"change", ..}] (new reference), NULL without
 * memory.
 */
json_t *qmr_publish_changes(const struct qmr_repository *repository, enum qmr_role role);

/* Adds to set, an object that is empty at first, what a plan says of others; takes references to its lists. */
int qmr_publish_set_add(json_t *set, const json_t *plan, struct qmr_error *err) QMR_MUST_CHECK;

/* -EBADMSG: plans of the set supersede or require each other in a circle. Takes the set apart: call it last. */
int qmr_publish_set_check(json_t *set, struct qmr_error *err) QMR_MUST_CHECK;

/* {"id", "requires"} of plans that require one that is not in the set (new reference). */
json_t *qmr_publish_set_missing(const json_t *set);

/* One line for each of these. */
void qmr_publish_print_changes(FILE *out, const json_t *changes);

/* Text of a file as it may be printed: control characters become '?'. */
void qmr_publish_print_clean(FILE *out, const char *text);

#endif
