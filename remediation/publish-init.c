/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qmr-publish init: keys and a first, empty repository. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "file.h"
#include "json.h"
#include "publish.h"

static int make_folders(const char *path, struct qmr_error *err)
{
	cleanup_close int fd = -1;
	int r = qmr_file_mkdirs(AT_FDCWD, path, 0755, err);

	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return qmr_error_errno(err, -errno, "opening the repository '%s'", path);
	r = qmr_file_mkdirs(fd, "metadata", 0755, err);
	if (r == 0)
		r = qmr_file_mkdirs(fd, "targets/plans", 0755, err);
	if (r == 0)
		r = qmr_file_sync_dir(fd, "targets", err);
	if (r == 0)
		r = qmr_file_sync_dir(fd, ".", err);
	return r < 0 ? r : qmr_file_sync_dir(fd, "..", err);
}

/*
 * Keys are made in an empty folder, so that it is clear which of the files belong to this
 * repository.
 */
static int make_key_folder(const char *path, struct qmr_error *err)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r = qmr_file_mkdirs(AT_FDCWD, path, 0700, err);

	if (r < 0)
		return r;
	dir = opendir(path);
	if (!dir)
		return qmr_error_errno(err, -errno, "opening the folder of keys '%s'", path);
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			return qmr_error_set(err, -EEXIST,
					     "the folder of keys '%s' holds '%s'; nothing was "
					     "done, name an empty "
					     "or new one",
					     path, entry->d_name);
	return 0;
}

/* Asked with the lock held: of two at once the second finds the first one's work. */
static int refuse_existing(const struct qmr_publish_session *session, const char *path,
			   struct qmr_error *err)
{
	if (faccessat(session->repository.fd, "metadata/timestamp.json", F_OK,
		      AT_SYMLINK_NOFOLLOW) == 0)
		return qmr_error_set(err, -EEXIST, "'%s' is a repository already; nothing was done",
				     path);
	return 0;
}

static int make_root(const struct qmr_publish_arguments *arguments,
		     struct qmr_publish_session *session, const struct qmr_passphrase *passphrase,
		     struct qmr_error *err)
{
	struct qmr_repository *repository = &session->repository;
	json_t *root = qmr_metadata_new(QMR_ROLE_ROOT, 1,
					qmr_repository_expiry(repository, QMR_ROLE_ROOT));
	int r = 0;

	repository->now[QMR_ROLE_ROOT] = root;
	if (!root || json_object_set_new(json_object_get(root, "signed"), "consistent_snapshot",
					 json_true()) < 0)
		return qmr_error_set(err, -ENOMEM, "making metadata: out of memory");
	for (int role = 0; role < QMR_ROLE_COUNT; role++) {
		/*
		 * A cron job uses the online keys, and a passphrase beside them would protect
		 * nothing.
		 */
		int offline = role <= QMR_ROLE_TARGETS;

		for (int i = 0; r == 0 && i < arguments->n_keys[role]; i++) {
			const struct qmr_key *key = NULL;

			r = qmr_key_ring_make(&session->ring, role, offline ? passphrase : NULL,
					      &key, err);
			if (r == 0)
				r = qmr_root_add_key(root, role, key, err);
		}
		if (r == 0)
			r = qmr_root_set_threshold(root, role, arguments->threshold[role], err);
	}
	return r;
}

/*
 * Root first and timestamp last: without it this is not yet a repository, and init can be run
 * again.
 */
static int make_first(struct qmr_publish_session *session, struct qmr_error *err)
{
	static const struct {
		int role;
		const char *file; /* that it refers to */
		int referred;
	} order[] = {
		{QMR_ROLE_ROOT, NULL, 0},
		{QMR_ROLE_TARGETS, NULL, 0},
		{QMR_ROLE_SNAPSHOT, "targets.json", QMR_ROLE_TARGETS},
		{QMR_ROLE_TIMESTAMP, "snapshot.json", QMR_ROLE_SNAPSHOT},
	};
	struct qmr_repository *repository = &session->repository;
	int r = 0;

	for (size_t i = 0; r == 0 && i < QMR_ROLE_COUNT; i++) {
		json_t **document = &repository->now[order[i].role];

		if (!*document)
			*document = qmr_metadata_new(
				order[i].role, 1, qmr_repository_expiry(repository, order[i].role));
		if (!*document)
			return qmr_error_set(err, -ENOMEM, "making metadata: out of memory");
		if (order[i].role == QMR_ROLE_TARGETS)
			json_object_set_new(json_object_get(*document, "signed"), "targets",
					    json_object());
		if (order[i].file)
			r = qmr_repository_refer(*document, order[i].file,
						 repository->now[order[i].referred], err);
		if (r == 0)
			r = qmr_key_ring_sign(&session->ring, repository->now[QMR_ROLE_ROOT],
					      order[i].role, *document, err);
		if (r == 0)
			r = qmr_metadata_check_form(order[i].role, *document,
						    qmr_role_name(order[i].role), err);
		if (r == 0)
			r = qmr_repository_write(repository, order[i].role, *document, err);
	}
	return r;
}

