/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qmr-publish export and import: signatures that are made where this program does not run. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cleanup.h"
#include "file.h"
#include "json.h"
#include "publish-item.h"
#include "publish.h"

int qmr_publish_export_to(const struct qmr_repository *repository, enum qmr_role role, const char *path, struct qmr_error *err)
{
	const json_t *document = repository->next[role];
	cleanup_json json_t *changes = NULL;
	cleanup_free char *data = NULL;
	const char *name = qmr_role_name(role);
	size_t size;
	int r = qmr_metadata_signed_bytes(document, &data, &size, err);

	if (r == 0)
		r = qmr_file_replace(AT_FDCWD, path, data, size, 0644, err);
	if (r < 0)
		return r;
	changes = qmr_publish_changes(repository, role);
	printf("to sign: %s %lld\n", name, (long long)qmr_metadata_version(document));
	qmr_publish_print_changes(stdout, changes);
	printf("with: openssl pkeyutl -sign -rawin -inkey KEY.pem -in %s -out SIGNATURE\n"
	       "then: import --role %s --from %s --signature SIGNATURE --public PUBLIC.pem\n",
	       path, name, path);
	return fflush(stdout) < 0 ? qmr_error_errno(err, -errno, "writing to standard output") : QMR_EXIT_NOTHING;
}

/* root or targets, what alone is signed by people. */
static int one_role(const struct qmr_publish_arguments *arguments, struct qmr_error *err)
{
	for (int role = QMR_ROLE_ROOT; role <= QMR_ROLE_TARGETS; role++)
		if (arguments->roles == 1u << role)
			return role;
	return qmr_error_set(err, -EINVAL, "--role root or --role targets is needed: nothing else is signed offline");
}

int qmr_publish_export(const struct qmr_publish_arguments *arguments)
{
	struct qmr_publish_session session = {.repository.fd = -1, .ring.fd = -1};
	struct qmr_error err = {0};
	int role = one_role(arguments, &err), r = role;

	if (r >= 0)
		r = qmr_publish_begin(arguments, &session, &err);
	if (r == 0 && !session.repository.next[role])
		r = qmr_error_set(&err, -ENODATA, "nothing is staged for role %s", qmr_role_name(role));
	if (r == 0)
		r = qmr_publish_export_to(&session.repository, role, arguments->to, &err);
	if (r == QMR_EXIT_NOTHING)
		r = QMR_EXIT_OK; /* here it is what was asked for */
	if (r < 0)
		r = qmr_publish_failed("exporting", &session, &err);
	qmr_publish_done(&session);
	return r;
}

/* A change that was exported instead of staged; what comes back is looked at as if it came from a stranger. */
static int begin_from(struct qmr_repository *repository, enum qmr_role role, const char *path, struct qmr_error *err)
{
	cleanup_json json_t *document = NULL;
	cleanup_free char *data = NULL, *again = NULL;
	json_t *body = NULL;
	size_t size, again_size;
	int r = qmr_file_read(AT_FDCWD, path, QMR_METADATA_BYTES_MAX, &data, &size, err);

	if (r == 0)
		r = qmr_json_parse(path, data, size, &body, err);
	if (r < 0)
		return r == -EINVAL ? qmr_error_set(err, -EBADMSG, "'%s' is nothing that was exported", path) : r;
	document = json_pack("{s:[], s:o}", "signatures", "signed", body);
	if (!document)
		return qmr_error_set(err, -ENOMEM, "reading '%s': out of memory", path);
	r = qmr_metadata_check_form(role, document, path, err);
	if (r == 0)
		r = qmr_metadata_signed_bytes(document, &again, &again_size, err);
	if (r < 0)
		return r;
	/* Else signatures would be over other bytes than the ones that people looked at. */
	if (again_size != size || memcmp(again, data, size))
		return qmr_error_set(err, -EBADMSG, "'%s' is not in the form that was exported", path);
	if (repository->next[role])
		return json_equal(json_object_get(repository->next[role], "signed"), json_object_get(document, "signed"))
			       ? 0
			       : qmr_error_set(err, -EBADMSG, "another change of %s is staged than the one in '%s'",
					       qmr_role_name(role), path);
	if (qmr_metadata_version(document) != qmr_metadata_version(repository->now[role]) + 1)
		return qmr_error_set(err, -EBADMSG, "'%s' is %s %lld, which does not follow %lld; export it anew", path,
				     qmr_role_name(role), (long long)qmr_metadata_version(document),
				     (long long)qmr_metadata_version(repository->now[role]));
	if (qmr_metadata_expires(document) <= repository->now_unix_s)
		return qmr_error_set(err, -EBADMSG, "'%s' has expired; export it anew", path);
	repository->next[role] = json_incref(document);
	return 0;
}

