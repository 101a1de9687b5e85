/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the commands of qmr-publish have in common. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "publish.h"

int qmr_publish_failed(const char *what, const struct qmr_publish_session *session,
		       const struct qmr_error *err)
{
	static const struct {
		int code, status;
	} statuses[] = {
		{-EBADMSG, QMR_EXIT_REFUSED},
		{-EINVAL, QMR_EXIT_USAGE},
		{-ENODATA, QMR_EXIT_NOTHING},
	};

	qmr_error_log("%s: %s; %s", what, err->text,
		      session->repository.is_visible
			      ? "it may be published all the same: see check and list, and refresh"
			      : "clients see what they saw before");
	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++)
		if (err->code == statuses[i].code)
			return statuses[i].status;
	return QMR_EXIT_FAILURE;
}

int qmr_publish_passphrase(const struct qmr_publish_arguments *arguments, int is_new,
			   struct qmr_passphrase *ret, struct qmr_error *err)
{
	const char *text = getenv("QMR_PASSPHRASE");

	if (arguments->passphrase_file)
		return qmr_passphrase_load(arguments->passphrase_file, ret, err);
	if (arguments->ask_passphrase && is_new)
		return qmr_passphrase_ask("Passphrase for the new keys: ", 1, ret, err);
	if (!text || !*text)
		return 0;
	if (strlen(text) > QMR_PASSPHRASE_BYTES_MAX)
		return qmr_error_set(err, -EINVAL, "QMR_PASSPHRASE is longer than %d bytes",
				     QMR_PASSPHRASE_BYTES_MAX);
	ret->size = strlen(text);
	memcpy(ret->text, text, ret->size + 1);
	return 0;
}

int qmr_publish_begin(const struct qmr_publish_arguments *arguments,
		      struct qmr_publish_session *session, struct qmr_error *err)
{
	int r = qmr_repository_open(arguments->repository, 1, &session->repository, err);

	session->to = arguments->to;
	if (r == 0)
		r = qmr_key_ring_open(arguments->keys, &session->ring, err);
	if (r == 0)
		r = qmr_publish_passphrase(arguments, 0, &session->ring.passphrase, err);
	if (r == 0)
		r = qmr_repository_load(&session->repository, NULL, 1, err);
	if (r == 0)
		r = qmr_repository_load_staged(&session->repository, err);
	return r;
}

void qmr_publish_done(struct qmr_publish_session *session)
{
	qmr_repository_close(&session->repository);
	qmr_key_ring_done(&session->ring);
}

static void warn_about_expiry(const struct qmr_repository *repository)
{
	for (int role = 0; role < QMR_ROLE_COUNT; role++) {
		int64_t left = qmr_metadata_expires(repository->now[role]) - repository->now_unix_s;

		if (left <= 0)
			qmr_warning("%s has expired: clients refuse the repository until it is "
				    "renewed (refresh --role %s)",
				    qmr_role_name(role), qmr_role_name(role));
		else if (qmr_repository_is_near_expiry(repository, role))
			qmr_warning("%s expires in %lld days; refresh --role %s renews it",
				    qmr_role_name(role), (long long)(left / 86400),
				    qmr_role_name(role));
	}
}

static void print_published(const struct qmr_repository *repository,
			    const struct qmr_publication *publication)
{
	const char *between = "published:";

	for (int role = 0; role < QMR_ROLE_COUNT; role++)
		if (publication->is_published[role]) {
			printf("%s %s %lld", between, qmr_role_name(role),
			       (long long)qmr_metadata_version(repository->now[role]));
			between = ",";
		}
	if (*between == ',')
		puts("");
}

/* Under the root that asks for more. */
static int missing(const struct qmr_repository *repository, enum qmr_role role)
{
	const json_t *const roots[] = {repository->now[QMR_ROLE_ROOT],
				       repository->next[QMR_ROLE_ROOT]};
	int most = 0;

	for (int i = 0; i < 2; i++) {
		int count;

		if (!roots[i])
			continue;
		count = qmr_root_threshold(roots[i], role) -
			qmr_metadata_count(roots[i], role, repository->next[role], NULL);
		if (count > most)
			most = count;
	}
	return most;
}

static void print_staged(const struct qmr_repository *repository, enum qmr_role role)
{
	int n = missing(repository, role);

	if (n > 0)
		printf("staged: %s %lld, %d signature%s missing: see \"list\", then \"sign --role "
		       "%s --key FILE\"\n",
		       qmr_role_name(role), (long long)qmr_metadata_version(repository->next[role]),
		       n, n == 1 ? "" : "s", qmr_role_name(role));
	else
		printf("staged: %s %lld, signed; \"refresh\" publishes it where the other keys it "
		       "needs are\n",
		       qmr_role_name(role),
		       (long long)qmr_metadata_version(repository->next[role]));
}

int qmr_publish_finish(struct qmr_publish_session *session, unsigned int roles, unsigned int renew,
		       struct qmr_error *err)
{
	struct qmr_repository *repository = &session->repository;
	struct qmr_publication publication = {0};
	int status = QMR_EXIT_OK;
	int r;

	if (session->to)
		return qmr_publish_export_to(repository, repository->next[QMR_ROLE_ROOT] && roles & 1u << QMR_ROLE_ROOT ? QMR_ROLE_ROOT
															 : QMR_ROLE_TARGETS,
					     session->to, err);
	r = qmr_repository_publish(repository, &session->ring, renew, &publication, err);

	if (r < 0)
		return r;
	print_published(repository, &publication);
	for (int role = 0; role <= QMR_ROLE_TARGETS; role++) {
		if (!publication.is_staged[role])
			continue;
		print_staged(repository, role);
		if (roles & 1u << role)
			status = QMR_EXIT_NOTHING;
	}
	warn_about_expiry(repository);
	if (fflush(stdout) < 0)
		return qmr_error_errno(err, -errno, "writing to standard output");
	return status;
}

void qmr_publish_print_clean(FILE *out, const char *text)
{
	for (; *text; text++)
		putc((unsigned char)*text < 32 || *text == 127 ? '?' : *text, out);
}
