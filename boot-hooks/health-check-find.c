/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cleanup.h"
#include "health-check.h"

/* What packages bring lies in one folder, what the owner puts there in the other, whose files win. */
static const struct family {
	const char *folders[2]; /* the owner's first */
	int greenboot;
} families[] = {
	{{"/etc/qmr/checks.d", "/usr/lib/qmr/checks.d"}, 0},
	{{"/etc/greenboot/check", "/usr/lib/greenboot/check"}, 1},
};

/* Left behind by editors and package managers, and whatever is hidden. */
static const char *const passed_over[] = {".*", "*~", "*.dpkg-*", "*.rpmsave", "*.rpmnew"};

/* A folder while it is read into the list. */
struct search {
	struct qmr_checks *checks;
	size_t first; /* of those of this family and kind */
	const struct qmr_greenboot_names *disabled;
	int greenboot, required;
	struct qmr_error *err;
};

static int is_passed_over(const char *name)
{
	for (size_t i = 0; i < sizeof(passed_over) / sizeof(*passed_over); i++)
		if (fnmatch(passed_over[i], name, 0) == 0)
			return 1;
	return 0;
}

static int is_script(const char *name)
{
	size_t length = strlen(name);

	return length > 3 && !strcmp(name + length - 3, ".sh");
}

/* A link to /dev/null, as for units. */
static int is_mask(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

static int add(struct search *s, const char *folder, const char *name, const char *problem)
{
	struct qmr_check *check, *grown;

	if (s->checks->n == QMR_CHECKS_MAX)
		return qmr_error_set(s->err, -E2BIG, "looking for checks in '%s': more than %d", folder, QMR_CHECKS_MAX);
	grown = realloc(s->checks->items, (s->checks->n + 1) * sizeof(*grown));
	if (!grown)
		return qmr_error_set(s->err, -ENOMEM, "looking for checks in '%s': out of memory", folder);
	s->checks->items = grown;
	check = &grown[s->checks->n];
	*check = (struct qmr_check){.required = s->required, .exit_code = -1};
	check->name = strdup(name ? name : strrchr(folder, '/') + 1);
	if (!check->name || asprintf(&check->path, "%s%s%s", folder, name ? "/" : "", name ? name : "") < 0) {
		free(check->name);
		return qmr_error_set(s->err, -ENOMEM, "looking for checks in '%s': out of memory", folder);
	}
	if (s->greenboot && name) {
		check->with_bash = is_script(name);
		check->switched_off = qmr_greenboot_names_has(s->disabled, name);
	}
	snprintf(check->problem, sizeof(check->problem), "%s", problem);
	s->checks->n++;
	return 0;
}

static int is_known(const struct search *s, const char *name)
{
	for (size_t i = s->first; i < s->checks->n; i++)
		if (!strcmp(s->checks->items[i].name, name))
			return 1;
	return 0;
}

static int add_mask(struct search *s, const char *folder, const char *name)
{
	int r = add(s, folder, name, "");

	if (r == 0)
		s->checks->items[s->checks->n - 1].masked = 1;
	return r;
}

static int look_at(struct search *s, const char *folder, int fd, const char *name)
{
	char problem[256] = "";
	struct stat st;

	if (is_passed_over(name) || is_known(s, name))
		return 0;
	if (fstatat(fd, name, &st, 0) < 0)
		snprintf(problem, sizeof(problem), "it cannot be examined: %s", strerror(errno));
	else if (is_mask(&st))
		return add_mask(s, folder, name);
	else if (!S_ISREG(st.st_mode))
		return 0;
	else if (!(s->greenboot && is_script(name)) && faccessat(fd, name, X_OK, AT_EACCESS) < 0)
		snprintf(problem, sizeof(problem), "%s", st.st_mode & 0111 ? "this file system or its mode does not let it be executed"
									    : "not executable (chmod +x)");
	/* greenboot runs what is executable or a script, and does not mind the rest. */
	if (*problem && s->greenboot && !is_script(name))
		return 0;
	return add(s, folder, name, problem);
}

static int look_into(struct search *s, const char *folder)
{
	cleanup_closedir DIR *dir = opendir(folder);
	char problem[256];

	if (!dir && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	while (dir) {
		struct dirent *entry;
		int r;

		errno = 0;
		entry = readdir(dir);
		if (!entry && errno == 0)
			return 0;
		if (!entry)
			break;
		r = look_at(s, folder, dirfd(dir), entry->d_name);
		if (r < 0)
			return r;
	}
	/* Checks that nobody sees have not passed. */
	snprintf(problem, sizeof(problem), "the folder cannot be read: %s", strerror(errno));
	return add(s, folder, NULL, problem);
}

static void free_check(struct qmr_check *check)
{
	free(check->name);
	free(check->path);
	free(check->output);
}

static void drop_masked(struct qmr_checks *checks)
{
	size_t kept = 0;

	for (size_t i = 0; i < checks->n; i++) {
		if (checks->items[i].masked)
			free_check(&checks->items[i]);
		else
			checks->items[kept++] = checks->items[i];
	}
	checks->n = kept;
}

static int compare(const void *a, const void *b)
{
	const struct qmr_check *x = a, *y = b;
	int order;

	if (x->required != y->required)
		return x->required ? -1 : 1;
	order = strcmp(x->name, y->name);
	return order ? order : strcmp(x->path, y->path);
}

static int look_into_both(struct search *s, const char *root, const struct family *family)
{
	s->greenboot = family->greenboot;
	s->first = s->checks->n;
	for (int i = 0; i < 2; i++) {
		char folder[4096];
		int r;

		if (snprintf(folder, sizeof(folder), "%s%s/%s.d", root, family->folders[i], s->required ? "required" : "wanted") >=
		    (int)sizeof(folder))
			return qmr_error_set(s->err, -ENAMETOOLONG, "'%s' is too long", root);
		r = look_into(s, folder);
		if (r < 0)
			return r;
	}
	return 0;
}

int qmr_checks_find(const char *root, const struct qmr_greenboot_names *disabled, struct qmr_checks *ret_checks, struct qmr_error *err)
{
	struct qmr_checks checks = {0};
	struct search search = {.checks = &checks, .disabled = disabled, .err = err};
	int r = 0;

	for (search.required = 0; r == 0 && search.required < 2; search.required++)
		for (size_t i = 0; r == 0 && i < sizeof(families) / sizeof(*families); i++)
			r = look_into_both(&search, root, &families[i]);
	if (r < 0) {
		qmr_checks_done(&checks);
		return r;
	}
	drop_masked(&checks);
	if (checks.n)
		qsort(checks.items, checks.n, sizeof(*checks.items), compare);
	*ret_checks = checks;
	return 0;
}

void qmr_checks_done(struct qmr_checks *checks)
{
	for (size_t i = 0; i < checks->n; i++)
		free_check(&checks->items[i]);
	free(checks->items);
	*checks = (struct qmr_checks){0};
}