static int add_signature(struct qmr_repository *repository, enum qmr_role role, const struct qmr_publish_arguments *arguments,
			 struct qmr_error *err)
{
	const json_t *next_root = repository->next[QMR_ROLE_ROOT];
	cleanup_free char *data = NULL;
	char signature[QMR_KEY_SIGNATURE_HEX];
	struct qmr_key key = {0};
	size_t size;
	int r = qmr_file_read(AT_FDCWD, arguments->signature, QMR_KEY_SIGNATURE_BYTES_MAX, &data, &size, err);

	if (r == -EFBIG)
		return qmr_error_set(err, -EBADMSG, "'%s' is no signature: it has more than %d bytes", arguments->signature,
				     QMR_KEY_SIGNATURE_BYTES_MAX);
	if (r == 0)
		r = qmr_key_load_public(arguments->public_key, &key, err);
	if (r < 0)
		return r;
	qmr_hex_encode((const unsigned char *)data, size, signature);
	if (qmr_root_has_key(repository->now[QMR_ROLE_ROOT], role, key.id) ||
	    (next_root && qmr_root_has_key(next_root, role, key.id)))
		r = qmr_metadata_add_signature(repository->next[role], &key, signature, err);
	else
		r = qmr_error_set(err, -EBADMSG, "'%s' is no key of role %s; nothing was imported", arguments->public_key,
				  qmr_role_name(role));
	qmr_key_done(&key);
	return r;
}

static int import(struct qmr_publish_session *session, enum qmr_role role, const struct qmr_publish_arguments *arguments,
		  struct qmr_error *err)
{
	struct qmr_repository *repository = &session->repository;
	cleanup_json json_t *changes = NULL;
	int r = arguments->from ? begin_from(repository, role, arguments->from, err) : 0;

	if (r == 0 && !repository->next[role])
		r = qmr_error_set(err, -ENODATA, "nothing is staged for role %s; --from FILE names what was exported",
				  qmr_role_name(role));
	if (r == 0 && role == QMR_ROLE_TARGETS)
		r = qmr_publish_check_staged(repository, err);
	if (r == 0)
		r = add_signature(repository, role, arguments, err);
	if (r < 0)
		return r;
	changes = qmr_publish_changes(repository, role);
	printf("signed: %s %lld\n", qmr_role_name(role), (long long)qmr_metadata_version(repository->next[role]));
	qmr_publish_print_changes(stdout, changes);
	return qmr_publish_finish(session, 1u << role, 0, err);
}

int qmr_publish_import(const struct qmr_publish_arguments *arguments)
{
	struct qmr_publish_session session = {.repository.fd = -1, .ring.fd = -1};
	struct qmr_error err = {0};
	int role = one_role(arguments, &err), r = role;

	if (r >= 0)
		r = qmr_publish_begin(arguments, &session, &err);
	if (r == 0)
		r = import(&session, role, arguments, &err);
	if (r < 0)
		r = qmr_publish_failed("importing a signature", &session, &err);
	qmr_publish_done(&session);
	return r;
}