static int save_policy(const struct qmr_publish_arguments *arguments,
		       struct qmr_repository *repository, struct qmr_error *err)
{
	cleanup_json json_t *days = json_object();
	cleanup_json json_t *policy = NULL;

	for (int role = 0; role < QMR_ROLE_COUNT; role++) {
		repository->days[role] = arguments->days[role];
		json_object_set_new(days, qmr_role_name(role), json_integer(arguments->days[role]));
	}
	policy = json_pack("{s:i, s:O}", "schema", 1, "expires_days", days);
	if (!policy)
		return qmr_error_set(err, -ENOMEM, "making the policy: out of memory");
	return qmr_json_save(repository->fd, "qmr-publish.json", policy, 0644, err);
}

static void print_result(const struct qmr_publish_arguments *arguments,
			 const struct qmr_publish_session *session)
{
	const json_t *root = session->repository.now[QMR_ROLE_ROOT];

	printf("The repository is in %s; serve its folders metadata and targets.\n"
	       "Machines trust it through %s/metadata/1.root.json: install that as "
	       "/etc/qmr/trust/root.json.\n",
	       arguments->repository, arguments->repository);
	for (int role = 0; role < QMR_ROLE_COUNT; role++) {
		const json_t *keyids = qmr_root_keyids(root, role), *keyid;
		size_t i;

		printf("%s: %d of %zu key%s, %s, metadata valid for %d days\n", qmr_role_name(role),
		       qmr_root_threshold(root, role), json_array_size(keyids),
		       json_array_size(keyids) == 1 ? "" : "s",
		       role <= QMR_ROLE_TARGETS ? "to be kept offline"
						: "for the machine that runs \"refresh\" every day",
		       arguments->days[role]);
		json_array_foreach (keyids, i, keyid) {
			char name[64];

			qmr_key_ring_name(role, json_string_value(keyid), "pem", name);
			printf("  %s/%s\n", arguments->keys, name);
		}
	}
}

static int run(const struct qmr_publish_arguments *arguments, struct qmr_publish_session *session,
	       struct qmr_passphrase *passphrase, struct qmr_error *err)
{
	int r = make_folders(arguments->repository, err);

	if (r == 0)
		r = qmr_repository_open(arguments->repository, 1, &session->repository, err);
	if (r == 0)
		r = refuse_existing(session, arguments->repository, err);
	if (r == 0)
		r = make_key_folder(arguments->keys, err);
	if (r == 0)
		r = qmr_key_ring_open(arguments->keys, &session->ring, err);
	if (r == 0)
		r = qmr_file_sync_dir(session->ring.fd, "..", err);
	if (r == 0)
		r = qmr_publish_passphrase(arguments, 1, passphrase, err);
	if (r == 0)
		r = save_policy(arguments, &session->repository, err);
	if (r == 0)
		r = make_root(arguments, session, passphrase, err);
	return r < 0 ? r : make_first(session, err);
}

int qmr_publish_init(const struct qmr_publish_arguments *arguments)
{
	struct qmr_publish_session session = {.repository.fd = -1, .ring.fd = -1};
	struct qmr_passphrase passphrase = {0};
	struct qmr_error err = {0};
	int status = QMR_EXIT_OK;

	if (run(arguments, &session, &passphrase, &err) < 0)
		status = qmr_publish_failed("making the repository", &session, &err);
	else
		print_result(arguments, &session);
	OPENSSL_cleanse(&passphrase, sizeof(passphrase));
	qmr_publish_done(&session);
	return status;
}
