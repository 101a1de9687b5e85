/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot-state-store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Which store the state is read from and goes to. The first that works is taken; the others need a place. */
static const struct qmr_state_store *const stores[] = {&qmr_state_variable, &qmr_state_file};
enum { N_STORES = sizeof(stores) / sizeof(*stores) };

#define BY_UUID "/dev/disk/by-uuid/"

static char place[256];
static int is_in_doubt;   /* the first store may not have the newest state */
static int may_move_back; /* and is tried again */
static int current = -1;  /* where the state was last found or put by this process, -1 not known */

void qmr_state_set_place(const char *path, int in_doubt)
{
	snprintf(place, sizeof(place), "%s", path ? path : "");
	is_in_doubt = in_doubt;
	current = -1;
	may_move_back = 0;
}

void qmr_state_move_back(void)
{
	may_move_back = 1;
}

void qmr_state_set_place_uuid(const char *uuid, int in_doubt)
{
	char path[sizeof(BY_UUID) + 64];

	snprintf(path, sizeof(path), BY_UUID "%s", uuid);
	qmr_state_set_place(*uuid && strlen(uuid) < 64 && strspn(uuid, "0123456789abcdefABCDEF-") == strlen(uuid) ? path : NULL,
			    in_doubt);
}

const char *qmr_state_get_place(void)
{
	return place[0] ? place : NULL;
}

int qmr_state_is_in_file(void)
{
	return current < 0 ? -1 : current > 0;
}

static int looks_everywhere(void)
{
	return place[0] && (is_in_doubt || current > 0);
}

static int begin(int i, struct qmr_error *err)
{
	return stores[i]->begin ? stores[i]->begin(place, err) : 0;
}

static void end(int i)
{
	if (stores[i]->end)
		stores[i]->end();
}

static int read_from(int i, const uint8_t root[16], struct qmr_state *ret_state, struct qmr_error *err)
{
	struct qmr_state state;
	int r = begin(i, err);

	if (r < 0)
		return r;
	r = stores[i]->read(&state, err);
	end(i);
	if (r == 0 && root && memcmp(state.root, root, 16))
		r = qmr_error_set(err, -ESTALE, "boot state belongs to another root file system");
	if (r == 0)
		*ret_state = state;
	return r;
}

static int write_to(int i, struct qmr_state *state, struct qmr_error *err)
{
	int r = begin(i, err);

	if (r < 0)
		return r;
	r = stores[i]->write(state, err);
	end(i);
	return r;
}

/* The state is safe elsewhere by now; what stays behind has no larger sequence. */
static void clear(int i)
{
	if (begin(i, NULL) < 0)
		return;
	(void)stores[i]->clear(NULL);
	end(i);
}

/* There is a state, and it is not for us. */
static int is_refusal(int r)
{
	return r == -EBADMSG || r == -ESTALE;
}

/*
 * What tells most of why there is no state: one that is refused, then a store that should be readable and is not (it may hold one), then that
 * none was written, then that there is no such store.
 */
static int weight(int r)
{
	return is_refusal(r) ? 3 : r == -ENOENT ? 1 : r == -EOPNOTSUPP ? 0 : 2;
}

static void add_why(struct qmr_error *why, const struct qmr_error *more)
{
	struct qmr_error first = *why;
	const struct qmr_error *heavy = !first.code || weight(more->code) > weight(first.code) ? more : &first;
	const struct qmr_error *light = heavy == more ? &first : more;

	/* Beside a refusal, or beside "there is none", another failure explains nothing; beside a failure "there is none" does not. */
	if (!light->code || is_refusal(heavy->code) || heavy->code == -ENOENT || light->code == -ENOENT)
		*why = *heavy;
	else
		qmr_error_set(why, heavy->code, "%.250s; %.250s", heavy->text, light->text);
}

int qmr_state_load(const uint8_t root[16], struct qmr_state *ret_state, struct qmr_error *err)
{
	struct qmr_error why = {0};
	struct qmr_state best;
	int from = -1;

	for (int i = 0; i < N_STORES && (i == 0 || place[0]); i++) {
		struct qmr_error more = {0};
		struct qmr_state state;
		int r = read_from(i, root, &state, &more);

		if (r < 0) {
			add_why(&why, &more);
		} else if (from < 0 || state.sequence >= best.sequence) {
			best = state;
			from = i;
		}
		if (!looks_everywhere() && (r == 0 || is_refusal(r)))
			break;
	}
	if (from < 0) {
		qmr_state_init(ret_state, root);
		if (err)
			*err = why;
		return why.code;
	}
	current = from;
	*ret_state = best;
	return 0;
}

/* The first store failed, or is in doubt: the others keep the state before anything happens to what it holds. */
static int save_behind(struct qmr_state *state, int first, struct qmr_error *why)
{
	struct qmr_error more = {0};
	int i, r = -ENOENT;

	for (i = 1; i < N_STORES; i++) {
		r = write_to(i, state, &more);
		if (r == 0)
			break;
		add_why(why, &more);
	}
	if (first > 0 && (may_move_back || r < 0)) {
		first = write_to(0, state, &more);
		if (first < 0)
			add_why(why, &more);
	}
	if (first != 0 && r < 0)
		return why->code;
	current = first != 0 ? i : 0;
	for (int k = 0; k < N_STORES; k++)
		if (k != current)
			clear(k);
	return 0;
}

int qmr_state_save(struct qmr_state *state, struct qmr_error *err)
{
	int first = 1; /* not tried yet */
	struct qmr_error why = {0};

	state->sequence++;
	if (!looks_everywhere()) {
		first = write_to(0, state, &why);
		if (first == 0)
			current = 0;
	}
	if (first != 0 && (first > 0 || place[0]))
		first = save_behind(state, first, &why);
	if (first < 0 && err)
		*err = why;
	return first;
}

int qmr_state_delete(struct qmr_error *err)
{
	return stores[0]->clear(err);
}
