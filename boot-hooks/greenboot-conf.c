/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "greenboot-conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define KEY "DISABLED_HEALTHCHECKS"

struct reader {
	const char *name;
	const char *next;
	int line;
	struct qmr_error *err;
};

static int complain(const struct reader *r, const char *why)
{
	return qmr_error_set(r->err, -EINVAL, "%s:%d: " KEY ": %s", r->name, r->line, why);
}

static char take(struct reader *r)
{
	char c = *r->next++;

	if (c == '\n')
		r->line++;
	return c;
}

/* Inside of double quotes, up to and with the closing one. Returns how much was added to word. */
static int take_quoted(struct reader *r, char *word)
{
	int length = 0;

	for (;;) {
		char c;

		if (!*r->next)
			return complain(r, "a quote without an end");
		c = take(r);
		if (c == '"')
			return length;
		if (c == '$' || c == '`')
			return complain(r, "only a shell could expand this");
		if (c == '\\' && *r->next && strchr("$`\"\\\n", *r->next)) {
			c = take(r);
			if (c == '\n')
				continue;
		}
		word[length++] = c;
	}
}

static int take_single_quoted(struct reader *r, char *word)
{
	const char *end = strchr(r->next, '\'');
	int length = 0;

	if (!end)
		return complain(r, "a quote without an end");
	while (r->next < end)
		word[length++] = take(r);
	(void)take(r);
	return length;
}

/*
 * One word, unquoted, into word (room for what is left of the text). Returns its length; ret_quoted tells an empty pair of quotes from
 * nothing.
 */
static int take_word(struct reader *r, char *word, int *ret_quoted)
{
	int length = 0, n;

	*ret_quoted = 0;
	while (*r->next && !strchr(" \t\r\n();&|<>", *r->next)) {
		char c = take(r);

		if (c == '$' || c == '`')
			return complain(r, "only a shell could expand this");
		if (c == '"' || c == '\'') {
			*ret_quoted = 1;
			n = c == '"' ? take_quoted(r, word + length) : take_single_quoted(r, word + length);
			if (n < 0)
				return n;
			length += n;
		} else if (c != '\\') {
			word[length++] = c;
		} else if (*r->next && (c = take(r)) != '\n') {
			word[length++] = c;
		}
	}
	word[length] = '\0';
	return length;
}

static int add(const struct reader *r, struct qmr_greenboot_names *names, const char *word)
{
	char **grown;

	if (names->n == QMR_GREENBOOT_NAMES_MAX)
		return complain(r, "more than 256 names");
	grown = realloc(names->names, (names->n + 1) * sizeof(*grown));
	if (!grown)
		return qmr_error_set(r->err, -ENOMEM, "reading '%s': out of memory", r->name);
	names->names = grown;
	grown[names->n] = strdup(word);
	if (!grown[names->n])
		return qmr_error_set(r->err, -ENOMEM, "reading '%s': out of memory", r->name);
	names->n++;
	return 0;
}

/* Behind the opening parenthesis. */
static int take_list(struct reader *r, char *word, struct qmr_greenboot_names *names)
{
	for (;;) {
		int quoted, n;

		while (*r->next && strchr(" \t\r\n", *r->next))
			(void)take(r);
		if (*r->next == ')') {
			(void)take(r);
			return 0;
		}
		if (*r->next == '#') {
			r->next += strcspn(r->next, "\n");
			continue;
		}
		n = take_word(r, word, &quoted);
		if (n < 0)
			return n;
		if (n == 0 && !quoted)
			return complain(r, *r->next ? "not a list of names" : "a list without an end");
		if (n > 0 && (n = add(r, names, word)) < 0)
			return n;
	}
}

/* Where the next characters assign to our key: moves behind "=" or "+=". */
static int take_key(struct reader *r, int *ret_adds)
{
	const char *p = r->next + strspn(r->next, " \t");

	if (strncmp(p, KEY, strlen(KEY)))
		return 0;
	p += strlen(KEY);
	*ret_adds = *p == '+';
	p += *ret_adds;
	if (*p != '=')
		return 0;
	r->next = p + 1;
	return 1;
}

static int take_value(struct reader *r, char *word, struct qmr_greenboot_names *names)
{
	int quoted, n;

	if (*r->next == '(') {
		(void)take(r);
		return take_list(r, word, names);
	}
	n = take_word(r, word, &quoted);
	return n > 0 ? add(r, names, word) : n;
}

int qmr_greenboot_conf_parse(const char *name, const char *text, struct qmr_greenboot_names *ret_names, struct qmr_error *err)
{
	cleanup_free char *word = malloc(strlen(text) + 1);
	struct reader reader = {.name = name, .next = text, .line = 1, .err = err};
	struct qmr_greenboot_names names = {0};
	int adds, r = 0;

	if (!word)
		return qmr_error_set(err, -ENOMEM, "reading '%s': out of memory", name);
	while (r == 0 && *reader.next) {
		if (take_key(&reader, &adds)) {
			if (!adds)
				qmr_greenboot_names_done(&names);
			r = take_value(&reader, word, &names);
		}
		if (r == 0) {
			reader.next += strcspn(reader.next, "\n");
			if (*reader.next)
				(void)take(&reader);
		}
	}
	if (r < 0) {
		qmr_greenboot_names_done(&names);
		return r;
	}
	*ret_names = names;
	return 0;
}

int qmr_greenboot_names_has(const struct qmr_greenboot_names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (!strcmp(names->names[i], name))
			return 1;
	return 0;
}

void qmr_greenboot_names_done(struct qmr_greenboot_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->names[i]);
	free(names->names);
	*names = (struct qmr_greenboot_names){0};
}
