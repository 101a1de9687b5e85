/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "tuf-delegation.h"
#include "tuf-metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_file(const struct qmr_tuf_metadata *m, const char *name)
{
	struct qmr_tuf_file file;
	int found = m->role == QMR_TUF_TARGETS ? qmr_tuf_metadata_get_target(m, name, &file)
					       : qmr_tuf_metadata_get_file(m, name, &file);

	/* What a caller allocates and compares by. */
	if (!found || file.length < -1 ||
	    (m->role == QMR_TUF_TARGETS ? file.length < 0 || !file.hashes : file.version < 1))
		abort();
	(void)!qmr_tuf_file_check(name, &file, "x", 1, NULL);
}

/* What is followed has a name that fits, and keys and a threshold that metadata can be held
 * against. */
static int follow(void *user, const struct qmr_tuf_delegation *d, struct qmr_error *err)
{
	const struct qmr_tuf_metadata *m = user;

	if (!*d->name || strlen(d->name) >= QMR_TUF_ROLE_NAME_MAX)
		abort();
	if (qmr_tuf_metadata_check_signed_by(m, d->role, d->keys, "fuzz", NULL) == 0 &&
	    json_integer_value(json_object_get(d->role, "threshold")) < 1)
		abort();
	return 0;
}

static void check_delegations(struct qmr_tuf_metadata *m)
{
	static const char *const names[] = {"a", "plans/1.json", "x/y/z", "", "releases/x_v1.zip"};
	const json_t *delegations = json_object_get(m->content, "delegations");

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (qmr_tuf_delegations_match(delegations, names[i], follow, m, NULL) < 0)
			abort();
	if (qmr_tuf_delegations_match_folder(delegations, "plans", follow, m, NULL) < 0)
		abort();
}

/*
 * Each role takes the input; what is accepted keeps its promises, and its signatures are looked at
 * with its own keys.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int role = 0; role < QMR_TUF_ROLES; role++) {
		struct qmr_tuf_metadata m = {0};
		const char *name;
		json_t *entry;

		if (qmr_tuf_metadata_parse((enum qmr_tuf_role)role, (const char *)data, size, &m,
					   NULL) < 0) {
			if (m.json)
				abort();
			continue;
		}
		if (m.version < 1 || m.canonical_size == 0)
			abort();
		json_object_foreach (
			json_object_get(m.content, role == QMR_TUF_TARGETS ? "targets" : "meta"),
			name, entry)
			if (role != QMR_TUF_ROOT)
				check_file(&m, name);
		if (role == QMR_TUF_TARGETS)
			check_delegations(&m);
		if (role == QMR_TUF_ROOT)
			(void)!qmr_tuf_metadata_check_signed(&m, &m, NULL);
		qmr_tuf_metadata_done(&m);
	}
	return 0;
}
